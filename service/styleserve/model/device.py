"""The device that TensorFlow computes on, and the arithmetic that it is fast in; settled once, at the start."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tensorflow as tf

logger = logging.getLogger(__name__)

#: Flags of processors that multiply bfloat16 faster than float32, as Linux names them.
_FAST_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the network runs on: `device` and `precision` as the contract's Provenance names them."""

    device: str
    precision: Literal["float32", "bfloat16", "tensorfloat32"]

    @property
    def network_precision(self) -> Literal["float32", "bfloat16"]:
        """The type of the network's tensors; TensorFloat-32 is a way to multiply float32."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"


def configure(precision: Literal["auto", "float32", "bfloat16"]) -> Hardware:
    """Choose GPU or CPU and the arithmetic; must come before TensorFlow's first operation.

    A GPU's memory grows as it is needed. `auto` is bfloat16 where the machine is fast at it, else float32, and
    TensorFloat-32 on a GPU asked for float32 by nobody.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(precision == "auto")
    if precision == "auto":
        precision = "bfloat16" if gpus or _cpu_flags() & _FAST_BFLOAT16_FLAGS else "float32"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else ""
    return Hardware(f"gpu:0 {name}".strip() if gpus else "cpu", precision)


def _cpu_flags() -> set[str]:
    """Abilities of the first processor, empty where the system does not tell them as Linux does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return set(next(flags, []))
