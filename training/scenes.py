"""Scenes: canvases with a content and a style, and the gradients to their pixels, which are what an optimizer uses.

The teacher's gradients are computed once for each scene and kept; the student's are to point the same way.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.easels import Easels
from training.networks import CONTENT_LAYER, STYLE_LAYERS, Student, Teacher, gram, relative

_AT_ONCE = 6


class Eye(Protocol):
    """Sees images, [B, 3, H, W]: its features by layer, each [B, C_l, H_l, W_l]."""

    def __call__(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features of the layers where anything is compared."""
        ...


class Scenes:
    """`size` scenes off easels: canvas, content and style, and the teacher's gradients, all [5, 3, S, S]."""

    def __init__(self, teacher: Teacher, easels: Easels, student: Student, size: int) -> None:
        self._teacher = teacher
        self._easels = easels
        self._kept = torch.cat([self._painted(student) for _ in range(size // _AT_ONCE)])
        self._oldest = 0

    def renew(self) -> None:
        """Put a new scene in the place of the oldest."""
        self._kept[self._oldest] = self._new(1)[0]
        self._oldest = (self._oldest + 1) % len(self._kept)

    def sample(self, number: int, random: np.random.Generator) -> Tensor:
        """Some of them, [number, 5, 3, S, S]."""
        return self._kept[torch.from_numpy(random.choice(len(self._kept), number, replace=False))]

    def _painted(self, student: Student) -> Tensor:
        self._easels.move(student)
        return self._new(_AT_ONCE)

    def _new(self, number: int) -> Tensor:
        shown = self._easels.show(number)
        canvas, content, style = shown.unbind(1)
        found = gradients(self._teacher.see, canvas, content, style, is_learnt=False)
        return torch.cat([shown, torch.stack(found, dim=1)], dim=1)


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
    """Gradients to the canvases' pixels of the relative distances to the styles and to the contents.

    d/dx (mean over l of |G_l(x) - G_l(s)| / |G_l(s)|) and d/dx |F(x) - F(c)| / |F(c)|, each [B, 3, H, W], with a graph
    of their own where they are learnt from.
    """
    canvas = canvas.detach().requires_grad_()
    with torch.set_grad_enabled(is_learnt):
        of_content, of_style = see(content), see(style)
    seen = see(canvas)
    style_distances = [relative(gram(seen[name]), gram(of_style[name])) for name in STYLE_LAYERS]
    losses = torch.stack(style_distances).mean(0), relative(seen[CONTENT_LAYER], of_content[CONTENT_LAYER])
    found = [torch.autograd.grad(loss.sum(), canvas, create_graph=is_learnt, retain_graph=True)[0] for loss in losses]
    return found[0], found[1]
