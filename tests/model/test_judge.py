"""What a judgement counts."""

import pytest
import tensorflow as tf

from styleserve.images import MAX_SIDE
from styleserve.model.judge import num_values
from styleserve.model.vgg import taps_of
from styleserve.model.weights import BLOCKS


@pytest.mark.parametrize("size", [(MAX_SIDE, MAX_SIDE), (MAX_SIDE - 1, MAX_SIDE - 3)])
def test_the_values_of_the_largest_canvas_are_counted_exactly(size):
    for tap in taps_of(BLOCKS).values():
        expected = (size[0] // tap.stride) * (size[1] // tap.stride) * tap.channels
        assert int(num_values(tf.constant(size), tap.stride, tap.channels)) == expected
