"""The device that TensorFlow computes on, and the arithmetic that it is fast in; settled once, at the start."""

import logging
import math
import os
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from styleserve import memory, processor

logger = logging.getLogger(__name__)

#: Frozen networks of all presets take 0.8 GB more, well spent where there is plenty: by it an evaluation of 256 x 256
#: takes 4 (bfloat16) to 9 % (float32) less time, one of 64 x 64 about 30 %.
LEAST_BYTES_TO_FREEZE = 6 * 10**9

#: Canvases from some 800 x 800 on take no memory when they are gone. What comes and goes in every step is smaller, and
#: would take more time if it had pages of its own.
_LARGE_ARRAY_BYTES = 8 * 2**20
#: Free pieces are looked for from the size of the process down to this, each time by this share of the size before.
_LEAST_PIECE_BYTES = 2**20
#: Pieces are of so many bytes times a whole number; TensorFlow counts in 32 bits how many of these it makes.
_BLOCK_BYTES = 2**16
_NEXT_SIZE = 0.85
#: No more is taken than so many times what the process has: the allocator may have moved the reserve meanwhile.
_MOST_TAKEN = 8

#: Flags of processors that multiply bfloat16, as Linux names them. Some of them are slower at it than in float32.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
#: Fast is a matrix product that takes at most this share of its time in float32. Found were 0.5 and 0.6 on two EPYCs
#: and 1.4 to 1.9 on a Xeon without AMX.
_FAST_SHARE = 0.8
#: Of the product, whose speed is that of the network's convolutions.
_PRODUCT_SIDE = 1024
_PRODUCT_TURNS = 5


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the network runs on: `device` and `precision` as the contract's Provenance names them.

    `gpu_bytes` is the memory of the GPU; None for a CPU, whose memory is the machine's.
    """

    device: str
    precision: Literal["float32", "bfloat16"]
    gpu_bytes: int | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.gpu_bytes is not None


def configure(precision: Literal["auto", "float32", "bfloat16"], memory_bytes: int) -> Hardware:
    """Choose GPU or CPU and the arithmetic; must come before TensorFlow's first operation.

    A GPU counts where TensorFlow computes on it: it lists some that it then leaves alone, such as old ones. Its memory
    grows as it is needed. `auto` is bfloat16 on a GPU and on a processor that proves fast at it, else float32.
    TensorFloat-32 is off: a GPU that has it is fast at bfloat16 too, so that float32 is left there to those who ask for
    it and to line searches, which need all of its digits.

    On a CPU with enough of them, networks are frozen in this process: a traced function lays a kernel out for the
    processor once and keeps it so, in the place of at every evaluation. `memory_bytes` are those that may be taken.
    The C library's heaps are kept small.
    """
    os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = "1" if memory_bytes >= LEAST_BYTES_TO_FREEZE else "0"
    memory.keep_heaps_small(os.environ, _LARGE_ARRAY_BYTES)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    gpu_bytes = _gpu_memory() if gpus else None
    if precision == "auto":
        precision = "bfloat16" if gpu_bytes is not None or _is_fast_in_bfloat16() else "float32"
    if gpu_bytes is None:
        return Hardware("cpu", precision)
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "")
    return Hardware(f"gpu:0 {name}".strip(), precision, gpu_bytes)


def _is_fast_in_bfloat16() -> bool:
    """Whether the processor has bfloat16, and a matrix product in it is clearly faster than in float32."""
    if processor.flags().isdisjoint(_BFLOAT16_FLAGS):
        return False
    bfloat16_s = float32_s = math.inf
    for _ in range(_PRODUCT_TURNS):  # in turn, as a machine that is shared changes its pace
        bfloat16_s = min(bfloat16_s, _product_seconds(tf.bfloat16))
        float32_s = min(float32_s, _product_seconds(tf.float32))
    logger.info("a matrix product takes %.4f s in bfloat16 and %.4f s in float32", bfloat16_s, float32_s)
    return bfloat16_s <= _FAST_SHARE * float32_s


def _product_seconds(dtype: tf.DType) -> float:
    matrix = tf.ones([_PRODUCT_SIDE, _PRODUCT_SIDE], dtype)
    begun = time.perf_counter()
    tf.matmul(matrix, matrix)[0, 0].numpy()
    return time.perf_counter() - begun


class Pool:
    """The memory that TensorFlow's allocator has got from the system; a GPU's is left as it is.

    On a CPU an allocator that counts what it hands out keeps all that was ever in use at once, though the next canvas
    needs less of it and more beside it; and there is no way to ask it for that. So all that it has free is taken, the
    largest pieces first, and the system is told that nobody needs their pages. An allocator that does not count gives
    back by itself.
    """

    def __init__(self, is_gpu: bool) -> None:
        self._is_gpu = is_gpu

    def give_back(self) -> None:
        """Give what is free back to the system, the C library's heaps too.

        A system that promises no more memory than it has may refuse the pieces; then the pool keeps what it has.
        """
        if self._is_gpu:
            return
        if self._counts:
            try:
                self._drop_free()
            except tf.errors.ResourceExhaustedError:
                logger.warning("the system has no room for pieces of TensorFlow's free memory; it is not given back")
        memory.trim_heaps()

    @property
    def _counts(self) -> bool:
        try:
            tf.config.experimental.get_memory_info("CPU:0")
        except ValueError:
            return False
        return True

    def _drop_free(self) -> None:
        """Of a piece no more than the last `1 - _NEXT_SIZE` of it stays.

        No free piece is as large as the process. So the first that is asked for lies in a part of the pool, `reserve`,
        which was asked of the system for it, if not earlier, and from which nothing is taken as long as anything else
        is large enough: when it is the turn of the reserve, there is no more of this size.
        """
        size = _resident_bytes()
        reserve = _take(size)[1]
        held: list[tuple[tf.Tensor, int]] = []
        left_bytes = _MOST_TAKEN * size
        while size > _LEAST_PIECE_BYTES and left_bytes > 0:
            size = int(_NEXT_SIZE * size)
            while (piece := _take(size))[1] != reserve and left_bytes > 0:
                held.append(piece)
                left_bytes -= size
            del piece


class MemoryMeter:
    """Bytes that TensorFlow's allocator has handed out; where it does not count them, those of the process.

    An allocator that counts keeps what was freed, until `pool` gives it back; one that does not gives it back itself.
    """

    def __init__(self, is_gpu: bool, pool: Pool) -> None:
        self._device = "GPU:0" if is_gpu else "CPU:0"
        self._is_gpu = is_gpu
        self._pool = pool

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

    def settle(self) -> int:
        """Give back what is free; returns the bytes taken while nothing is evaluated, of the GPU or by the process."""
        if self._is_gpu:
            return self._read()[0]
        self._pool.give_back()
        return _resident_bytes()

    def _read(self) -> tuple[int, int]:
        """Bytes in use, and the peak."""
        try:
            info = tf.config.experimental.get_memory_info(self._device)
        except ValueError:
            return _resident_bytes(), memory.peak_resident_bytes()
        return info["current"], info["peak"]


def _take(num_bytes: int) -> tuple[tf.Tensor, int]:
    """So many bytes of the allocator, in whole blocks, without a page of memory behind them, and their address."""
    num_blocks = -(-num_bytes // _BLOCK_BYTES)
    piece = tf.raw_ops.Empty(shape=[num_blocks, _BLOCK_BYTES], dtype=tf.uint8, init=False)
    address: int = np.asarray(memoryview(piece)).ctypes.data
    memory.drop_pages(address, num_blocks * _BLOCK_BYTES)
    return piece, address


def _gpu_memory() -> int | None:
    """Bytes that TensorFlow may take of the first GPU that it computes on, none of which are taken by asking."""
    from tensorflow.python.client import device_lib

    options = tf.compat.v1.ConfigProto(gpu_options=tf.compat.v1.GPUOptions(allow_growth=True))
    sizes = [local.memory_limit for local in device_lib.list_local_devices(options) if local.device_type == "GPU"]
    return sizes[0] if sizes else None


def _resident_bytes() -> int:
    """Bytes of memory that the process has now; its peak where the system does not tell."""
    return memory.resident_bytes() or memory.peak_resident_bytes()
