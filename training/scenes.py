"""Scenes: canvases with a content and a style, and the gradients to their pixels, which are what an optimizer uses.

The teacher's gradients are computed once for each scene and kept; the student's are to point the same way.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from styleserve.evaluation import Pixels
from training.networks import Student, Teacher, gram
from training.pool import stack

#: Where `standard` compares them.
_CONTENT_LAYER = "block4_conv2"
_STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))
#: A content is its canvas, so much of it at least, mixed with another crop.
_LEAST_OF_CANVAS = 0.5
#: Keeps the distances of blank crops finite.
_TINY = 1e-12


class Eye(Protocol):
    """Sees images, [B, 3, H, W]: its features by layer, each [B, C_l, H_l, W_l]."""

    def __call__(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features of the layers where anything is compared."""
        ...


class Scenes:
    """`size` scenes: canvas, content and style, and the teacher's gradients of style and content, all [5, 3, S, S]."""

    def __init__(self, teacher: Teacher, crops: Iterator[Pixels], size: int, random: np.random.Generator) -> None:
        self._teacher = teacher
        self._crops = crops
        self._random = random
        self._kept = torch.stack([self._new() for _ in range(size)])
        self._oldest = 0

    def renew(self) -> None:
        """Put a new scene in the place of the oldest."""
        self._kept[self._oldest] = self._new()
        self._oldest = (self._oldest + 1) % len(self._kept)

    def sample(self, number: int, random: np.random.Generator) -> Tensor:
        """Some of them, [number, 5, 3, S, S]."""
        return self._kept[torch.from_numpy(random.choice(len(self._kept), number, replace=False))]

    def _new(self) -> Tensor:
        canvas, other, style = stack(self._crops, 3)
        share = float(self._random.uniform(_LEAST_OF_CANVAS, 1.0))
        content = share * canvas + (1 - share) * other
        shown = canvas[None], content[None], style[None]
        of_style, of_content = gradients(self._teacher.see, *shown, is_learnt=False)
        return torch.cat([*shown, of_style, of_content])


def errors(student: Student, scenes: Tensor) -> Tensor:
    """One minus the cosines between the student's gradients and the teacher's, of style and of content, [2]."""
    canvas, content, style, *wanted = scenes.unbind(1)
    found = gradients(student, canvas, content, style, is_learnt=True)
    cosines = [
        functional.cosine_similarity(own.flatten(1), other.flatten(1)).mean()
        for own, other in zip(found, wanted, strict=True)
    ]
    return 1 - torch.stack(cosines)


def gradients(see: Eye, canvas: Tensor, content: Tensor, style: Tensor, is_learnt: bool) -> tuple[Tensor, Tensor]:
    """Gradients to the canvases' pixels of the relative squared distances to the styles and to the contents.

    d/dx (mean over l of |G_l(x) - G_l(s)|^2 / |G_l(s)|^2) and d/dx |F(x) - F(c)|^2 / |F(c)|^2, each [B, 3, H, W], with
    a graph of their own where they are learnt from.
    """
    canvas = canvas.detach().requires_grad_()
    with torch.set_grad_enabled(is_learnt):
        of_content, of_style = see(content), see(style)
    seen = see(canvas)
    style_distances = [_relative(gram(seen[name]), gram(of_style[name])) for name in _STYLE_LAYERS]
    losses = torch.stack(style_distances).mean(0), _relative(seen[_CONTENT_LAYER], of_content[_CONTENT_LAYER])
    found = [torch.autograd.grad(loss.sum(), canvas, create_graph=is_learnt, retain_graph=True)[0] for loss in losses]
    return found[0], found[1]


def _relative(own: Tensor, other: Tensor) -> Tensor:
    """|own - other|^2 / |other|^2, [B]."""
    return (own - other).flatten(1).square().sum(1) / other.flatten(1).square().sum(1).clamp_min(_TINY)
