"""The device: the meter of its memory, and the arithmetic that it is set to."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import tensorflow as tf

from styleserve.model import device

LARGE = 400_000_000

#: In a process that nothing else computes in: the memory of one that is used is in pieces.
READINGS = """
import tensorflow as tf
from styleserve.model.device import MemoryMeter, Pool

meter = MemoryMeter(is_gpu=False, pool=Pool(is_gpu=False))
in_use = meter.restart()
base = meter.settle()
tensor = tf.zeros([LARGE // 4])
print(meter.peak_bytes() - in_use)
del tensor
in_use = meter.restart()
print(meter.peak_bytes() - in_use)
print(meter.settle() - base)
"""


#: A process that has more bytes than 32 bits count: untouched, they take none of the machine's.
LARGE_PROCESS = """
from styleserve.model import device

device._resident_bytes = lambda: 5 * 2**30
device.Pool(is_gpu=False).give_back()
print(1)
"""

#: Tensors of sizes that are no powers of two come and go, and one of them stays: what is free lies on both its sides.
GIVING = """
import tensorflow as tf
from styleserve import memory
from styleserve.model.device import Pool

pool = Pool(is_gpu=False)
small = tf.zeros([1000])
pool.give_back()
before = memory.resident_bytes()
first, kept, last = (tf.ones([share * LARGE // 400]) for share in (37, 10, 53))
print(memory.resident_bytes() - before)
del first, last
pool.give_back()
print(memory.resident_bytes() - before)
print(int(tf.reduce_sum(kept)))
"""


@pytest.fixture(scope="module", params=[True, False], ids=["an allocator that counts", "one that does not"])
def told_by(request: pytest.FixtureRequest) -> Callable[[str], list[int]]:
    """The numbers that a script prints in a process of its own with such an allocator."""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPU_ALLOCATOR_USE_BFC": str(int(request.param))}

    def tell(script: str) -> list[int]:
        command = [sys.executable, "-c", script.replace("LARGE", str(LARGE))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return [int(line) for line in done.stdout.split()]

    return tell


def test_where_the_system_refuses_the_pieces_nothing_is_given_back_and_nothing_breaks(monkeypatch, caplog):
    def refuse(num_bytes: int) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, f"out of memory for {num_bytes} bytes")

    monkeypatch.setattr(device, "_take", refuse)
    monkeypatch.setattr(device.Pool, "_counts", True)
    device.Pool(is_gpu=False).give_back()
    assert "not given back" in caplog.text


@pytest.fixture(scope="module")
def readings(told_by: Callable[[str], list[int]]) -> list[int]:
    """A tensor's bytes, those that are left when it is gone, and by how many the base has grown."""
    return told_by(READINGS)


def test_the_meter_tells_the_peak_since_it_was_started_and_not_an_earlier_one(readings: list[int]):
    peak, later_peak, _ = readings
    assert LARGE <= peak < 2 * LARGE
    assert later_peak < LARGE / 10


def test_the_base_leaves_out_what_the_allocator_has_ready(readings: list[int]):
    *_, grown = readings
    assert abs(grown) < LARGE / 10


def test_what_is_free_is_given_back_and_what_is_in_use_stays_as_it_is(told_by: Callable[[str], list[int]]):
    taken, left, total = told_by(GIVING)
    assert taken > 0.9 * LARGE
    assert left < 0.1 * LARGE + 0.2 * LARGE
    assert total == LARGE // 40


def test_a_process_of_more_than_four_gibibytes_gives_back_too(told_by: Callable[[str], list[int]]):
    assert told_by(LARGE_PROCESS) == [1]


def test_networks_are_frozen_where_there_is_memory_enough_for_it(monkeypatch):
    monkeypatch.setenv("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "")
    chosen = []
    for memory_bytes in (device.LEAST_BYTES_TO_FREEZE - 1, device.LEAST_BYTES_TO_FREEZE):
        device.configure("float32", memory_bytes)
        chosen.append(os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"])
    assert chosen == ["0", "1"]


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_float32_is_float32_whatever_the_network_computes_in(precision):
    tf.config.experimental.enable_tensor_float_32_execution(True)
    device.configure(precision, device.LEAST_BYTES_TO_FREEZE)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize(
    ("flags", "share", "precision"),
    [
        ({"amx_bf16", "avx512_bf16"}, 0.2, "bfloat16"),
        ({"avx512_bf16"}, 0.6, "bfloat16"),
        ({"avx512_bf16"}, 0.95, "float32"),
        ({"avx512_bf16"}, 1.9, "float32"),
        ({"avx2"}, 0.2, "float32"),
    ],
)
def test_a_processor_that_has_bfloat16_computes_in_it_where_it_is_fast_at_it(monkeypatch, flags, share, precision):
    slow_turns = iter([50.0])  # the first product lays out what it needs
    monkeypatch.setattr(device.processor, "flags", lambda: flags)
    monkeypatch.setattr(
        device, "_product_seconds", lambda dtype: next(slow_turns, share if dtype == tf.bfloat16 else 1.0)
    )
    assert device.configure("auto", device.LEAST_BYTES_TO_FREEZE).precision == precision


def test_a_product_is_timed_in_either_arithmetic():
    assert all(0 < device._product_seconds(dtype) < 60 for dtype in (tf.bfloat16, tf.float32))


def test_a_gpu_that_tensorflow_lists_and_leaves_alone_does_not_count(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["an old GPU"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grows: None)
    monkeypatch.setattr(device.processor, "flags", set)
    hardware = device.configure("auto", device.LEAST_BYTES_TO_FREEZE)
    assert (hardware.device, hardware.precision, hardware.is_gpu) == ("cpu", "float32", False)
