"""Optimizers: they ask for judgements and move canvases.

A `Run` is the optimization of one canvas at one scale. An optimizer steps a batch of its runs at once, so that Adam's
canvases and moments stay on the device, and line searches share their evaluations with each other. A `Snapshot` carries
a run from one process to another.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from styleserve.costs import Upkeep
from styleserve.evaluation import Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.recipes import Recipe

#: Finite numbers lie between this and its opposite.
_LARGEST = float(np.finfo(np.float32).max)


class SnapshotError(Exception):
    """A snapshot is not one that the optimizer took, or was changed since; the text says by what that shows."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run needs to go on elsewhere: arrays of its canvas's shape, [H, W, 3], and numbers, each by its name.

    The arrays may be the run's own: they are good until its next step, and belong to the run that resumes from them.
    """

    arrays: Mapping[str, Pixels]
    numbers: Mapping[str, float]

    @property
    def num_bytes(self) -> int:
        """What its arrays take."""
        return sum(array.nbytes for array in self.arrays.values())

    def copy(self) -> "Snapshot":
        """The same for as long as it is kept, whatever becomes of the run."""
        return Snapshot({name: array.copy() for name, array in self.arrays.items()}, self.numbers)

    def array(self, name: str, least: float = -_LARGEST, most: float = _LARGEST) -> Pixels:
        """The array of this name; raises SnapshotError when there is none, or a value of it is out of bounds."""
        if name not in self.arrays:
            raise SnapshotError(f"it has no {name}")
        array = self.arrays[name]
        if not (array.min() >= least and array.max() <= most):
            raise SnapshotError(f"values of its {name} are not within {least} and {most}")
        return array

    def number(self, name: str, most: float) -> float:
        """The number of this name; raises SnapshotError when there is none, or it is not within 0 and `most`."""
        number = self.numbers.get(name, -1.0)
        if not 0 <= number <= most:
            raise SnapshotError(f"its {name} is not within 0 and {most}")
        return number

    def count(self, name: str, most: int) -> int:
        """The same of a whole number."""
        return int(self.number(name, most))


class Holder(Protocol):
    """What holds a canvas and all that it takes to work at it."""

    def result(self) -> Pixels:
        """The best picture so far, [H, W, 3]."""
        ...

    def close(self) -> None:
        """Give up whatever it holds; nothing is done with it any more, but it may be closed again."""
        ...


class Run(Holder, Protocol):
    """One canvas under work.

    `iteration` counts the moves whose canvas was judged. `losses` are those of such a canvas, the last or the best one,
    None before the first step. `evaluations` counts judgements. `ended` says why there is nothing more to do, None
    while there is. `failure` is why this run cannot go on, though those beside it can; a step that raises has failed
    for all of its batch.
    """

    iteration: int
    evaluations: int
    losses: Losses | None
    ended: StopReason | None
    failure: BaseException | None

    @property
    def objective(self) -> Objective:
        """What its canvas is judged against."""
        ...

    @property
    def batch_key(self) -> Hashable:
        """Runs of one optimizer with equal keys may be stepped together."""
        ...

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The canvas as uint8 RGB [h, w, 3], at most `max_side` pixels on its longest side."""
        ...


def let_go(run: Holder) -> Pixels:
    """Close the run; what it has found is all that is left of it."""
    found = run.result()
    run.close()
    return found


RunT = TypeVar("RunT", bound=Run)


class Optimizer(Protocol, Generic[RunT]):
    """A way to move canvases.

    `upkeep` says how much a run keeps between its steps, and how often it judges.
    """

    upkeep: Upkeep

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> RunT:
        """Begin a run of `iterations` moves from `canvas`; with 0 the start is judged and nothing moves."""
        ...

    def step(self, runs: Sequence[RunT]) -> None:
        """Judge each run's canvas, all in one batch, and let each make its move.

        A canvas that is judged in pieces has one judged; the run moves, and counts an evaluation, after the last.
        """
        ...

    def snapshot(self, run: RunT) -> Snapshot:
        """What the run needs to go on elsewhere; taken between its steps, before the first and after the last too."""
        ...

    def resume(self, snapshot: Snapshot, objective: Objective, recipe: Recipe, iterations: int) -> RunT:
        """Go on with a run of `iterations` moves, those before the snapshot included; raises SnapshotError.

        A run that had ended judges its canvas once more and ends again.
        """
        ...


#: An optimizer whose kind of run is not known; its owner gives it back only the runs that it began.
AnyOptimizer: TypeAlias = Optimizer[Any]
#: More than any run counts of anything.
MOST_COUNTED = 10**9
