"""The device: the meter of its memory, and the arithmetic that it is set to."""

import os

import pytest
import tensorflow as tf

from styleserve.model import device
from styleserve.model.device import MemoryMeter

LARGE = 40_000_000


def test_the_meter_tells_the_peak_since_it_was_started_and_not_an_earlier_one():
    meter = MemoryMeter(is_gpu=False)
    in_use = meter.restart()
    tensor = tf.zeros([LARGE // 4])
    assert LARGE <= meter.peak_bytes() - in_use < 2 * LARGE
    del tensor
    in_use = meter.restart()
    assert meter.peak_bytes() - in_use < LARGE / 2


def test_the_base_leaves_out_what_the_allocator_has_ready():
    meter = MemoryMeter(is_gpu=False)
    meter.restart()
    before = meter.base_bytes()
    tensor = tf.ones([10 * LARGE // 4])
    meter.peak_bytes()
    del tensor
    assert meter.base_bytes() < before + LARGE


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
