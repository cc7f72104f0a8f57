"""The meter of the device's memory."""

import os

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
