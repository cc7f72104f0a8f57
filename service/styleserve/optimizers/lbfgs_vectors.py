"""The vectors of a run of L-BFGS: canvas, best canvas, last gradient, and the rows of its pairs, in float32.

They are arrays, changed where they are, a band of values at a time, so that none is there twice. The processor goes
through them faster than the device can be asked to: a move takes a hundredth of an evaluation.

Rows are numbered by `curvature`. A value that stands at a bound and would leave it is held: it takes no part in slopes
and moves.
"""

from collections.abc import Iterator
from typing import TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from styleserve.evaluation import Pixels
from styleserve.optimizers.curvature import Numbers

Band: TypeAlias = npt.NDArray[np.float32]

#: Values that are worked at together.
_BAND_VALUES = 2**20


class Vectors:
    """All that is as large as the canvas, [H, W, 3], or as the canvas laid flat.

    `halves_rows` keeps the rows in bfloat16. That costs nothing, whatever the network computes in: after 60 iterations
    of `standard` from nine contents and styles at 128 pixels the losses were 0.997 to 1.003 of those with float32 rows
    where the network was in float32 (1.000 in the mean), and 0.97 to 1.01 (0.997) where it was in bfloat16.
    """

    def __init__(self, canvas: Pixels, num_rows: int, halves_rows: bool) -> None:
        self.canvas = canvas.astype(np.float32)
        self.best = self.canvas.copy()
        self._last_gradient = np.zeros(canvas.size, np.float32)
        self._rows = np.zeros((num_rows, canvas.size), ml_dtypes.bfloat16 if halves_rows else np.float32)

    def keep_best(self) -> None:
        """The canvas is the best one so far."""
        np.copyto(self.best, self.canvas)

    def return_to_best(self) -> None:
        """The canvas is the best one again."""
        np.copyto(self.canvas, self.best)

    def learn(self, gradient: Pixels, rows: tuple[int, int]) -> Numbers:
        """Keep the gradient's change in the second of `rows`; products of all rows with both, [rows, 2]."""
        products = np.zeros((len(self._rows), 2))
        for band in self._bands():
            self._rows[rows[1], band] = gradient.reshape(-1)[band] - self._last_gradient[band]
            known = self._rows_of(band)
            products += np.stack([known @ known[row] for row in rows], axis=1)
        return products

    def slopes(self, gradient: Pixels) -> tuple[Numbers, float]:
        """Products of all rows with the downhill gradient, [rows], and the mean size of its values."""
        slopes, size = np.zeros(len(self._rows)), 0.0
        for band in self._bands():
            downhill = _downhill(self.canvas.reshape(-1)[band], gradient.reshape(-1)[band])
            slopes += self._rows_of(band) @ downhill
            size += float(np.abs(downhill).sum())
        return slopes, size / self.canvas.size

    def move(self, gradient: Pixels, share: float, weights: Numbers, row: int) -> float:
        """Add a share of the downhill gradient and the weighted rows to the canvas, within [0, 1].

        The move is kept in `row`, and a copy of the gradient as the last one: it may be part of those of a whole batch.
        Returns the largest change of a value.
        """
        largest, factors = 0.0, weights.astype(np.float32)
        for band in self._bands():
            canvas, slope = self.canvas.reshape(-1)[band], gradient.reshape(-1)[band]
            direction = np.float32(share) * _downhill(canvas, slope) + factors @ self._rows_of(band)
            moved = np.clip(canvas + np.where(_is_held(canvas, slope), np.float32(0), direction), 0, 1)
            step = moved - canvas
            self._rows[row, band] = step
            self._last_gradient[band] = slope
            canvas[:] = moved
            largest = max(largest, float(np.abs(step).max()))
        return largest

    def _rows_of(self, band: slice) -> Band:
        return self._rows[:, band].astype(np.float32, copy=False)

    def _bands(self) -> Iterator[slice]:
        return (slice(start, start + _BAND_VALUES) for start in range(0, self.canvas.size, _BAND_VALUES))


def _downhill(canvas: Band, gradient: Band) -> Band:
    return np.where(_is_held(canvas, gradient), np.float32(0), -gradient)


def _is_held(canvas: Band, gradient: Band) -> npt.NDArray[np.bool_]:
    return ((canvas <= 0) & (gradient > 0)) | ((canvas >= 1) & (gradient < 0))
