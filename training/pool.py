"""A pool of crops with what the teacher sees of them, which is renewed as training goes on.

The teacher takes most of a step's time, so that it looks at a few new crops a step, in the place of the oldest, and the
student learns from all that are there. VGG19's features outrun float16 now and then.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from styleserve.evaluation import Pixels
from training.networks import TAPS, Basis, Teacher


class Pool:
    """`size` crops, [3, S, S], and the components of the teacher's features of them, in bfloat16."""

    def __init__(self, teacher: Teacher, basis: Basis, crops: Iterator[Pixels], size: int, chunk: int = 16) -> None:
        self._teacher = teacher
        self._basis = basis
        self._images: Tensor | None = None
        self._features: dict[str, Tensor] = {}
        self._size = size
        self._oldest = 0
        for _ in range(0, size, chunk):
            self.put(stack(crops, chunk, teacher.device))

    @torch.no_grad()
    def put(self, images: Tensor) -> None:
        """Put new crops, [N, 3, S, S], in the place of the oldest."""
        number = len(images)
        if number == 0:
            return
        seen = self._basis.project(self._teacher.see(images))
        if self._images is None:
            self._images = images.new_empty(self._size, *images.shape[1:])
            self._features = {
                name: values.new_empty(self._size, *values.shape[1:], dtype=torch.bfloat16)
                for name, values in seen.items()
            }
        places = torch.arange(self._oldest, self._oldest + number) % self._size
        self._images[places] = images
        for name, values in seen.items():
            self._features[name][places] = values.bfloat16()
        self._oldest = (self._oldest + number) % self._size

    def sample(self, number: int, random: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Images and features of `number` crops."""
        assert self._images is not None
        places = torch.from_numpy(random.choice(self._size, number, replace=False))
        return self._images[places], {name: self._features[name][places].float() for name in TAPS}

    def energies(self) -> dict[str, float]:
        """Mean square of the teacher's features at every tap."""
        return {
            name: float(torch.stack([part.float().square().mean() for part in values.split(64)]).mean())
            for name, values in self._features.items()
        }


def stack(crops: Iterator[Pixels], number: int, device: torch.device) -> Tensor:
    """The next crops as one tensor, [number, 3, S, S]."""
    return torch.from_numpy(np.stack([next(crops) for _ in range(number)]).transpose(0, 3, 1, 2).copy()).to(device)
