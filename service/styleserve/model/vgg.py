"""Features by VGG19 (Simonyan and Zisserman 2015, configuration E), or by a network of its layout: layers and input.

Nobody else knows BGR, ImageNet's means or kernels: the evaluator sees taps by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from styleserve.model.weights import Array, Blocks, Weights, kernel_shapes

Tensor: TypeAlias = tf.Tensor

Padding: TypeAlias = Literal["SAME", "VALID"]
#: Padding of a convolution's gradient, by that of the convolution: where it added no pixels, its result is smaller.
_PADDING_BACK = {"SAME": "SAME", "VALID": [[0, 0], [2, 2], [2, 2], [0, 0]]}

#: ImageNet's mean colour in RGB, 0 to 255, which the network was trained to see subtracted.
_MEAN_RGB = (123.68, 116.779, 103.939)
_RANGE = 255.0
_FIRST = "block1_conv1"


@dataclass(frozen=True, slots=True)
class Tap:
    """A place where features may be taken: after the ReLU of the convolution `name`.

    One position of it stands for `stride` x `stride` pixels, has `channels` values, and looks at `radius` pixels on
    each side of itself: each convolution adds one of its own strides.
    """

    name: str
    stride: int
    channels: int
    radius: int


@cache
def taps_of(blocks: Blocks) -> Mapping[str, Tap]:
    """All taps of a network with these blocks by name, in its order."""
    taps: dict[str, Tap] = {}
    radius = 0
    for name, shape in kernel_shapes(blocks).items():
        stride = 2 ** (int(name[len("block")]) - 1)
        radius += stride
        taps[name] = Tap(name, stride, shape[3], radius)
    return MappingProxyType(taps)


class _Layer:
    """A convolution with bias and ReLU.

    Its gradient is a convolution too, by the same kernel turned by half a turn, with its channels exchanged. oneDNN
    lays out a convolution's kernel once a traced function where networks are frozen (`device`), but that of
    TensorFlow's own gradient each time, which takes longer than the arithmetic where canvases are small.
    """

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        self._kernel = kernel
        self._bias = bias

    @cached_property
    def _kernel_back(self) -> Tensor:
        """[3, 3, C_out, C_in]; made when a gradient is first traced."""
        with tf.init_scope():
            return tf.transpose(tf.reverse(self._kernel, [0, 1]), [0, 1, 3, 2])

    def apply(self, flow: Tensor, padding: Padding) -> Tensor:
        """From [B, H, W, C_in] to [B, H', W', C_out]."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def convolve(flow: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            def gradient(slope: Tensor) -> Tensor:
                return tf.nn.conv2d(slope, self._kernel_back, 1, _PADDING_BACK[padding])

            return tf.nn.conv2d(flow, self._kernel, 1, padding), gradient

        return tf.nn.relu(tf.nn.bias_add(convolve(flow), self._bias))


class VggNetwork:
    """The network with its weights on the device, in one arithmetic.

    `dtype` is that of the convolutions; frozen: gradients go to the pixels only.
    """

    def __init__(self, weights: Weights, dtype: tf.DType) -> None:
        self._dtype = dtype
        self._taps = taps_of(weights.blocks)
        kernels = {**weights.kernels, _FIRST: _for_rgb(weights.kernels[_FIRST])}
        self._layers = {
            name: _Layer(tf.constant(kernels[name], dtype), tf.constant(weights.biases[name], dtype))
            for name in self._taps
        }
        self._maps = {name: tf.constant(matrix) for name, matrix in weights.maps.items()}

    def features(self, images: Tensor, names: Sequence[str], replicate_edges: bool) -> dict[str, Tensor]:
        """Features of RGB images in [0, 1], [B, H, W, 3], at the taps `names`, each [B, H/stride, W/stride, C].

        The network ends at the deepest of them. With `replicate_edges` the first convolution sees the image's edge
        continued in the place of zeros (the colour of ImageNet's mean), which keeps frames out of pictures.

        To be traced: oneDNN may take the kernel of an earlier call for one of the same shape when it is not.
        """
        assert not tf.executing_eagerly()
        flow = self._prepare(images)
        features: dict[str, Tensor] = {}
        block = 1
        for name, tap in self._taps.items():
            if tap.stride != 2 ** (block - 1):
                flow = self.pool(flow)
                block += 1
            layer = self._layers[name]
            is_continued = replicate_edges and name == _FIRST
            flow = layer.apply(_continue_edges(flow), "VALID") if is_continued else layer.apply(flow, "SAME")
            if name in names:
                features[name] = flow
            if len(features) == len(set(names)):
                break
        return features

    def mapped(self, name: str, features: Tensor) -> Tensor:
        """Features of a tap as distances see them, F A with its map A, [C, C]; F where it has none."""
        if name not in self._maps:
            return features
        return tf.nn.conv2d(features, tf.cast(self._maps[name], features.dtype)[None, None], 1, "VALID")

    def mapped_gram(self, name: str, gram: Tensor) -> Tensor:
        """The Gram matrix of mapped features, (F A)^T (F A) = A^T G A, of that of the features, G, [B, C, C].

        Two products of small matrices in float32, in the place of one of all positions in the network's arithmetic.
        They round the two halves of a symmetric matrix differently, of which style targets are kept by one: it is made
        symmetric again, to the bit.
        """
        if name not in self._maps:
            return gram
        matrix = self._maps[name]
        mapped = tf.matmul(matrix, tf.matmul(gram, matrix), transpose_a=True)
        return (mapped + tf.linalg.matrix_transpose(mapped)) / 2

    def pool(self, flow: Tensor) -> Tensor:
        """Half as high and wide: the greatest of each four positions."""
        return tf.nn.max_pool2d(flow, 2, 2, "VALID")

    def _prepare(self, images: Tensor) -> Tensor:
        """Without the mean colour, in the range of images, which the first kernel makes up for."""
        return tf.cast(images - tf.constant(_MEAN_RGB, tf.float32) / _RANGE, self._dtype)


def _for_rgb(kernel: Array) -> Array:
    """The first kernel, made for BGR from 0 to 255, as one for RGB from 0 to 1."""
    return np.ascontiguousarray(kernel[:, :, ::-1]) * np.float32(_RANGE)


def _continue_edges(images: Tensor) -> Tensor:
    """Pad by one pixel on each side with the edge's own values."""
    rows = tf.concat([images[:, :1], images, images[:, -1:]], axis=1)
    return tf.concat([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)
