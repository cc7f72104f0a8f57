"""A plain PyTorch loop of the `classic` objective, as its users write it: VGG19, autograd, Adam on the pixels.

It shares the weights' file and the pictures with the engine and nothing else. Needs the extra `bench`.
"""

import os
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from platformdirs import user_cache_path
from torch import Tensor
from torch.nn import functional

from benchmarks.turns import Answers, seconds_per
from styleserve.evaluation import Pixels
from styleserve.model.acquisition import acquire
from styleserve.model.weights import BLOCKS, Weights
from styleserve.presets import PRESETS

CLASSIC = PRESETS["classic"]
_MEAN_BGR = (103.939, 116.779, 123.68)

MemoryFormat: TypeAlias = Literal["contiguous", "channels_last"]


def answers(weights_choice: str) -> Answers:
    """What a process can be asked: to judge, which makes a loop, and for the seconds of one of its steps."""
    torch.set_num_threads(os.cpu_count() or 1)
    weights = acquire(weights_choice, user_cache_path("styleserve"))
    loops: dict[tuple[int, MemoryFormat], Loop] = {}

    def judge(
        content: Pixels, style: Pixels, canvas: Pixels, memory_format: MemoryFormat
    ) -> tuple[list[float], npt.NDArray[np.float32]]:
        loop = loops[len(canvas), memory_format] = Loop(weights, content, style, canvas, memory_format)
        return loop.judge()

    def seconds(side: int, memory_format: MemoryFormat, steps: int) -> float:
        return seconds_per(loops[side, memory_format].step, steps)

    return {"judge": judge, "seconds": seconds}


class Loop:
    """One canvas, [1, 3, H, W], on its way from `canvas`; each call of `step` judges and moves it."""

    def __init__(
        self, weights: Weights, content: Pixels, style: Pixels, canvas: Pixels, memory_format: MemoryFormat
    ) -> None:
        self._format = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
        self._layers = {
            name: (
                torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=self._format),
                torch.from_numpy(weights.biases[name].copy()),
            )
            for name, kernel in weights.kernels.items()
        }
        design = CLASSIC.loss
        self._content_names = [name for name, _ in design.content_layers]
        self._style_names = [name for name, _ in design.style_layers]
        with torch.no_grad():
            self._contents = [self._features(self._tensor(content))[name] for name in self._content_names]
            self._grams = [_gram(self._features(self._tensor(style))[name]) for name in self._style_names]
        self._canvas = self._tensor(canvas).requires_grad_()
        self._first, self._second = torch.zeros_like(self._canvas), torch.zeros_like(self._canvas)
        self._age = 0

    def judge(self) -> tuple[list[float], npt.NDArray[np.float32]]:
        """Losses (total, content, style, total variation) and the gradient, [H, W, 3]."""
        terms, gradient = self._evaluate()
        return terms.tolist(), gradient[0].permute(1, 2, 0).contiguous().numpy()

    def step(self) -> float:
        """Judge the canvas and move it by Adam; returns the total loss."""
        terms, gradient = self._evaluate()
        settings = CLASSIC.adam
        self._age += 1
        with torch.no_grad():
            self._first.lerp_(gradient, 1 - settings.beta_1)
            self._second.mul_(settings.beta_2).addcmul_(gradient, gradient, value=1 - settings.beta_2)
            size = settings.learning_rate * (1 - settings.beta_2**self._age) ** 0.5 / (1 - settings.beta_1**self._age)
            self._canvas.addcdiv_(self._first, self._second.sqrt().add_(settings.epsilon), value=-size).clamp_(0, 1)
        return float(terms[0])

    def _evaluate(self) -> tuple[Tensor, Tensor]:
        features = self._features(self._canvas)
        content = _mean_squares([features[name] for name in self._content_names], self._contents)
        style = _mean_squares([_gram(features[name]) for name in self._style_names], self._grams)
        down = self._canvas[:, :, 1:] - self._canvas[:, :, :-1]
        right = self._canvas[:, :, :, 1:] - self._canvas[:, :, :, :-1]
        variation = down.abs().sum() + right.abs().sum()
        terms = (CLASSIC.content_weight * content, CLASSIC.style_weight * style)
        total = terms[0] + terms[1] + CLASSIC.total_variation_weight * variation
        (gradient,) = torch.autograd.grad(total, self._canvas)
        return torch.stack([total, *terms, CLASSIC.total_variation_weight * variation]).detach(), gradient

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        flow = image.flip(1) * 255 - torch.tensor(_MEAN_BGR).reshape(1, 3, 1, 1)
        flow = flow.contiguous(memory_format=self._format)
        features: dict[str, Tensor] = {}
        for block, (depth, _) in enumerate(BLOCKS, start=1):
            for number in range(1, depth + 1):
                name = f"block{block}_conv{number}"
                features[name] = flow = functional.relu(functional.conv2d(flow, *self._layers[name], padding=1))
                if name == self._content_names[-1]:
                    return features
            flow = functional.max_pool2d(flow, 2)
        return features

    def _tensor(self, pixels: Pixels) -> Tensor:
        return torch.from_numpy(pixels.transpose(2, 0, 1)[np.newaxis].copy()).contiguous(memory_format=self._format)


def _gram(features: Tensor) -> Tensor:
    flat = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return flat.T @ flat / len(flat)


def _mean_squares(values: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The mean over layers of each one's mean squared difference."""
    squares = [functional.mse_loss(value, target) for value, target in zip(values, targets, strict=True)]
    return torch.stack(squares).mean()
