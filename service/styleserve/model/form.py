"""Form: all of a loss that is fixed when it is traced."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import tensorflow as tf

from styleserve.model.vgg import Tap, taps_of
from styleserve.model.weights import Blocks
from styleserve.recipes import LossDesign

Precision: TypeAlias = Literal["float32", "bfloat16"]

#: Weights of content, style and total variation, and the content's bound, [B, 4].
WEIGHTS = tf.TensorSpec([None, 4], tf.float32)


@dataclass(frozen=True, slots=True)
class Form:
    """The design of a loss, and the arithmetic and the blocks of the network that it is computed by."""

    design: LossDesign
    precision: Precision
    blocks: Blocks

    @property
    def content_taps(self) -> tuple[Tap, ...]:
        """Where content is compared."""
        return tuple(taps_of(self.blocks)[name] for name, _ in self.design.content_layers)

    @property
    def style_taps(self) -> tuple[Tap, ...]:
        """Where style is compared."""
        return tuple(taps_of(self.blocks)[name] for name, _ in self.design.style_layers)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Where anything is compared."""
        return *self.content_taps, *self.style_taps

    @property
    def shrinks(self) -> tuple[int, ...]:
        """What the canvas's sides are divided by where style is compared."""
        return self.design.shrinks

    @property
    def style_comparisons(self) -> tuple[tuple[Tap, int, float], ...]:
        """Every comparison of Gram matrices: its tap, the canvas's shrink, and its share of the style's loss."""
        shares = [share / len(self.shrinks) for _, share in self.design.style_layers]
        return tuple(
            (tap, shrink, share) for shrink in self.shrinks for tap, share in zip(self.style_taps, shares, strict=True)
        )

    @property
    def content_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of the content's features, [B, H_l, W_l, C_l], for any number of canvases of any size."""
        dtype = tf.as_dtype(self.precision)
        return tuple(tf.TensorSpec([None, None, None, tap.channels], dtype) for tap in self.content_taps)

    @property
    def gram_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of the style's Gram matrices, [B, C_l, C_l], for any number of canvases, in the comparisons' order."""
        return tuple(
            tf.TensorSpec([None, tap.channels, tap.channels], tf.float32) for tap, _, _ in self.style_comparisons
        )

    @property
    def target_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of an objective's tensors: weights, contents, Gram matrices."""
        return WEIGHTS, *self.content_types, *self.gram_types
