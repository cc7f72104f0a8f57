"""VGG19's features (Simonyan and Zisserman 2015, configuration E): the network, its layers' names, its input.

Nobody else knows BGR, ImageNet's means or kernels: the evaluator sees taps by name; another network can stand in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from styleserve.model.weights import BLOCKS, Weights

Tensor: TypeAlias = tf.Tensor

#: ImageNet's mean colour in BGR, 0 to 255, which the network was trained to see subtracted.
_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True, slots=True)
class Tap:
    """A place where features may be taken: after the ReLU of the convolution `name`.

    One position of it stands for `stride` x `stride` pixels and has `channels` values.
    """

    name: str
    stride: int
    channels: int


TAPS = {
    f"block{block}_conv{number}": Tap(f"block{block}_conv{number}", 2 ** (block - 1), channels)
    for block, (depth, channels) in enumerate(BLOCKS, start=1)
    for number in range(1, depth + 1)
}


class Vgg19:
    """The network with its weights on the device, in one arithmetic.

    `dtype` is that of the convolutions; frozen: gradients go to the pixels only.
    """

    def __init__(self, weights: Weights, dtype: tf.DType) -> None:
        self._dtype = dtype
        self._layers = {
            name: (tf.constant(weights.kernels[name], dtype), tf.constant(weights.biases[name], dtype)) for name in TAPS
        }

    def features(self, images: Tensor, names: Sequence[str], replicate_edges: bool) -> dict[str, Tensor]:
        """Features of RGB images in [0, 1], [B, H, W, 3], at the taps `names`, each [B, H/stride, W/stride, C].

        The network ends at the deepest of them. With `replicate_edges` the first convolution sees the image's edge
        continued in the place of zeros (the colour of ImageNet's mean), which keeps frames out of pictures.
        """
        flow = self._prepare(images)
        features: dict[str, Tensor] = {}
        block = 1
        for name, tap in TAPS.items():
            if tap.stride != 2 ** (block - 1):
                flow = tf.nn.max_pool2d(flow, 2, 2, "VALID")
                block += 1
            padded = replicate_edges and name == "block1_conv1"
            flow = (
                self._convolve(_continue_edges(flow), name, "VALID") if padded else self._convolve(flow, name, "SAME")
            )
            if name in names:
                features[name] = flow
            if len(features) == len(set(names)):
                break
        return features

    def _prepare(self, images: Tensor) -> Tensor:
        return tf.cast(tf.reverse(images, [-1]) * 255.0 - tf.constant(_MEAN_BGR, tf.float32), self._dtype)

    def _convolve(self, flow: Tensor, name: str, padding: str) -> Tensor:
        kernel, bias = self._layers[name]
        return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(flow, kernel, 1, padding), bias))


def _continue_edges(images: Tensor) -> Tensor:
    """Pad by one pixel on each side with the edge's own values."""
    rows = tf.concat([images[:, :1], images, images[:, -1:]], axis=1)
    return tf.concat([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)
