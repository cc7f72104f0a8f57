"""L-BFGS on the device: the curvature of the last moves gives the next its direction and its length.

Nocedal and Wright 2006, algorithm 7.4 (the two-loop recursion), with the pairs of the last moves,

    s_k = x_{k+1} - x_k,   y_k = g_{k+1} - g_k,   d = -H g,   H_0 = (s y / y y) I   (eq. 7.20)

Departs from the book: every move has the length that the recursion gives it, with no line search, so an iteration is
one evaluation and rounding in the network misleads nobody. The canvas is projected to [0, 1] after each move, and
values that stand at a bound and would leave it are held (Bertsekas 1982). The first move of a scale, without history,
goes down the gradient, `FIRST_MOVE` a value in the mean. A canvas whose loss rose beyond `WORST_RISE` times the best
goes back to the best, forgets its history, and makes its first move half as long, lest it rise again.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve.costs import Upkeep
from styleserve.evaluation import Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import tensors
from styleserve.optimizers.tensors import Tensor, TensorEvaluator, TensorObjective
from styleserve.recipes import Recipe

#: Pairs of moves and changes of the gradient that are kept; Nocedal and Wright: "m".
HISTORY = 10
#: Pixels of canvases up to which all of them are; larger ones keep fewer, down to `LEAST_HISTORY`.
FULL_HISTORY_PIXELS = 1024 * 1024
LEAST_HISTORY = 2
#: Mean absolute change of a value by the first move.
FIRST_MOVE = 0.02
WORST_RISE = 2.0
#: A pair is kept when the cosine between the move and the gradient's change is above this.
_LEAST_CURVATURE = 1e-10
#: A move that changes no value by more than this ends the run.
_LEAST_MOVE = 1e-5
#: Keeps the first move finite where the gradient is zero.
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class _Pair:
    """A move s, the change of the gradient y over it, both [1, H, W, 3], and their product s y."""

    step: Tensor
    change: Tensor
    curvature: Tensor


@dataclass(frozen=True, slots=True)
class _Judged:
    """A canvas with its gradient, both [1, H, W, 3], and its losses."""

    canvas: Tensor
    gradient: Tensor
    losses: Losses


@dataclass(slots=True, eq=False)
class LbfgsRun:
    """One canvas, the best one judged so far, and the pairs of its last moves, the newest last."""

    canvas: Tensor
    objective: TensorObjective
    planned: int
    last: _Judged | None = None
    best: _Judged | None = None
    pairs: list[_Pair] = field(default_factory=list)
    first_move: float = FIRST_MOVE
    losses: Losses | None = None
    evaluations: int = 0
    ended: StopReason | None = None

    @property
    def iteration(self) -> int:
        """Moves made up to the canvas judged last."""
        return max(0, self.evaluations - 1)

    @property
    def batch_key(self) -> Hashable:
        """Runs whose objectives may be evaluated together."""
        return self.objective.batch_key

    def result(self) -> Pixels:
        """The canvas with the least loss."""
        result: Pixels = self.result_tensor()[0].numpy()
        return result

    def result_tensor(self) -> Tensor:
        """The same, on the device, [1, H, W, 3]."""
        return self.canvas if self.best is None else self.best.canvas

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The best canvas so far, made small on the device."""
        return tensors.preview(self.result_tensor(), max_side)

    def close(self) -> None:
        """Nothing to give up: the tensors go with the run."""

    def take(self, judged: _Judged) -> None:
        """Learn from the judgement of the canvas and make the next move, or end."""
        self.evaluations += 1
        self.losses = judged.losses
        if not judged.losses.is_finite:
            return
        self._learn(judged)
        assert self.last is not None
        if self.iteration >= self.planned:
            self._end("completed")
            return
        self.canvas = _move(self.last.canvas, self.last.gradient, self.pairs, self.first_move)
        if float(tf.reduce_max(tf.abs(self.canvas - self.last.canvas))) <= _LEAST_MOVE:
            self._end("converged")

    def _learn(self, judged: _Judged) -> None:
        """Remember the curvature of the move, or go back to the best when the loss rose too far."""
        if self.best is None or judged.losses.total < self.best.losses.total:
            self.best = judged
        if judged.losses.total > WORST_RISE * self.best.losses.total:
            self.pairs.clear()
            self.first_move /= 2
            judged = self.best
        elif self.last is not None:
            self._remember(judged.canvas - self.last.canvas, judged.gradient - self.last.gradient)
        self.last = judged

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = tf.reduce_sum(step * change)
        if float(curvature) > _LEAST_CURVATURE * float(tf.norm(step) * tf.norm(change)):
            self.pairs.append(_Pair(step, change, curvature))
            del self.pairs[: -_history(step)]

    def _end(self, reason: StopReason) -> None:
        assert self.best is not None
        self.ended = reason
        self.losses = self.best.losses


class Lbfgs:
    """The optimizer `lbfgs`."""

    #: Pairs; canvas and gradient judged last, those judged best, and the canvas to be judged; six more during a move.
    upkeep = Upkeep(2 * HISTORY + 11, 2 * LEAST_HISTORY + 11, FULL_HISTORY_PIXELS)

    def __init__(self, evaluator: TensorEvaluator) -> None:
        self._evaluator = evaluator
        self._judges: dict[Hashable, Callable[..., tuple[Tensor, Tensor]]] = {}

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> LbfgsRun:  # noqa: ARG002
        """Begin at `canvas` without history; the recipe's Adam settings do not apply."""
        start = tf.convert_to_tensor(canvas[np.newaxis], tf.float32)
        return LbfgsRun(start, tensors.with_tensors(objective), iterations)

    def grow(
        self,
        run: LbfgsRun,
        objective: Objective,
        shape: tuple[int, int],
        recipe: Recipe,  # noqa: ARG002
        iterations: int,
    ) -> LbfgsRun:
        """Begin the next scale at the best canvas, enlarged; the curvature of another scale is dropped."""
        canvas = tf.clip_by_value(tf.image.resize(run.result_tensor(), shape, method="bicubic"), 0.0, 1.0)
        return LbfgsRun(canvas, tensors.with_tensors(objective), iterations)

    def step(self, runs: Sequence[LbfgsRun]) -> None:
        """Judge the canvases in one batch and let each make its move; after the last move there is none."""
        if runs[0].objective.tile_side is not None:
            for run in runs:
                evaluation = self._evaluator.judge_in_tiles(run.objective, run.canvas[0].numpy())
                gradient = tf.convert_to_tensor(evaluation.gradient[np.newaxis])
                run.take(_Judged(run.canvas, gradient, evaluation.losses))
            return
        canvases = tensors.stack([run.canvas for run in runs])
        targets = tensors.stack_targets([run.objective for run in runs])
        losses, gradients = self._judge(runs[0].objective.form)(canvases, *targets)
        gradient_of = tf.split(gradients, len(runs))
        for run, terms, gradient in zip(runs, losses.numpy().tolist(), gradient_of, strict=True):
            run.take(_Judged(run.canvas, gradient, Losses(*terms)))

    def _judge(self, form: Hashable) -> Callable[..., tuple[Tensor, Tensor]]:
        """The traced judgement of objectives of one form: traced once, for any batch and any size."""
        if form not in self._judges:

            def judge(canvases: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor]:
                return self._evaluator.judge(form, canvases, targets)

            types = [tf.TensorSpec([None, None, None, 3], tf.float32), *self._evaluator.signature(form)]
            self._judges[form] = tf.function(judge, input_signature=types, autograph=False)
        return self._judges[form]


def _history(canvas: Tensor) -> int:
    """How many pairs a canvas of [1, H, W, 3] keeps; each takes as much memory as two canvases."""
    num_pixels: int = canvas.shape[1] * canvas.shape[2]
    return max(LEAST_HISTORY, min(HISTORY, HISTORY * FULL_HISTORY_PIXELS // num_pixels))


def _move(canvas: Tensor, gradient: Tensor, pairs: Sequence[_Pair], first_move: float) -> Tensor:
    """The next canvas; without pairs its values change by `first_move` in the mean."""
    is_held = ((canvas <= 0.0) & (gradient > 0.0)) | ((canvas >= 1.0) & (gradient < 0.0))
    downhill = tf.where(is_held, 0.0, -gradient)
    if pairs:
        direction = tf.where(is_held, 0.0, _two_loops(downhill, pairs))
    else:
        direction = downhill * first_move / (tf.reduce_mean(tf.abs(downhill)) + _TINY)
    return tf.clip_by_value(canvas + direction, 0.0, 1.0)


def _two_loops(downhill: Tensor, pairs: Sequence[_Pair]) -> Tensor:
    """H times `downhill`, algorithm 7.4."""
    direction = downhill
    alphas = []
    for pair in reversed(pairs):
        alphas.append(tf.reduce_sum(pair.step * direction) / pair.curvature)
        direction -= alphas[-1] * pair.change
    direction *= pairs[-1].curvature / tf.reduce_sum(tf.square(pairs[-1].change))
    for pair, alpha in zip(pairs, reversed(alphas), strict=True):
        beta = tf.reduce_sum(pair.change * direction) / pair.curvature
        direction += (alpha - beta) * pair.step
    return direction
