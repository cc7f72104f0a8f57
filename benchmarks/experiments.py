"""Experiments: what a recipe has no words for, tried beside the service and left out of it where it did not pay."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from styleserve.evaluation import Objective
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import Weights
from styleserve.optimizers.adam import Adam, AdamRun, rates_of
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.recipes import LossDesign

Tensor: TypeAlias = tf.Tensor

_STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))


class AveragePooled(VggNetwork):
    """The network with the mean of four positions in the place of the greatest (Gatys et al. 2016, section 2)."""

    def pool(self, flow: Tensor) -> Tensor:
        """Half as high and wide."""
        return tf.nn.avg_pool2d(flow, 2, 2, "VALID")


@dataclass(frozen=True, slots=True)
class WeighedMeans:
    """Makes networks whose style layers' means count `factor` times in a Gram matrix.

    With F = D + m, m the means of the channels, G / M = Cov + m m^T; of D + sqrt(factor) m it is
    Cov + factor m m^T. Means and covariances are what statistics of the Wasserstein kind compare.
    """

    factor: float

    def __call__(self, weights: Weights, dtype: tf.DType) -> VggNetwork:
        """The network of these weights."""
        return _MeansWeighed(weights, dtype, self.factor)


class _MeansWeighed(VggNetwork):
    def __init__(self, weights: Weights, dtype: tf.DType, factor: float) -> None:
        super().__init__(weights, dtype)
        self._excess = factor**0.5 - 1

    def features(self, images: Tensor, names: Sequence[str], replicate_edges: bool) -> dict[str, Tensor]:
        seen = super().features(images, names, replicate_edges)
        return {name: self._weigh(flow) if name in _STYLE_LAYERS else flow for name, flow in seen.items()}

    def _weigh(self, flow: Tensor) -> Tensor:
        means = tf.reduce_mean(tf.cast(flow, tf.float32), axis=(1, 2), keepdims=True)
        return flow + tf.cast(self._excess * means, flow.dtype)


@dataclass(slots=True, eq=False)
class _CarryingRun(AdamRun):
    """A run whose moments began `earlier` moves before it did."""

    earlier: int = 0

    @property
    def rates(self) -> tuple[float, ...]:
        return rates_of(self.settings, self.earlier + self.moves + 1)


class CarryingAdam(Adam):
    """Adam as the published pyramid has it: moments are carried from scale to scale; whole canvases alone."""

    def carry(self, run: AdamRun, begun: AdamRun) -> AdamRun:
        """What has `begun` at the next scale, with the moments of `run`: the first bicubically, the second bilinearly.

        A second moment is never negative, which bicubic interpolation could make it.
        """
        shape = begun.state.canvas.shape[1:3]
        first = tf.image.resize(run.state.first_moment, shape, method="bicubic")
        second = tf.image.resize(run.state.second_moment, shape, method="bilinear")
        state = dataclasses.replace(begun.state, first_moment=first, second_moment=second)
        earlier = run.moves + (run.earlier if isinstance(run, _CarryingRun) else 0)
        return _CarryingRun(state, begun.objective, begun.settings, begun.planned, earlier=earlier)


class SlowingAdam(Adam):
    """Adam whose step size falls from that of the recipe to zero along every scale."""

    def step(self, runs: Sequence[AdamRun]) -> None:
        """Set the step size, then step."""
        for run in runs:
            to_come = run.planned - run.moves
            # What is left of it is divided by what is left of the way, so that it falls in a straight line.
            share = to_come / (to_come + 1) if run.moves else 1.0
            rate = run.settings.learning_rate * share
            run.settings = dataclasses.replace(run.settings, learning_rate=rate)
        super().step(runs)


class SlowingCarryingAdam(SlowingAdam, CarryingAdam):
    """Both: moments are carried from scale to scale, and the step size falls along each of them."""


class SparingLbfgs(Lbfgs):
    """L-BFGS with the history of a canvas in tiles, three pairs in bfloat16, for whole canvases too."""

    def spares_memory(self, objective: Objective) -> bool:  # noqa: ARG002
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is changed beside the recipe: the network, Adam, L-BFGS, or the loss at all scales but the last."""

    network: Callable[[Weights, tf.DType], VggNetwork] = VggNetwork
    adam: type[Adam] = Adam
    lbfgs: type[Lbfgs] = Lbfgs
    coarse_loss: LossDesign | None = None


NOTHING = Experiment()
