"""The device that TensorFlow computes on, and the arithmetic that it is fast in; settled once, at the start."""

import logging
import os
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from styleserve import memory, processor

logger = logging.getLogger(__name__)

#: Frozen networks of all presets take 0.8 GB more, which is worth a tenth of the time where there is plenty.
LEAST_BYTES_TO_FREEZE = 6 * 10**9

#: Flags of processors that multiply bfloat16 faster than float32, as Linux names them.
_FAST_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the network runs on: `device` and `precision` as the contract's Provenance names them.

    `memory_bytes` is what a GPU has; None for a CPU, whose memory is the machine's.
    """

    device: str
    precision: Literal["float32", "bfloat16"]
    memory_bytes: int | None = None


def configure(precision: Literal["auto", "float32", "bfloat16"], memory_bytes: int) -> Hardware:
    """Choose GPU or CPU and the arithmetic; must come before TensorFlow's first operation.

    A GPU's memory grows as it is needed. `auto` is bfloat16 where the machine is fast at it, else float32.
    TensorFloat-32 is off: a GPU that has it is fast at bfloat16 too, so that float32 is left there to those who ask for
    it and to line searches, which need all of its digits.

    On a CPU with enough of them, networks are frozen in this process: a traced function lays a kernel out for the
    processor once and keeps it so, in the place of at every evaluation. `memory_bytes` are those that may be taken.
    """
    os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = "1" if memory_bytes >= LEAST_BYTES_TO_FREEZE else "0"
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if precision == "auto":
        precision = "bfloat16" if gpus or processor.flags() & _FAST_BFLOAT16_FLAGS else "float32"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else ""
    return Hardware(f"gpu:0 {name}".strip() if gpus else "cpu", precision, _gpu_memory() if gpus else None)


class MemoryMeter:
    """Bytes that TensorFlow's allocator has handed out; where it does not count them, those of the process.

    An allocator that counts keeps what was freed; one that does not gives it back to the system.
    """

    def __init__(self, is_gpu: bool) -> None:
        self._device = "GPU:0" if is_gpu else "CPU:0"
        self._is_gpu = is_gpu
        self._highest = 0

    def restart(self) -> int:
        """Forget the peak; returns the bytes in use."""
        in_use, _ = self._read()
        try:
            tf.config.experimental.reset_memory_stats(self._device)
        except ValueError:
            memory.forget_peak()
        return in_use

    def peak_bytes(self) -> int:
        """The most that was in use since."""
        return self._read()[1]

    def base_bytes(self) -> int:
        """What the process takes beside the memory that the allocator has ready for the next evaluation.

        A process whose allocator keeps what was freed has at least what was ever in use at once.
        """
        in_use, _ = self._read()
        return in_use if self._is_gpu else _resident_bytes() - (self._highest - in_use)

    def _read(self) -> tuple[int, int]:
        """Bytes in use, and the peak."""
        try:
            info = tf.config.experimental.get_memory_info(self._device)
        except ValueError:
            self._highest = _resident_bytes()
            return self._highest, memory.peak_resident_bytes()
        self._highest = max(self._highest, info["peak"])
        return info["current"], info["peak"]


def _gpu_memory() -> int | None:
    """Bytes that TensorFlow may take of the first GPU."""
    from tensorflow.python.client import device_lib

    sizes = [local.memory_limit for local in device_lib.list_local_devices() if local.device_type == "GPU"]
    return sizes[0] if sizes else None


def _resident_bytes() -> int:
    """Bytes of memory that the process has now; its peak where the system does not tell."""
    return memory.resident_bytes() or memory.peak_resident_bytes()
