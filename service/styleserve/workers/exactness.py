"""Whether a canvas is judged in a batch as it is alone, to the bit: the processor's kernels decide."""

from collections.abc import Callable

import numpy as np

from styleserve import images
from styleserve.evaluation import Evaluation, Evaluator, Pixels, StyleImage
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.recipes import Recipe

#: A recipe for each arithmetic that a network computes in.
_RECIPES = (PRESETS[DEFAULT_PRESET], PRESETS["paper"])
#: Height and width of the canvases: a multiple of all strides, and of none.
_SIZES = ((64, 64), (77, 45))
#: Some kernels round only the canvases in a batch's middle otherwise.
_BATCH = 3


def is_exact_in_batches(evaluator: Evaluator, paint: Callable[[int], Pixels]) -> bool:
    """Whether batches of canvases of two sizes, in every arithmetic, give the bytes that each canvas gives alone.

    Where they do not, an optimizer enlarges the difference: pictures differ by 2 to 3 of 255 levels on average.
    """
    return all(_is_exact(evaluator, paint, recipe, *size) for recipe in _RECIPES for size in _SIZES)


def _is_exact(evaluator: Evaluator, paint: Callable[[int], Pixels], recipe: Recipe, height: int, width: int) -> bool:
    image = paint(max(height, width))
    canvases = [np.ascontiguousarray(np.roll(image, turn, axis=1)[:height, :width]) for turn in range(_BATCH)]
    style = StyleImage(key="exactness", data=images.encode(images.Picture(image, None), "png").data)
    objectives = [evaluator.objective(canvas, [style], recipe) for canvas in reversed(canvases)]
    together = evaluator.evaluate(canvases, objectives)
    alone = [evaluator.evaluate([canvas], [own])[0] for canvas, own in zip(canvases, objectives, strict=True)]
    return all(map(_are_same, together, alone))


def _are_same(one: Evaluation | None, other: Evaluation | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.losses == other.losses and np.array_equal(one.gradient, other.gradient)
