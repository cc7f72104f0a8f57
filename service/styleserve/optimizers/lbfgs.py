"""L-BFGS in float32: the curvature of the last moves gives the next its direction and its length (`curvature`).

Departs from the book: every move has the length that the recursion gives it, with no line search, so an iteration is
one evaluation and rounding in the network misleads nobody. The canvas is projected to [0, 1] after each move, and
values that stand at a bound and would leave it are held (Bertsekas 1982). The first move of a scale, without history,
goes down the gradient, `FIRST_MOVE` a value in the mean. A canvas whose loss rose beyond `WORST_RISE` times the best,
or is no number, goes back to the best, forgets its history, and makes its first move half as long, lest it rise again.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from styleserve import images
from styleserve.costs import Canvases, Upkeep
from styleserve.evaluation import Evaluation, Evaluator, Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import MOST_COUNTED, Snapshot
from styleserve.optimizers.curvature import Curvature
from styleserve.optimizers.lbfgs_vectors import Vectors
from styleserve.recipes import Recipe

#: Pairs of moves and changes of the gradient that are kept; Nocedal and Wright: "m".
HISTORY = 10
#: The same for a canvas that is judged in tiles, where memory is scarce.
TILED_HISTORY = 3
#: Mean absolute change of a value by the first move.
FIRST_MOVE = 0.02
WORST_RISE = 2.0
#: A move that changes no value by more than this ends the run.
_LEAST_MOVE = 1e-5
#: Keeps the first move finite where the gradient is zero.
_TINY = 1e-30


@dataclass(slots=True, eq=False)
class LbfgsRun:
    """One canvas, and what is known of the curvature around it.

    `slot` is that of the move which led to the canvas, None where none did. `best` are the losses of the best canvas.
    """

    vectors: Vectors
    curvature: Curvature
    objective: Objective
    planned: int
    first_move: float = FIRST_MOVE
    slot: int | None = None
    best: Losses | None = None
    losses: Losses | None = None
    evaluations: int = 0
    ended: StopReason | None = None
    failure: BaseException | None = None

    @property
    def iteration(self) -> int:
        """Evaluations since the first one; a run that resumed after its end has one more."""
        return min(max(0, self.evaluations - 1), self.planned)

    @property
    def batch_key(self) -> Hashable:
        """Runs whose objectives may be evaluated together."""
        return self.objective.batch_key

    def result(self) -> Pixels:
        """The canvas with the least loss."""
        return self.vectors.best

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The best canvas so far, small."""
        return images.to_uint8(images.fit(self.vectors.best, max_side))

    def close(self) -> None:
        """Give up everything that is as large as the canvas, whoever still has the run."""
        if hasattr(self, "vectors"):
            del self.vectors

    def take(self, evaluation: Evaluation) -> None:
        """Learn from the judgement of the canvas and make the next move, or end.

        Losses that are no numbers are told only when there are no others; else they have risen, and the best are told.
        """
        self.evaluations += 1
        losses = evaluation.losses
        if self.best is None and not losses.is_finite:
            self.losses = losses
            return
        if self.best is None or losses.total < self.best.total:
            self.best = losses
            self.vectors.keep_best()
        self.losses = losses if losses.is_finite else self.best
        has_risen = not losses.is_finite or losses.total > WORST_RISE * self.best.total
        if self.iteration >= self.planned:
            self._end("completed")
        elif has_risen:
            self._return_to_best()
        else:
            self._move(evaluation.gradient)

    def _return_to_best(self) -> None:
        """The best canvas is judged again: its gradient was not kept."""
        self.vectors.return_to_best()
        self.curvature.forget()
        self.slot = None
        self.first_move /= 2

    def _move(self, gradient: Pixels) -> None:
        if self.slot is not None:
            self.curvature.end_pair(self.slot, self.vectors.learn(gradient, self.curvature.rows(self.slot)))
        slopes, mean_size = self.vectors.slopes(gradient)
        if self.curvature.is_known:
            share, weights = self.curvature.combine(slopes)
        else:
            share, weights = self.first_move / (mean_size + _TINY), np.zeros_like(slopes)
        self.slot = self.curvature.begin_pair()
        if self.vectors.move(gradient, share, weights, self.slot) <= _LEAST_MOVE:
            self._end("converged")

    def _end(self, reason: StopReason) -> None:
        self.ended = reason
        self.losses = self.best


class Lbfgs:
    """The optimizer `lbfgs`."""

    #: The canvas, the best one and the last gradient, beside the one that an evaluation makes; and the pairs, which in
    #: tiles are in bfloat16.
    upkeep = Upkeep(Canvases(4, 2, HISTORY), Canvases(3, 1, TILED_HISTORY), snapshot_canvases=1)

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> LbfgsRun:  # noqa: ARG002
        """Begin at `canvas` without history; the recipe's Adam settings do not apply."""
        is_sparing = self.spares_memory(objective)
        curvature = Curvature(min(TILED_HISTORY if is_sparing else HISTORY, iterations))
        vectors = Vectors(canvas, 2 * curvature.capacity, halves_rows=is_sparing)
        return LbfgsRun(vectors, curvature, objective, iterations)

    def spares_memory(self, objective: Objective) -> bool:
        """Whether a run keeps the shorter history, in bfloat16: that of a canvas that is judged in tiles does."""
        return objective.tile_side is not None

    def step(self, runs: Sequence[LbfgsRun]) -> None:
        """Judge the canvases in one batch and let each make its move; after the last move there is none."""
        evaluations = self._evaluator.evaluate([run.vectors.canvas for run in runs], [run.objective for run in runs])
        for run, evaluation in zip(runs, evaluations, strict=True):
            if evaluation is not None:
                run.take(evaluation)

    def snapshot(self, run: LbfgsRun) -> Snapshot:
        """The best canvas alone: its curvature would be twenty canvases to write, and is learnt anew in ten moves."""
        numbers = {"evaluations": run.evaluations, "first_move": run.first_move, "has_ended": run.ended is not None}
        return Snapshot({"canvas": run.vectors.best}, numbers)

    def resume(self, snapshot: Snapshot, objective: Objective, recipe: Recipe, iterations: int) -> LbfgsRun:
        """Begin at the best canvas, with as many evaluations to come as there were; it is judged again by the first."""
        run = self.start(snapshot.array("canvas", 0.0, 1.0), objective, recipe, iterations)
        run.evaluations = snapshot.count("evaluations", MOST_COUNTED)
        run.first_move = snapshot.number("first_move", FIRST_MOVE)
        if snapshot.count("has_ended", 1):
            run.planned = run.iteration
        return run
