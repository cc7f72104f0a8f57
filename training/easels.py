"""Easels: canvases that the student paints while it learns, since what an optimizer finds is where it errs.

Each holds a content, a style and a canvas, which Adam takes from the content to `standard`'s objective as the student
sees it now. Some of them move at every step of the training, and what they show is then learnt from like any crop.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from styleserve.evaluation import Pixels
from styleserve.presets import PRESETS
from training.networks import CONTENT_LAYER, STYLE_LAYERS, Student, gram, relative
from training.pool import stack

_MOVED = 6
#: The moves of a canvas before another takes its place, at least and at most.
_LIVES = (10, 120)
#: How far a content may go, of its features' norm.
_BOUNDS = (0.1, 1.0)
_LEARNING_RATE, _BETA_1, _BETA_2 = 0.03, 0.9, 0.99
_TINY = 1e-8


class Easels:
    """`number` canvases with their contents and styles, all [3, S, S]; those beside each other take turns."""

    def __init__(self, crops: Iterator[Pixels], number: int, random: np.random.Generator, device: torch.device) -> None:
        self._crops = crops
        self._random = random
        self._device = device
        self._shown = torch.stack([self._new() for _ in range(number)])
        self._means = torch.zeros_like(self._shown[:, 0])
        self._squares = torch.zeros_like(self._means)
        self._moves = np.zeros(number, int)
        self._lives = random.integers(*_LIVES, size=number)
        self._bounds = random.uniform(*_BOUNDS, size=number)
        self._next = 0

    def show(self, number: int) -> Tensor:
        """Canvases, contents and styles of some of those that have moved, [number, 3, 3, S, S]."""
        moved = np.flatnonzero(self._moves)
        return self._shown[self._random.choice(moved, number)]

    def move(self, student: Student) -> Tensor:
        """Move the next few of them by one step of Adam; returns their canvases, [6, 3, S, S]."""
        places = np.arange(self._next, self._next + _MOVED) % len(self._shown)
        self._next = int(places[-1] + 1) % len(self._shown)
        for place in places[self._moves[places] >= self._lives[places]]:
            self._begin_anew(int(place))
        self._moves[places] += 1
        canvases, contents, styles = self._shown[places].unbind(1)
        bounds = self._on_device(self._bounds[places])
        gradients = _gradients(student, canvases, contents, styles, bounds)
        means = self._means[places].lerp(gradients, 1 - _BETA_1)
        squares = self._squares[places].lerp(gradients.square(), 1 - _BETA_2)
        moves = self._on_device(self._moves[places])[:, None, None, None]
        step = means / (1 - _BETA_1**moves) / ((squares / (1 - _BETA_2**moves)).sqrt() + _TINY)
        canvases = (canvases - _LEARNING_RATE * step).clamp(0, 1)
        self._means[places], self._squares[places], self._shown[places, 0] = means, squares, canvases
        return canvases

    def _begin_anew(self, place: int) -> None:
        self._shown[place] = self._new()
        self._means[place] = self._squares[place] = 0
        self._moves[place], self._lives[place] = 0, self._random.integers(*_LIVES)
        self._bounds[place] = self._random.uniform(*_BOUNDS)

    def _new(self) -> Tensor:
        """A canvas, which is its content, that content and a style, [3, 3, S, S]."""
        content, style = stack(self._crops, 2, self._device)
        return torch.stack([content, content, style])

    def _on_device(self, numbers: np.ndarray) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float32, device=self._device)


def _gradients(student: Student, canvases: Tensor, contents: Tensor, styles: Tensor, bounds: Tensor) -> Tensor:
    """Gradients to the canvases of `standard`'s objective in the student's idea of the teacher's features.

    Mean over layers and two sizes of |G - A| / |A|, w_c max(0, D / b - 1)^2 with D = |F - P| / |P|, and w_t times the
    mean square of differences of neighbours.
    """
    recipe = PRESETS["standard"]
    with torch.no_grad():
        of_contents = student(contents)
        of_styles = [student(styles), student(_halved(styles))]
    canvases = canvases.detach().requires_grad_()
    seen = student(canvases)
    styled = [
        relative(gram(own[name]), gram(other[name]))
        for own, other in zip((seen, student(_halved(canvases))), of_styles, strict=True)
        for name in STYLE_LAYERS
    ]
    moved = relative(seen[CONTENT_LAYER], of_contents[CONTENT_LAYER])
    beyond = (moved / bounds - 1).clamp_min(0).square()
    rough = canvases.diff(dim=2).square().mean() + canvases.diff(dim=3).square().mean()
    loss = (
        recipe.style_weight * torch.stack(styled).mean(0).sum()
        + recipe.content_weight * beyond.sum()
        + recipe.total_variation_weight * rough * len(canvases)
    )
    return torch.autograd.grad(loss, canvases)[0]


def _halved(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 2)
