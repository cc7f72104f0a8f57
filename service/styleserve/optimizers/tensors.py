"""What an optimizer on the device works with: objectives made of tensors, and canvases that stay where they are."""

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve.evaluation import Evaluation, Objective, Pixels

#: TensorFlow has no types of its own for mypy; the alias says what is meant.
Tensor: TypeAlias = tf.Tensor


@runtime_checkable
class TensorObjective(Objective, Protocol):
    """An objective made of tensors, each with a leading dimension of 1; equal forms share one traced function."""

    @property
    def form(self) -> Hashable:
        """All that is fixed when the loss is traced."""
        ...

    def tensors(self) -> tuple[Tensor, ...]:
        """All that may change from canvas to canvas; computed now, as far as it was not."""
        ...


class TensorEvaluator(Protocol):
    """An evaluator whose judgement can be traced into another function."""

    def signature(self, form: Hashable) -> tuple[tf.TensorSpec, ...]:
        """Types of the tensors of an objective of this form, for any number of canvases of any size."""
        ...

    def judge(self, form: Hashable, canvases: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Losses [B, 4] (total, content, style, total variation; float64) and gradients [B, H, W, 3] of a batch."""
        ...

    def evaluate(self, canvases: Sequence[Pixels], objectives: Sequence[Objective]) -> Sequence[Evaluation | None]:
        """Judge the canvases of objectives that have a tile side, as `Evaluator` does."""
        ...


def with_tensors(objective: Objective) -> TensorObjective:
    """The objective as the one that it has to be here."""
    assert isinstance(objective, TensorObjective), "needs objectives of an evaluator whose judgement can be traced"
    return objective


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors of one canvas each into a batch."""
    return tensors[0] if len(tensors) == 1 else tf.concat(list(tensors), axis=0)


def stack_targets(objectives: Sequence[TensorObjective]) -> list[Tensor]:
    """The tensors of several objectives of one form, each kind joined into a batch."""
    return [stack(list(tensors)) for tensors in zip(*(objective.tensors() for objective in objectives), strict=True)]


def as_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The values of a float32 tensor, to read only: where they are, or copied from a device that has its own memory."""
    return np.asarray(memoryview(tensor))


def preview(canvas: Tensor, max_side: int) -> npt.NDArray[np.uint8]:
    """A canvas, [1, H, W, 3], made small on the device, as uint8 [h, w, 3]."""
    height, width = canvas.shape[1:3]
    shrink = min(1.0, max_side / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    small = tf.image.resize(canvas, size, method="area")
    pixels: npt.NDArray[np.uint8] = tf.cast(tf.round(small[0] * 255.0), tf.uint8).numpy()
    return pixels
