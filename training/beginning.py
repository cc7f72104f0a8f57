"""Where training begins: every layer of the student fitted, by ridge regression, to filters of the teacher.

Layer by layer from the input: of the teacher's filters those are taken that tell the most about all of them, and the
student's kernel is the one that gives, of what the student itself sees there, what these filters give before their
ReLU. It costs minutes and is worth thousands of steps that begin with noise.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from styleserve.model.weights import BLOCKS
from training.networks import TAPS, Basis, Student, Teacher, prepare

logger = logging.getLogger(__name__)

#: The share of the mean square that a ridge adds to the diagonal of the normal equations.
_RIDGE = 1e-4
#: Positions of each crop that a fit looks at.
_POSITIONS = 160


def begin(student: Student, teacher: Teacher, basis: Basis, chunks: Sequence[Tensor]) -> None:
    """Fit all layers, then all maps, to what the teacher sees of chunks of crops, each [N, 3, H, W]."""
    for name in student.layers:
        wanted = _wanted(student, name)
        chosen = _telling(teacher, wanted, chunks, student.channels(name))
        _fit_layer(student, name, partial(_before_relu, teacher, wanted, chosen), chunks)
        logger.info("%s is fitted to %d filters of %s", name, len(chosen), wanted)
    fit_maps(student, teacher, basis, chunks)


@torch.no_grad()
def fit_maps(student: Student, teacher: Teacher, basis: Basis, chunks: Sequence[Tensor]) -> None:
    """Fit the maps alone, each by ridge regression over all positions."""
    products, mixed = {name: _Sum() for name in TAPS}, {name: _Sum() for name in TAPS}
    for images in chunks:
        own, wanted = student.see(images), basis.project(teacher.see(images))
        for name in TAPS:
            flat = own[name].transpose(0, 1).flatten(1)
            products[name].add(flat @ flat.T)
            mixed[name].add(wanted[name].transpose(0, 1).flatten(1) @ flat.T)
    for name in TAPS:
        solution = torch.linalg.solve(_ridged(products[name].total), mixed[name].total.T)
        student.maps[name].weight.copy_(solution.T[..., None, None])


@torch.no_grad()
def _fit_layer(student: Student, name: str, see: Callable[[Tensor], Tensor], chunks: Sequence[Tensor]) -> None:
    """Fit one convolution and its bias to the values that `see` gives, at random positions."""
    products, mixed = _Sum(), _Sum()
    generator = torch.Generator().manual_seed(0)
    for images in chunks:
        patches = functional.unfold(_input(student, name, images), 3, padding=1)
        patches = torch.cat([patches, torch.ones_like(patches[:, :1])], dim=1)
        places = torch.randperm(patches.shape[2], generator=generator)[:_POSITIONS]
        seen = patches[:, :, places].transpose(0, 1).flatten(1)
        values = see(images).flatten(2)[:, :, places].transpose(0, 1).flatten(1)
        products.add(seen @ seen.T)
        mixed.add(values @ seen.T)
    solution = torch.linalg.solve(_ridged(products.total), mixed.total.T).T
    layer = student.layers[name]
    layer.weight.copy_(solution[:, :-1].reshape(layer.weight.shape))
    layer.bias.copy_(solution[:, -1])


@torch.no_grad()
def _telling(teacher: Teacher, name: str, chunks: Sequence[Tensor], number: int) -> list[int]:
    """The filters by which most of the energy of all is explained, the next best one at a time."""
    products = _Sum()
    for images in chunks:
        values = teacher.see(images, [name])[name].transpose(0, 1).flatten(1)
        products.add(values @ values.T)
    left = products.total
    left = left / left.diagonal().mean()
    chosen: list[int] = []
    for _ in range(number):
        explained = left.square().sum(0) / (left.diagonal() + 1e-6)
        explained[chosen] = -1.0
        best = int(explained.argmax())
        chosen.append(best)
        left = left - torch.outer(left[:, best], left[best]) / (left[best, best] + 1e-6)
    return chosen


def _before_relu(teacher: Teacher, name: str, filters: list[int], images: Tensor) -> Tensor:
    """Values of some of a layer's filters."""
    return teacher.see(images, [name], before_relu=True)[name][:, filters]


def _wanted(student: Student, name: str) -> str:
    """The teacher's layer that a student's one stands for: of its own name, but the last before a pooling for the last.

    Where a tap is the last before a pooling it stands for the tap.
    """
    block, number = int(name[5]), int(name[-1])
    is_last = number == student.blocks[block - 1][0]
    return f"block{block}_conv{BLOCKS[block - 1][0]}" if is_last and name not in TAPS else name


def _input(student: Student, name: str, images: Tensor) -> Tensor:
    """What the layer `name` of the student sees."""
    names = list(student.layers)
    index = names.index(name)
    if index == 0:
        return prepare(images)
    before = names[index - 1]
    flow = student.see(images, [before])[before]
    return functional.max_pool2d(flow, 2) if before[:6] != name[:6] else flow


def _ridged(products: Tensor) -> Tensor:
    ridge = products.new_ones(len(products)).diag()
    return products + _RIDGE * products.diagonal().mean() * ridge


class _Sum:
    """A sum of matrices in float64."""

    def __init__(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)

    def add(self, matrix: Tensor) -> None:
        self.total = self.total.to(matrix.device) + matrix.double()
