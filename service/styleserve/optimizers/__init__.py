"""Optimizers: they ask for judgements and move canvases.

A `Run` is the optimization of one canvas at one scale. An optimizer steps a batch of its runs at once, so that Adam's
canvases and moments stay on the device, and line searches share their evaluations with each other.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from styleserve.costs import Upkeep
from styleserve.evaluation import Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.recipes import Recipe


class Run(Protocol):
    """One canvas under work.

    `iteration` counts the moves up to the canvas that `losses` speak of; `losses` is None before the first step.
    `evaluations` counts judgements. `ended` says why there is nothing more to do, None while there is.
    """

    iteration: int
    evaluations: int
    losses: Losses | None
    ended: StopReason | None

    @property
    def batch_key(self) -> Hashable:
        """Runs of one optimizer with equal keys may be stepped together."""
        ...

    def result(self) -> Pixels:
        """The best picture so far, [H, W, 3]."""
        ...

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The canvas as uint8 RGB [h, w, 3], at most `max_side` pixels on its longest side."""
        ...

    def close(self) -> None:
        """Give up whatever the run holds; it is not stepped any more."""
        ...


RunT = TypeVar("RunT", bound=Run)


class Optimizer(Protocol, Generic[RunT]):
    """A way to move canvases.

    `upkeep` says how much a run keeps between its steps, and how often it judges.
    """

    upkeep: Upkeep

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> RunT:
        """Begin a run of `iterations` moves from `canvas`; with 0 the start is judged and nothing moves."""
        ...

    def grow(self, run: RunT, objective: Objective, shape: tuple[int, int], recipe: Recipe, iterations: int) -> RunT:
        """Begin the run at the next scale, (height, width), from what an ended one found."""
        ...

    def step(self, runs: Sequence[RunT]) -> None:
        """Judge each run's canvas, all in one batch, and let each make its move."""
        ...


#: An optimizer whose kind of run is not known; its owner gives it back only the runs that it began.
AnyOptimizer: TypeAlias = Optimizer[Any]
