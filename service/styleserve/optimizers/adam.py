"""Adam on the device: `train_step` judges a batch of canvases and applies their gradients in one traced function.

Kingma and Ba 2015, algorithm 1, in the order of its section 2 (epsilon beside the uncorrected second moment):

    m <- b1 m + (1 - b1) g          first moment, [B, H, W, 3]
    v <- b2 v + (1 - b2) g^2        second moment
    x <- x - a sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

Departs from the paper: the canvas x is clipped to [0, 1] after each move, and a second sequence averages the iterates
(exponentially, decay d, divided by 1 - d^k after k moves at this scale): it jitters less, starts the next scale and is
the result. Canvases and moments are plain tensors that belong to their runs and stay on the device.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve.evaluation import Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import tensors
from styleserve.optimizers.tensors import Tensor, TensorEvaluator, TensorObjective
from styleserve.recipes import AdamSettings, Recipe


@dataclass(frozen=True, slots=True)
class _State:
    """What one run keeps on the device: canvas, moments and the sum that its average is made of, all [1, H, W, 3]."""

    canvas: Tensor
    first_moment: Tensor
    second_moment: Tensor
    average_sum: Tensor


@dataclass(slots=True, eq=False)
class AdamRun:
    """One canvas, its moments, and how far it is.

    `moves` counts moves at this scale, `age` those since Adam's moments began; the result of the last move is judged
    too, so that the last losses are those of the picture.
    """

    state: _State
    objective: TensorObjective
    settings: AdamSettings
    planned: int
    age: int = 0
    moves: int = 0
    iteration: int = 0
    evaluations: int = 0
    losses: Losses | None = None
    ended: StopReason | None = field(default=None)

    @property
    def batch_key(self) -> Hashable:
        """Runs whose objectives may be evaluated together."""
        return self.objective.batch_key

    def result(self) -> Pixels:
        """The average of the iterates, or the canvas when the recipe does not average or nothing has moved."""
        result: Pixels = self.result_tensor()[0].numpy()
        return result

    def result_tensor(self) -> Tensor:
        """The same, on the device, [1, H, W, 3]."""
        decay = self.settings.average_decay
        if decay == 0 or self.moves == 0:
            return self.state.canvas
        return tf.clip_by_value(self.state.average_sum / (1 - decay**self.moves), 0.0, 1.0)

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The result so far, made small on the device."""
        return tensors.preview(self.result_tensor(), max_side)

    def close(self) -> None:
        """Nothing to give up: the tensors go with the run."""

    def settle(self, losses: Losses) -> None:
        """Take the judgement of the canvas that was stepped."""
        self.losses = losses
        self.iteration = self.moves
        self.evaluations += 1


class Adam:
    """The optimizer `adam`."""

    def __init__(self, evaluator: TensorEvaluator) -> None:
        self._evaluator = evaluator
        self._train_steps: dict[Hashable, Callable[..., tuple[Tensor, ...]]] = {}

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> AdamRun:
        """Begin at `canvas` with moments of zero."""
        start = tf.convert_to_tensor(canvas[np.newaxis], tf.float32)
        zeros = tf.zeros_like(start)
        return AdamRun(_State(start, zeros, zeros, zeros), tensors.with_tensors(objective), recipe.adam, iterations)

    def grow(
        self, run: AdamRun, objective: Objective, shape: tuple[int, int], recipe: Recipe, iterations: int
    ) -> AdamRun:
        """Begin the next scale at the average, with the moments carried up, the first bicubic, the second bilinear.

        A second moment is never negative, which bicubic interpolation could make it.
        """
        canvas = tf.clip_by_value(tf.image.resize(run.result_tensor(), shape, method="bicubic"), 0.0, 1.0)
        first_moment = tf.image.resize(run.state.first_moment, shape, method="bicubic")
        second_moment = tf.maximum(tf.image.resize(run.state.second_moment, shape, method="bilinear"), 0.0)
        state = _State(canvas, first_moment, second_moment, tf.zeros_like(canvas))
        return AdamRun(state, tensors.with_tensors(objective), recipe.adam, iterations, age=run.age)

    def step(self, runs: Sequence[AdamRun]) -> None:
        """Judge the canvases and move them; a run that has made its moves is judged at its result and stays there."""
        for run in runs:
            if run.moves == run.planned:
                run.state = dataclasses.replace(run.state, canvas=run.result_tensor())
        states, losses = self._step_batch(runs)
        for run, state, terms in zip(runs, states, losses, strict=True):
            run.settle(terms)
            if run.moves == run.planned:
                run.ended = "completed"
            else:
                run.state = state
                run.moves += 1
                run.age += 1

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
        pixels = tf.TensorSpec([None, None, None, 3], tf.float32)
        rates = tf.TensorSpec([None, len(_RATES)], tf.float32)

        def train_step(
            canvas: Tensor, first: Tensor, second: Tensor, average: Tensor, rates: Tensor, *targets: Tensor
        ) -> tuple[Tensor, ...]:
            losses, gradient = self._evaluator.judge(form, canvas, targets)
            step_size, beta_1, beta_2, epsilon, decay = tf.unstack(rates[:, :, None, None, None], axis=1)
            first = beta_1 * first + (1 - beta_1) * gradient
            second = beta_2 * second + (1 - beta_2) * tf.square(gradient)
            canvas = tf.clip_by_value(canvas - step_size * first / (tf.sqrt(second) + epsilon), 0.0, 1.0)
            average = decay * average + (1 - decay) * canvas
            return canvas, first, second, average, losses

        types = [pixels, pixels, pixels, pixels, rates, *self._evaluator.signature(form)]
        traced: Callable[..., tuple[Tensor, ...]] = tf.function(train_step, input_signature=types, autograph=False)
        return traced


_RATES = ("step_size", "beta_1", "beta_2", "epsilon", "average_decay")


def _rates(runs: Sequence[AdamRun]) -> Tensor:
    """The numbers of each run's next move, [B, 5], in the order of `_RATES`."""
    return tf.constant([_rates_of(run.settings, run.age + 1) for run in runs], tf.float32)


def _rates_of(settings: AdamSettings, age: int) -> tuple[float, ...]:
    step_size = settings.learning_rate * (1 - settings.beta_2**age) ** 0.5 / (1 - settings.beta_1**age)
    return step_size, settings.beta_1, settings.beta_2, settings.epsilon, settings.average_decay
