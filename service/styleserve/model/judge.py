"""Judge: the losses of canvases and their gradients by one network, whole or in parts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from styleserve.evaluation import Pixels
from styleserve.model import losses
from styleserve.model.form import WEIGHTS, Form
from styleserve.model.vgg import Tap, VggNetwork, taps_of

Tensor: TypeAlias = tf.Tensor
Traced: TypeAlias = Callable[..., tuple[Tensor, ...]]

_PIXELS = tf.TensorSpec([None, None, None, 3], tf.float32)
_DIFFERENCES = tf.TensorSpec([None, 3], tf.float64)
_VARIATIONS = tf.TensorSpec([None, 2], tf.float64)
#: Top, left, bottom, right of a core in its tile.
_BOX = tf.TensorSpec([4], tf.int32)


class Judge:
    """Judges by one form.

    `gains` are what a layer's activations are multiplied by where the design asks for rescaled ones. Each method that
    computes is traced once, for any batch and any size, when `traced` is first asked for it by its name.
    """

    def __init__(self, form: Form, network: VggNetwork, gains: Mapping[str, float]) -> None:
        self.form = form
        self._network = network
        self._gains = gains
        self._traced: dict[str, Traced] = {}

    def traced(self, name: str) -> Traced:
        """The method as one call of the device."""
        if name not in self._traced:
            self._traced[name] = tf.function(
                getattr(self, name), input_signature=self._signature(name), autograph=False
            )
        return self._traced[name]

    def _signature(self, name: str) -> list[object]:
        """Types of a method's arguments."""
        form = self.form
        contents, grams = list(form.content_types), list(form.gram_types)
        grams_of_size = grams[: len(form.style_taps)]
        beside_grams = [*len(contents) * [_DIFFERENCES], _VARIATIONS]
        return {
            "judge": [_PIXELS, list(form.target_types)],
            "full_sums": [_PIXELS, contents, _BOX],
            "gram_sums": [_PIXELS, _BOX],
            "losses_and_slopes": [[*beside_grams, *grams], WEIGHTS, grams, tf.TensorSpec([2], tf.int32)],
            "pull_back": [_PIXELS, contents, _BOX, [*beside_grams, *grams_of_size]],
            "pull_back_grams": [_PIXELS, _BOX, grams_of_size],
            "content_features": [_PIXELS, _BOX],
        }[name]

    def judge(self, canvases: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Losses [B, 4] (total, content, style, total variation) and gradients [B, H, W, 3].

        Each canvas adds its own total to the sum whose gradient is taken, so none sees another's.
        """
        weights, contents, grams = self.unpack(targets)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(canvases)
            sums = self.sums(canvases, contents)
            judged = self.losses(sums, weights, grams, tf.shape(canvases)[1:3])
            totals = judged[:, 0]
        return judged, tape.gradient(totals, canvases)

    def unpack(self, targets: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]:
        """The tensors of an objective: weights, contents, Gram matrices."""
        weights, *rest = targets
        num_contents = len(self.form.content_taps)
        return weights, rest[:num_contents], rest[num_contents:]

    def sums(self, canvases: Tensor, contents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """All that the losses need of canvases: the sums of the full size, then the Gram sums of each smaller one."""
        sums = self.full_sums(canvases, contents)
        for shrink in self.form.shrinks[1:]:
            sums += self.gram_sums(shrunk(canvases, shrink))
        return sums

    def full_sums(self, canvases: Tensor, contents: Sequence[Tensor], core: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the losses need of canvases at their full size: difference sums, variation sums and Gram sums.

        Of a tile only its `core`, [top, left, bottom, right] in its pixels, counts; the rest is there for the sake of
        what the network sees around it. `contents` are the content's features in the core.
        """
        names = [tap.name for tap in self.form.taps]
        replicates = self.form.design.replicate_edges
        features = self._within(self._network.features(canvases, names, replicates), core)
        differences = [
            losses.difference_sums(
                self._rescale(tap.name, self._network.mapped(tap.name, features[tap.name])),
                self._rescale(tap.name, target),
                self.form.design.distance,
            )
            for tap, target in zip(self.form.content_taps, contents, strict=True)
        ]
        return *differences, self._variation(canvases, core), *self._gram_sums(features)

    def gram_sums(self, images: Tensor, core: Tensor | None = None) -> tuple[Tensor, ...]:
        """Gram sums of canvases at a smaller size, of a style's image, or of the core of a tile of either.

        Not rescaled, so that those of a style can be kept for other designs.
        """
        raw = self._network.features(
            images, [tap.name for tap in self.form.style_taps], self.form.design.replicate_edges
        )
        return self._gram_sums(self._within(raw, core))

    def _gram_sums(self, features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            self._network.mapped_gram(tap.name, losses.gram_sum(features[tap.name])) for tap in self.form.style_taps
        )

    def losses(self, sums: Sequence[Tensor], weights: Tensor, grams: Sequence[Tensor], size: Tensor) -> Tensor:
        """The weighted losses [B, 4] of canvases of `size`, (height, width), of all their sums."""
        design = self.form.design
        num_contents = len(design.content_layers)
        content = [
            share * losses.content(differences, num_values(size, tap.stride, tap.channels), design.distance)
            for (_, share), tap, differences in zip(design.content_layers, self.form.content_taps, sums, strict=False)
        ]
        style = [
            share * losses.style(gram * self._gram_factor(tap, shrink, size), target, design.distance)
            for (tap, shrink, share), gram, target in zip(
                self.form.style_comparisons, sums[num_contents + 1 :], grams, strict=True
            )
        ]
        distance, factors = tf.add_n(content), tf.cast(weights, tf.float64)
        if design.bounds_content:
            distance = losses.excess(distance, factors[:, 3])
        variation = losses.total_variation(sums[num_contents], size[0], size[1], design.mean_total_variation)
        terms = tf.stack([distance, tf.add_n(style), variation], axis=1) * factors[:, :3]
        return tf.concat([tf.reduce_sum(terms, axis=1, keepdims=True), terms], axis=1)

    def losses_and_slopes(
        self, sums: Sequence[Tensor], weights: Tensor, grams: Sequence[Tensor], size: Tensor
    ) -> tuple[Tensor, ...]:
        """The losses [B, 4], then the slope of the total in each of the sums."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(sums))
            judged = self.losses(sums, weights, grams, size)
            totals = judged[:, 0]
        return judged, *tape.gradient(totals, list(sums))

    def pull_back(
        self, tile: Tensor, contents: Sequence[Tensor], core: Tensor, slopes: Sequence[Tensor]
    ) -> tuple[Tensor]:
        """What a tile's core adds to the gradient at each of the tile's pixels, given the slopes in its full sums."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tile)
            sums = self.full_sums(tile, contents, core)
        return (tape.gradient(list(sums), tile, output_gradients=list(slopes)),)

    def pull_back_grams(self, tile: Tensor, core: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor]:
        """The same of a tile of a smaller size, of which there are Gram sums alone."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tile)
            sums = self.gram_sums(tile, core)
        return (tape.gradient(list(sums), tile, output_gradients=list(slopes)),)

    def content_features(self, content: Tensor, core: Tensor) -> tuple[Tensor, ...]:
        """The content's features in the network's precision, as targets; not rescaled, which would round them."""
        taps = self.form.content_taps
        names = [tap.name for tap in taps]
        seen = self._within(self._network.features(content, names, self.form.design.replicate_edges), core)
        return tuple(self._network.mapped(name, seen[name]) for name in names)

    def strength(self, tap: Tap, features: Tensor) -> float:
        """Root mean square of a layer's features, as the losses see them."""
        return float(tf.sqrt(tf.reduce_mean(tf.square(self._rescale(tap.name, features)))))

    def gram_gain(self, name: str) -> float:
        """What a Gram matrix of a layer is multiplied by as a target of this form."""
        return self._gain(name) ** 2

    def _gram_factor(self, tap: Tap, shrink: int, size: Tensor) -> Tensor:
        """What makes a Gram sum comparable with a target: the gain, over the number of positions."""
        return self.gram_gain(tap.name) / tf.cast(num_values(size, shrink * tap.stride, 1), tf.float32)

    def _rescale(self, name: str, features: Tensor) -> Tensor:
        return tf.cast(features, tf.float32) * self._gain(name)

    def _gain(self, name: str) -> float:
        return self._gains[name] if self.form.design.rescaled else 1.0

    def _within(self, features: Mapping[str, Tensor], core: Tensor | None) -> Mapping[str, Tensor]:
        """The features of a core given in the network's pixels; all of them when there is none."""
        if core is None:
            return features
        taps = taps_of(self.form.blocks)
        return {name: _cut(flow, core // taps[name].stride) for name, flow in features.items()}

    def _variation(self, canvases: Tensor, core: Tensor | None) -> Tensor:
        """Variation sums; a neighbour below or to the right of the core belongs to the core's own pixel."""
        is_squared = self.form.design.mean_total_variation
        if core is None:
            return losses.variation_sums(canvases, is_squared)
        top, left, bottom, right = tf.unstack(core)
        down = losses.variation_sums(canvases[:, top : bottom + 1, left:right], is_squared)[:, 0]
        across = losses.variation_sums(canvases[:, top:bottom, left : right + 1], is_squared)[:, 1]
        return tf.stack([down, across], axis=1)


def shrunk(canvases: Tensor, shrink: int) -> Tensor:
    """Canvases [B, H, W, 3] with sides divided by `shrink`: means over its squares; what fills none is left out."""
    return canvases if shrink == 1 else tf.nn.avg_pool2d(canvases, shrink, shrink, "VALID")


def spread(gradient: Pixels, shrink: int) -> Pixels:
    """The gradient at the pixels of canvases, given that at those of `shrunk` ones: each has its part in one mean."""
    return gradient.repeat(shrink, axis=1).repeat(shrink, axis=2) / np.float32(shrink**2)


def num_values(size: Tensor, stride: int, channels: int) -> Tensor:
    """Values of a layer: its positions, each `stride` pixels apart, times its channels; 2^30 at most, int32."""
    return (size[0] // stride) * (size[1] // stride) * channels


def _cut(features: Tensor, core: Tensor) -> Tensor:
    top, left, bottom, right = tf.unstack(core)
    return features[:, top:bottom, left:right]
