"""Adam on the device: `train_step` judges a batch of canvases and applies their gradients in one traced function.

Kingma and Ba 2015, algorithm 1, in the order of its section 2 (epsilon beside the uncorrected second moment):

    m <- b1 m + (1 - b1) g          first moment, [B, H, W, 3]
    v <- b2 v + (1 - b2) g^2        second moment
    x <- x - a sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

Departs from the paper: the canvas x is clipped to [0, 1] after each move, and a second sequence averages the iterates
(exponentially, decay d, divided by 1 - d^t): it jitters less, starts the next scale and is the result. Departs from the
published pyramid too, which carries the moments up: gradients of another scale mislead, and beginning anew is nearer to
the style by a fifth (docs/benchmarks). Canvases and moments are plain tensors that belong to their runs and stay on the
device; those of a canvas that is judged in tiles are arrays (`adam_tiles`).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve.costs import Canvases, Upkeep
from styleserve.evaluation import Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import MOST_COUNTED, Snapshot, tensors
from styleserve.optimizers.adam_tiles import TiledState
from styleserve.optimizers.tensors import Tensor, TensorEvaluator, TensorObjective
from styleserve.recipes import AdamSettings, Recipe


@dataclass(frozen=True, slots=True)
class _State:
    """What one run keeps on the device: canvas, moments and the sum that its average is made of, all [1, H, W, 3]."""

    canvas: Tensor
    first_moment: Tensor
    second_moment: Tensor
    average_sum: Tensor

    @classmethod
    def begin(cls, canvas: Pixels) -> "_State":
        """The state before the first move."""
        start = tf.convert_to_tensor(canvas[np.newaxis], tf.float32)
        zeros = tf.zeros_like(start)
        return cls(start, zeros, zeros, zeros)

    def result(self, correction: float | None) -> Tensor:
        """The average of the iterates, whose sum is multiplied by `correction`; without one, the canvas."""
        return self.canvas if correction is None else tf.clip_by_value(self.average_sum * correction, 0.0, 1.0)

    @classmethod
    def restore(cls, *arrays: Pixels) -> "_State":
        """The state that `arrays` gave."""
        return cls(*(tf.convert_to_tensor(array[np.newaxis], tf.float32) for array in arrays))

    def arrays(self) -> tuple[Pixels, ...]:
        """All that it keeps, [H, W, 3] each, to read only."""
        return tuple(tensors.as_array(getattr(self, name))[0] for name in self.__slots__)

    def at_result(self, correction: float | None) -> "_State":
        """The same with the result as the canvas."""
        return _State(self.result(correction), self.first_moment, self.second_moment, self.average_sum)

    def picture(self, correction: float | None) -> Pixels:
        """The result as pixels."""
        pixels: Pixels = self.result(correction)[0].numpy()
        return pixels

    def preview(self, correction: float | None, max_side: int) -> npt.NDArray[np.uint8]:
        """The result, made small on the device."""
        return tensors.preview(self.result(correction), max_side)


@dataclass(slots=True, eq=False)
class AdamRun:
    """One canvas, its moments, and how far it is.

    `moves` counts those made; the result of the last one is judged too, so that the last losses are those of the
    picture.
    """

    state: _State | TiledState
    objective: TensorObjective
    settings: AdamSettings
    planned: int
    moves: int = 0
    iteration: int = 0
    evaluations: int = 0
    losses: Losses | None = None
    ended: StopReason | None = None
    failure: BaseException | None = None

    @property
    def batch_key(self) -> Hashable:
        """Runs whose objectives may be evaluated together."""
        return self.objective.batch_key

    def result(self) -> Pixels:
        """The average of the iterates, or the canvas when the recipe does not average or nothing has moved."""
        return self.state.picture(self.correction)

    @property
    def correction(self) -> float | None:
        """What makes an average of the sum of iterates; None when there is none."""
        decay = self.settings.average_decay
        return None if decay == 0 or self.moves == 0 else 1 / (1 - decay**self.moves)

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The result so far, small."""
        return self.state.preview(self.correction, max_side)

    @property
    def rates(self) -> tuple[float, ...]:
        """The numbers of the next move, in the order of `_RATES`."""
        return rates_of(self.settings, self.moves + 1)

    def close(self) -> None:
        """Give up canvas and moments, whoever still has the run."""
        if hasattr(self, "state"):
            del self.state

    def settle(self, losses: Losses) -> None:
        """Take the judgement of the canvas that was stepped, and count the move that followed, if one did."""
        self.losses = losses
        self.iteration = self.moves
        self.evaluations += 1
        if self.moves == self.planned:
            self.ended = "completed"
        else:
            self.moves += 1
            self.stay_at_result()

    def stay_at_result(self) -> None:
        """After the last move, go to the result, to be judged there; before it, nothing."""
        if self.moves == self.planned:
            self.state = self.state.at_result(self.correction)


class Adam:
    """The optimizer `adam`."""

    upkeep = Upkeep(Canvases(len(_State.__slots__)), snapshot_canvases=len(_State.__slots__))

    def __init__(self, evaluator: TensorEvaluator) -> None:
        self._evaluator = evaluator
        self._train_steps: dict[Hashable, Callable[..., tuple[Tensor, ...]]] = {}
        types = [*5 * [_PIXELS], _RATES_TYPE]
        self._move: Callable[..., tuple[Tensor, ...]] = tf.function(_move, input_signature=types, autograph=False)

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> AdamRun:
        """Begin at `canvas` with moments of zero."""
        known = tensors.with_tensors(objective)
        state = (_State if known.tile_side is None else TiledState).begin(canvas)
        return AdamRun(state, known, recipe.adam, iterations)

    def step(self, runs: Sequence[AdamRun]) -> None:
        """Judge the canvases and move them; a run that has made its moves is judged at its result and stays there."""
        if runs[0].objective.tile_side is not None:
            for run in runs:
                self._step_in_tiles(run)
            return
        states, losses = self._step_batch(runs)
        for run, state, terms in zip(runs, states, losses, strict=True):
            if run.moves < run.planned:
                run.state = state
            run.settle(terms)

    def snapshot(self, run: AdamRun) -> Snapshot:
        """All that the next moves depend on: a run that resumes visits the canvases that this one would."""
        arrays = dict(zip(_State.__slots__, run.state.arrays(), strict=True))
        return Snapshot(arrays, {name: getattr(run, name) for name in _COUNTS})

    def resume(self, snapshot: Snapshot, objective: Objective, recipe: Recipe, iterations: int) -> AdamRun:
        """Go on at the canvas, moments and average of the snapshot."""
        known = tensors.with_tensors(objective)
        arrays = (
            snapshot.array("canvas", 0.0, 1.0),
            snapshot.array("first_moment"),
            snapshot.array("second_moment", 0.0),
            snapshot.array("average_sum"),
        )
        state = _State.restore(*arrays) if known.tile_side is None else TiledState(*arrays)
        moves = snapshot.count("moves", iterations)
        iteration = snapshot.count("iteration", moves)
        evaluations = snapshot.count("evaluations", MOST_COUNTED)
        run = AdamRun(state, known, recipe.adam, iterations, moves, iteration, evaluations)
        run.stay_at_result()
        return run

    def _step_in_tiles(self, run: AdamRun) -> None:
        assert isinstance(run.state, TiledState)
        (evaluation,) = self._evaluator.evaluate([run.state.canvas], [run.objective])
        if evaluation is None:
            return
        if run.moves < run.planned:
            run.state.apply(self._move, evaluation.gradient, _rates([run]))
        run.settle(evaluation.losses)

    def _step_batch(self, runs: Sequence[AdamRun]) -> tuple[list[_State], list[Losses]]:
        canvases, first, second, averages = (
            tensors.stack([getattr(run.state, name) for run in runs]) for name in _State.__slots__
        )
        targets = tensors.stack_targets([run.objective for run in runs])
        train_step = self._train_step(runs[0].objective.form)
        *moved, losses = train_step(canvases, first, second, averages, _rates(runs), *targets)
        pieces = zip(*(tf.split(tensor, len(runs)) for tensor in moved), strict=True)
        return [_State(*piece) for piece in pieces], [Losses(*terms) for terms in losses.numpy().tolist()]

    def _train_step(self, form: Hashable) -> Callable[..., tuple[Tensor, ...]]:
        """The traced step for objectives of one form: traced once, for any batch and any size."""
        if form not in self._train_steps:
            self._train_steps[form] = self._trace(form)
        return self._train_steps[form]

    def _trace(self, form: Hashable) -> Callable[..., tuple[Tensor, ...]]:
        def train_step(
            canvas: Tensor, first: Tensor, second: Tensor, average: Tensor, rates: Tensor, *targets: Tensor
        ) -> tuple[Tensor, ...]:
            losses, gradient = self._evaluator.judge(form, canvas, targets)
            return *_move(canvas, first, second, average, gradient, rates), losses

        types = [*4 * [_PIXELS], _RATES_TYPE, *self._evaluator.signature(form)]
        traced: Callable[..., tuple[Tensor, ...]] = tf.function(train_step, input_signature=types, autograph=False)
        return traced


_COUNTS = ("moves", "iteration", "evaluations")
_RATES = ("step_size", "beta_1", "beta_2", "epsilon", "average_decay")
_RATES_TYPE = tf.TensorSpec([None, len(_RATES)], tf.float32)
_PIXELS = tf.TensorSpec([None, None, None, 3], tf.float32)


def _move(
    canvas: Tensor, first: Tensor, second: Tensor, average: Tensor, gradient: Tensor, rates: Tensor
) -> tuple[Tensor, ...]:
    """Canvas, moments and average after one move; each pixel's own affair."""
    step_size, beta_1, beta_2, epsilon, decay = tf.unstack(rates[:, :, None, None, None], axis=1)
    first = beta_1 * first + (1 - beta_1) * gradient
    second = beta_2 * second + (1 - beta_2) * tf.square(gradient)
    canvas = tf.clip_by_value(canvas - step_size * first / (tf.sqrt(second) + epsilon), 0.0, 1.0)
    return canvas, first, second, decay * average + (1 - decay) * canvas


def rates_of(settings: AdamSettings, age: int) -> tuple[float, ...]:
    """The numbers of the move that is the `age`-th since the moments began, from 1, in the order of `_RATES`."""
    step_size = settings.learning_rate * (1 - settings.beta_2**age) ** 0.5 / (1 - settings.beta_1**age)
    return step_size, settings.beta_1, settings.beta_2, settings.epsilon, settings.average_decay


def _rates(runs: Sequence[AdamRun]) -> Tensor:
    """The numbers of each run's next move, [B, 5]."""
    return tf.constant([run.rates for run in runs], tf.float32)
