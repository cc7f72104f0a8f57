"""The teacher, VGG19, and its student, the light network, in PyTorch: features by layer name, [B, C, H, W].

A student has VGG19's layout with fewer layers and filters, and at each of its taps a linear map W_l to the teacher's
features there, in the basis of their principal components: P_l F_T ~ W_l F_S. In training that is what the loss
compares; the service needs of the maps only what distances do: |W (G - A) W^T| = |R (G - A) R^T| for W = Q R, a matrix
of the student's own few channels.
"""

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from styleserve.model.weights import Blocks, Weights, kernel_shapes

#: Where the presets compare content or style, and how many of the teacher's principal components are looked at there:
#: more than a student has filters would be of no use, and cost time.
COMPONENTS = {
    "block1_conv1": 24,
    "block2_conv1": 48,
    "block3_conv1": 96,
    "block4_conv1": 192,
    "block4_conv2": 192,
    "block5_conv1": 224,
    "block5_conv2": 224,
}
TAPS = tuple(COMPONENTS)
#: Where `standard` compares them.
CONTENT_LAYER = "block4_conv2"
STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))
#: Convolutions in each block and their filters.
LIGHT: Blocks = ((1, 16), (2, 32), (3, 64), (4, 160), (2, 224))

_MEAN_BGR = (103.939, 116.779, 123.68)
#: Keeps the distances of blank images finite, and the slopes of nothing's.
_TINY = 1e-12


def fastest_device() -> torch.device:
    """A GPU where there is one, else all cores of the processor."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Teacher:
    """VGG19, frozen; `see` gives the features after the ReLU of every layer that is asked for."""

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.device = device
        self._layers = {
            name: (
                torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).to(device, memory_format=torch.channels_last),
                torch.from_numpy(weights.biases[name].copy()).to(device),
            )
            for name, kernel in weights.kernels.items()
        }

    def see(self, images: Tensor, names: Sequence[str] = TAPS, before_relu: bool = False) -> dict[str, Tensor]:
        """Features of RGB images in [0, 1], [B, 3, H, W]; those `before_relu` where that is asked for."""
        found: dict[str, Tensor] = {}
        flow, block = prepare(images), "block1"
        for name, (kernel, bias) in self._layers.items():
            if not name.startswith(block):
                flow, block = functional.max_pool2d(flow, 2), name[:6]
            values = functional.conv2d(flow, kernel, bias, padding=1)
            flow = functional.relu(values)
            if name in names:
                found[name] = values if before_relu else flow
            if len(found) == len(names):
                break
        return found


class Student(nn.Module):
    """The light network and its maps to the teacher's features."""

    def __init__(self, blocks: Blocks = LIGHT) -> None:
        super().__init__()
        self.blocks = blocks
        self.layers = nn.ModuleDict(
            {name: nn.Conv2d(shape[2], shape[3], 3, padding=1) for name, shape in kernel_shapes(blocks).items()}
        )
        self.maps = nn.ModuleDict(
            {name: nn.Conv2d(self.channels(name), number, 1, bias=False) for name, number in COMPONENTS.items()}
        )

    def channels(self, name: str) -> int:
        """Filters of a layer."""
        return self.blocks[int(name[5]) - 1][1]

    def see(self, images: Tensor, names: Sequence[str] = TAPS) -> dict[str, Tensor]:
        """The student's own features of RGB images in [0, 1], after ReLU."""
        found: dict[str, Tensor] = {}
        flow, block = prepare(images), "block1"
        for name, layer in self.layers.items():
            if not name.startswith(block):
                flow, block = functional.max_pool2d(flow, 2), name[:6]
            flow = functional.relu(layer(flow))
            if name in names:
                found[name] = flow
            if len(found) == len(names):
                break
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Its idea of the teacher's components at every tap."""
        return {name: self.maps[name](feature) for name, feature in self.see(images).items()}


class Basis:
    """The principal components of the teacher's features at every tap, about zero: rows, [components, C_l]."""

    def __init__(self, rows: Mapping[str, Tensor]) -> None:
        self.rows = dict(rows)

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: Teacher, chunks: Sequence[Tensor]) -> "Basis":
        """The components of what the teacher sees of `chunks` of images."""
        products = {name: torch.zeros((), dtype=torch.float64, device=teacher.device) for name in TAPS}
        for images in chunks:
            for name, values in teacher.see(images).items():
                flat = values.transpose(0, 1).flatten(1)
                products[name] = products[name] + (flat @ flat.T).double()
        vectors = {name: torch.linalg.eigh(matrix)[1] for name, matrix in products.items()}
        return cls({name: vectors[name][:, -number:].T.float() for name, number in COMPONENTS.items()})

    def project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The components of features, [B, components, H, W]."""
        return {name: functional.conv2d(values, self.rows[name][..., None, None]) for name, values in features.items()}


def prepare(images: Tensor) -> Tensor:
    """RGB in [0, 1] to BGR without ImageNet's mean, as VGG19 was trained to see it."""
    mean = images.new_tensor(_MEAN_BGR).view(1, 3, 1, 1)
    return (images.flip(1) * 255.0 - mean).contiguous(memory_format=torch.channels_last)


def gram(features: Tensor) -> Tensor:
    """Gram matrices over the number of positions, [B, C, C]."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative(own: Tensor, other: Tensor) -> Tensor:
    """|own - other| / |other|, Frobenius norms, [B]."""
    squares = (own - other).flatten(1).square().sum(1) / other.flatten(1).square().sum(1).clamp_min(_TINY)
    return squares.clamp_min(_TINY).sqrt()
