"""Form: all of a loss that is fixed when it is traced."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import tensorflow as tf

from styleserve.model.vgg import TAPS, Tap
from styleserve.recipes import LossDesign

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Form:
    """The design of a loss and the arithmetic of the network that it is computed by."""

    design: LossDesign
    precision: Precision

    @property
    def content_taps(self) -> tuple[Tap, ...]:
        """Where content is compared."""
        return tuple(TAPS[name] for name, _ in self.design.content_layers)

    @property
    def style_taps(self) -> tuple[Tap, ...]:
        """Where style is compared."""
        return tuple(TAPS[name] for name, _ in self.design.style_layers)

    @property
    def content_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of the content's features, [B, H_l, W_l, C_l], for any number of canvases of any size."""
        dtype = tf.as_dtype(self.precision)
        return tuple(tf.TensorSpec([None, None, None, tap.channels], dtype) for tap in self.content_taps)

    @property
    def gram_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of the style's Gram matrices, [B, C_l, C_l], for any number of canvases."""
        return tuple(tf.TensorSpec([None, tap.channels, tap.channels], tf.float32) for tap in self.style_taps)

    @property
    def target_types(self) -> tuple[tf.TensorSpec, ...]:
        """Types of an objective's tensors: weights [B, 3], contents, Gram matrices."""
        return tf.TensorSpec([None, 3], tf.float32), *self.content_types, *self.gram_types
