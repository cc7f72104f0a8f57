"""A network's weights: of a file in Keras' HDF5 layout, or seeded random filters."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from styleserve.errors import WeightsError
from styleserve.model.calibration import natural_image

logger = logging.getLogger(__name__)

Array: TypeAlias = npt.NDArray[np.float32]

#: Convolutions in each block of a network and their filters.
Blocks: TypeAlias = tuple[tuple[int, int], ...]

#: Convolutions in each block of VGG19 and their filters; a 2 x 2 max pooling stands between blocks.
BLOCKS: Blocks = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

#: Of a digest that a label shows.
DIGEST_DIGITS = 12
#: Of Keras' own file for VGG19 without its top.
IMAGENET_BYTES = 80_134_624
_UNTRAINED_SIDE = 64
#: Numbers of a network are below 10; a bit turned over in an exponent makes almost any of them larger than this.
LARGEST_NUMBER = 1000.0


@dataclass(frozen=True, slots=True)
class Weights:
    """The convolutions of a network by layer name: kernels [3, 3, C_in, C_out] and biases [C_out], float32.

    `label` is `imagenet`, `light`, `untrained` or a file's name, then `@sha256:` and 12 hex digits of `digest`. `maps`,
    [C_out, C_out], are what features at a tap are multiplied by before anything is compared, and `means` the mean
    activations of the network that they are an image of; VGG19 has neither. Of how far a recipe lets the content's
    features move, `leeway` is the share that is allowed where this network looks: if it sees less, the rest goes along.
    """

    label: str
    digest: str
    is_trained: bool
    kernels: Mapping[str, Array]
    biases: Mapping[str, Array]
    maps: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    means: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    leeway: float = 1.0

    @property
    def blocks(self) -> Blocks:
        """Convolutions in each block and their filters."""
        filters = {name: kernel.shape[3] for name, kernel in self.kernels.items()}
        numbers = sorted({name.partition("_")[0] for name in filters})
        return tuple(
            (sum(name.startswith(f"{block}_") for name in filters), filters[f"{block}_conv1"]) for block in numbers
        )


def kernel_shapes(blocks: Blocks = BLOCKS) -> dict[str, tuple[int, int, int, int]]:
    """Shape of every kernel by layer name, in the network's order."""
    shapes: dict[str, tuple[int, int, int, int]] = {}
    channels = 3
    for block, (depth, filters) in enumerate(blocks, start=1):
        for number in range(1, depth + 1):
            shapes[f"block{block}_conv{number}"] = (3, 3, channels, filters)
            channels = filters
    return shapes


def load_file(path: Path, blocks: Blocks = BLOCKS) -> Weights:
    """Read a file in Keras' HDF5 layout; raises WeightsError that says what was expected when it is not one."""
    shapes = kernel_shapes(blocks)
    try:
        with h5py.File(path, "r") as file:
            convolutions = _convolutions(file)
            problems = list(_misfits(convolutions, shapes))
            arrays = {} if problems else {name: _read(*convolutions[name]) for name in shapes}
    except FileNotFoundError:
        raise WeightsError(f"weights file {path}: there is none; give the path of an HDF5 file of VGG19") from None
    except IsADirectoryError:
        raise WeightsError(f"weights file {path}: it is a folder; give the path of an HDF5 file of VGG19") from None
    except PermissionError:
        raise WeightsError(f"weights file {path}: the server's user may not read it; allow that user to") from None
    except Exception as error:
        logger.debug("h5py cannot read %s", path, exc_info=error)
        raise WeightsError(
            f"weights file {path}: not an HDF5 file, or truncated or damaged; expected VGG19's "
            f"{len(shapes)} convolutions "
            f"in Keras' layout; Keras' own file has {IMAGENET_BYTES} bytes"
        ) from None
    problems += _damages(arrays)
    if problems:
        raise WeightsError(f"weights file {path}: {'; '.join(problems[:4])}")
    digest = _sha256(path)
    return Weights(
        label=f"{path.name}@sha256:{digest[:DIGEST_DIGITS]}",
        digest=digest,
        is_trained=True,
        kernels=MappingProxyType({name: arrays[name][0] for name in shapes}),
        biases=MappingProxyType({name: arrays[name][1] for name in shapes}),
    )


def untrained(seed: int = 0, blocks: Blocks = BLOCKS) -> Weights:
    """Seeded random filters, each layer calibrated so that activations keep their scale.

    Filters are drawn from a normal distribution without their mean, which would see brightness only, and scaled by the
    activations' root mean square over an image with natural statistics, so that it is 1 after every layer's ReLU. The
    digest names the seed and the layers, since the last bits of the floats are the machine's.
    """
    random = np.random.default_rng(seed)
    kernels: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    flow = natural_image(_UNTRAINED_SIDE) * 255.0 - 128.0
    block = 1
    for name, shape in kernel_shapes(blocks).items():
        if not name.startswith(f"block{block}_"):
            flow = _pool(flow)
            block += 1
        kernel = random.standard_normal(shape).astype(np.float32)
        kernel -= kernel.mean(axis=(0, 1, 2), keepdims=True)
        flow = np.maximum(_convolve(flow, kernel), 0.0)
        scale = np.float32(1.0 / np.sqrt(np.mean(np.square(flow))))
        flow *= scale
        kernels[name] = kernel * scale
        biases[name] = np.zeros(shape[3], np.float32)
    digest = hashlib.sha256(f"untrained 1 {seed} {blocks}".encode()).hexdigest()
    label = f"untrained@sha256:{digest[:DIGEST_DIGITS]}"
    return Weights(label, digest, False, MappingProxyType(kernels), MappingProxyType(biases))


def _convolutions(group: h5py.Group) -> dict[str, tuple[h5py.Dataset, h5py.Dataset]]:
    """Kernel and bias of every layer: of each group that holds datasets of four dimensions and of one, the first ones.

    A model that was saved whole has its optimizer's arrays, of the same names and shapes, after its weights.
    """
    found: dict[str, dict[int, h5py.Dataset]] = {}

    def visit(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (1, 4):
            layer = next((part for part in path.split("/") if part.startswith("block")), path)
            found.setdefault(layer, {}).setdefault(item.ndim, item)

    group.visititems(visit)
    return {layer: (datasets[4], datasets[1]) for layer, datasets in found.items() if datasets.keys() == {1, 4}}


def _misfits(
    convolutions: Mapping[str, tuple[h5py.Dataset, h5py.Dataset]], shapes: Mapping[str, tuple[int, int, int, int]]
) -> Iterator[str]:
    """What is not of the network's form, before a number is read: a small file may promise more than memory holds."""
    for name, shape in shapes.items():
        if name not in convolutions:
            yield f"expected layer {name} with a kernel of shape {shape}, found none"
            continue
        kernel, bias = convolutions[name]
        if kernel.shape != shape or bias.shape != shape[3:]:
            yield f"expected {name} with kernel {shape} and bias {shape[3:]}, got {kernel.shape} and {bias.shape}"
        elif kernel.dtype.kind != "f" or bias.dtype.kind != "f":
            yield f"expected {name} with floating-point numbers, got {kernel.dtype} and {bias.dtype}"


def _read(kernel: h5py.Dataset, bias: h5py.Dataset) -> tuple[Array, Array]:
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite and is refused
        return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)


def _damages(arrays: Mapping[str, tuple[Array, Array]]) -> Iterator[str]:
    """What no network has learnt: HDF5 keeps no checksum, and a part that was never written reads as zeros."""
    for name, (kernel, bias) in arrays.items():
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            yield f"{name} holds values that are not finite"
        elif max(np.abs(kernel).max(), np.abs(bias).max()) > LARGEST_NUMBER:
            yield f"{name} holds values beyond {LARGEST_NUMBER:g}, which no VGG19 has; the file is damaged"
        elif not kernel.any():
            yield f"the kernel of {name} is all zeros; the file is damaged or was never written whole"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convolve(flow: Array, kernel: Array) -> Array:
    """A convolution with zero padding in NumPy: [H, W, C_in] and [3, 3, C_in, C_out] to [H, W, C_out]."""
    padded = np.pad(flow, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.tensordot(windows, kernel, axes=((3, 4, 2), (0, 1, 2)))


def _pool(flow: Array) -> Array:
    """Maximum over 2 x 2 positions."""
    height, width = flow.shape[0] // 2 * 2, flow.shape[1] // 2 * 2
    cells = flow[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
    return np.asarray(cells.max(axis=(1, 3)))
