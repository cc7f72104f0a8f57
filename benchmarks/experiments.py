"""Experiments: what a recipe has no words for, tried beside the service and left out of it where it did not pay."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from styleserve.evaluation import Objective
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import BLOCKS, Weights
from styleserve.optimizers.adam import Adam, AdamRun, rates_of
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.recipes import LossDesign

Tensor: TypeAlias = tf.Tensor

_STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))
#: By a style layer, the tap that stands for its means: the last convolution of its block, which no preset compares.
_MEANS = {layer: f"block{block}_conv{BLOCKS[block - 1][0]}" for block, layer in enumerate(_STYLE_LAYERS, start=1)}

#: k of `_MomentsApart`: with 1, and activations of some hundreds, the losses' epsilon would be seen beside the means.
_CONSTANT = 16.0


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


@dataclass(frozen=True, slots=True)
class Moments:
    """Makes networks that show the means and covariances of a style layer apart, to a design `with_moments`.

    With mu and Sigma the means and the covariances of the layer's channels over its positions, mu' and Sigma' those of
    the style, the layer's distance is

        (|mu - mu'| / |mu'| + |Sigma - Sigma'| / |Sigma'|) / 2

    in Frobenius norms: `relative`, as that of Gram matrices is, which are Sigma + mu mu^T. The Wasserstein distance
    compares the same moments, |mu - mu'|^2 + tr(Sigma + Sigma' - 2 (Sigma^1/2 Sigma' Sigma^1/2)^1/2) for Gaussians
    (Gelbrich 1990), by square roots of matrices, which there are none of here. Every `stride`-th channel counts.

    Covariances of tiles do not add up: canvases and style images have to be seen whole.
    """

    stride: int = 1

    def __call__(self, weights: Weights, dtype: tf.DType) -> VggNetwork:
        """The network of these weights."""
        return _MomentsApart(weights, dtype, self.stride)


class _MomentsApart(VggNetwork):
    """Of a layer F and a channel that is k everywhere, [F, k], the Gram matrix has all moments.

    It is [[G, k M mu], [k M mu^T, k^2 M]]. A layer has that channel where its means are asked for too, and is as ever
    where they are not.
    """

    def __init__(self, weights: Weights, dtype: tf.DType, stride: int) -> None:
        super().__init__(weights, dtype)
        self._stride = stride

    def features(self, images: Tensor, names: Sequence[str], replicate_edges: bool) -> dict[str, Tensor]:
        layers = [layer for layer, means in _MEANS.items() if means in names]
        others = [name for name in names if name not in _MEANS.values()]
        seen = super().features(images, [*others, *layers], replicate_edges)
        for layer in layers:
            flow = seen[layer][..., :: self._stride]
            constant = tf.fill(tf.shape(flow[..., :1]), tf.constant(_CONSTANT, flow.dtype))
            seen[layer] = seen[_MEANS[layer]] = tf.concat([flow, constant], axis=-1)
        return seen

    def mapped_gram(self, name: str, gram: Tensor) -> Tensor:
        """M Sigma = G - M mu mu^T of a layer, k M mu on a diagonal of its means; zeros fill both up to [C, C]."""
        size = self._taps[name].channels
        if gram.shape[-1] == size:
            return super().mapped_gram(name, gram)
        gram = (gram + tf.linalg.matrix_transpose(gram)) / 2  # so that its slope is symmetric, as losses presume
        beside, corner = gram[:, :-1, -1:], gram[:, -1:, -1:]
        if name in _MEANS:
            shown = gram[:, :-1, :-1] - beside * tf.linalg.matrix_transpose(beside) / corner
        else:
            shown = tf.linalg.diag(beside[..., 0])
        missing = [0, size - shown.shape[-1]]
        return tf.pad(shown, [[0, 0], missing, missing])


def with_moments(loss: LossDesign, blocks: Sequence[int] = range(1, 6)) -> LossDesign:
    """The design with `Moments` in the place of the Gram matrices of some blocks: half a layer's weight for each."""
    compared = {_STYLE_LAYERS[block - 1] for block in blocks}
    layers: list[tuple[str, float]] = []
    for name, weight in loss.style_layers:
        layers += [(name, weight / 2), (_MEANS[name], weight / 2)] if name in compared else [(name, weight)]
    return dataclasses.replace(loss, style_layers=tuple(layers))


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
