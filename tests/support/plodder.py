"""An optimizer that comes without TensorFlow, to be Adam where it matters that a job goes on, and not to which picture.

A process that imports TensorFlow takes 4 s more to start. L-BFGS and L-BFGS-B come without it, too, but find the toy's
target within three moves, and what is to be killed has to be under way.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from styleserve import images
from styleserve.costs import Canvases, Upkeep
from styleserve.evaluation import Evaluator, Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import MOST_COUNTED, Snapshot
from styleserve.recipes import Recipe

#: How much of its gradient a canvas moves by.
SHARE = 0.1


@dataclass(eq=False)
class PloddingRun:
    """A canvas on its way down the gradient, as many moves as are planned."""

    canvas: Pixels
    objective: Objective
    planned: int
    evaluations: int = 0
    losses: Losses | None = None
    ended: StopReason | None = None
    failure: BaseException | None = None

    @property
    def iteration(self) -> int:
        return max(0, self.evaluations - 1)

    @property
    def batch_key(self) -> Hashable:
        return self.objective.batch_key

    def result(self) -> Pixels:
        return self.canvas

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        return images.to_uint8(images.fit(self.canvas, max_side))

    def close(self) -> None:
        pass


class Plodder:
    """Moves by a share of the gradient."""

    upkeep = Upkeep(Canvases(1), snapshot_canvases=1)

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> PloddingRun:
        return PloddingRun(canvas, objective, iterations)

    def step(self, runs: Sequence[PloddingRun]) -> None:
        evaluations = self._evaluator.evaluate([run.canvas for run in runs], [run.objective for run in runs])
        for run, evaluation in zip(runs, evaluations, strict=True):
            run.losses = evaluation.losses
            run.evaluations += 1
            if run.iteration == run.planned:
                run.ended = "completed"
            else:
                run.canvas = np.clip(run.canvas - SHARE * evaluation.gradient, 0.0, 1.0)

    def snapshot(self, run: PloddingRun) -> Snapshot:
        return Snapshot({"canvas": run.canvas}, {"evaluations": run.evaluations})

    def resume(self, snapshot: Snapshot, objective: Objective, recipe: Recipe, iterations: int) -> PloddingRun:
        evaluations = snapshot.count("evaluations", MOST_COUNTED)
        return PloddingRun(snapshot.array("canvas", 0.0, 1.0), objective, iterations, evaluations)
