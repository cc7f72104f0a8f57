"""Adam on a canvas that is judged in tiles: the moves of `adam`, on arrays that are changed where they are.

The canvas, both moments and the average are as large as the canvas, so none is there twice: they live in the process's
own memory, which the device's allocator would not give back, and the device moves a band of rows at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve import images
from styleserve.evaluation import Pixels
from styleserve.optimizers.tensors import Tensor

#: One move of canvas, first and second moment and average, given the gradient and the rates; pixels [1, h, w, 3].
Move: TypeAlias = Callable[..., tuple[Tensor, ...]]

#: Pixels that are moved at a time.
_BAND_PIXELS = 2**18


@dataclass(slots=True)
class TiledState:
    """What one run keeps: canvas, moments and the sum that its average is made of, all [H, W, 3]."""

    canvas: Pixels
    first_moment: Pixels
    second_moment: Pixels
    average_sum: Pixels

    @classmethod
    def begin(cls, canvas: Pixels) -> "TiledState":
        """The state before the first move."""
        return cls(canvas.astype(np.float32), *(np.zeros(canvas.shape, np.float32) for _ in range(3)))

    def arrays(self) -> tuple[Pixels, ...]:
        """All that it keeps, where it is."""
        return self.canvas, self.first_moment, self.second_moment, self.average_sum

    def at_result(self, correction: float | None) -> "TiledState":
        """The same with the result as the canvas."""
        self.canvas = self.picture(correction)
        return self

    def picture(self, correction: float | None) -> Pixels:
        """The average of the iterates, whose sum is multiplied by `correction`; without one, the canvas."""
        if correction is None:
            return self.canvas
        average = self.average_sum * np.float32(correction)
        return np.clip(average, 0, 1, out=average)

    def preview(self, correction: float | None, max_side: int) -> npt.NDArray[np.uint8]:
        """The result, small."""
        return images.to_uint8(images.fit(self.picture(correction), max_side))

    def apply(self, move: Move, gradient: Pixels, rates: Tensor) -> None:
        """Move everything, band by band."""
        height, width = gradient.shape[:2]
        arrays = self.arrays()
        for rows in _bands(height, width):
            moved = move(*(tf.constant(array[np.newaxis, rows]) for array in (*arrays, gradient)), rates)
            for array, band in zip(arrays, moved, strict=True):
                array[rows] = band[0].numpy()


def _bands(height: int, width: int) -> Iterator[slice]:
    """Rows, from top to bottom, of about `_BAND_PIXELS` pixels each."""
    step = max(1, _BAND_PIXELS // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))
