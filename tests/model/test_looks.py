"""What is looked at once is in memory once, however many tiles it was seen in."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from styleserve.model import looks
from styleserve.model.device import MemoryMeter, Pool
from styleserve.model.vgg import Tap

SIDE, TILE_SIDE = 2048, 128
TAP = Tap("block4_conv2", stride=8, channels=512, radius=60)


class CountingJudge:
    """Sees in each core what number it has among all, in the place of a network."""

    form = SimpleNamespace(content_taps=(TAP,))

    def __init__(self) -> None:
        self.num_seen = 0

    def traced(self, name: str):
        assert name == "content_features"
        return self.see

    def see(self, tile: tf.Tensor, core: tf.Tensor) -> tuple[tf.Tensor]:
        top, left, bottom, right = core.numpy()
        shape = (1, (bottom - top) // TAP.stride, (right - left) // TAP.stride, TAP.channels)
        self.num_seen += 1
        return (tf.fill(shape, float(self.num_seen - 1)),)


def test_the_features_of_a_large_content_are_in_memory_once_and_each_in_its_place():
    content = np.zeros((1, SIDE, SIDE, 3), np.float32)
    meter = MemoryMeter(is_gpu=False, pool=Pool(is_gpu=False))
    in_use = meter.restart()
    tracemalloc.start()
    (features,) = looks.Look(lambda: looks.content_features(CountingJudge(), content, TILE_SIDE)).finish()
    num_bytes = 4 * (SIDE // TAP.stride) ** 2 * TAP.channels
    _, peak_of_arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_of_arrays + meter.peak_bytes() - in_use < 1.5 * num_bytes
    tiles_a_row, positions_a_tile = SIDE // TILE_SIDE, TILE_SIDE // TAP.stride
    numbers = np.arange(tiles_a_row**2, dtype=np.float32).reshape(tiles_a_row, tiles_a_row)
    wanted = np.kron(numbers, np.ones((positions_a_tile, positions_a_tile), np.float32))
    np.testing.assert_array_equal(features[0, :, :, 0], wanted)
    np.testing.assert_array_equal(features[0, :, :, -1], wanted)
