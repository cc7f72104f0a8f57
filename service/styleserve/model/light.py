"""The light network's weights, which come with the package: VGG19's layout with fewer layers and filters.

It was trained by `training` to see as VGG19 does; docs/light.md is its model card.
"""

import hashlib
import logging
from pathlib import Path
from types import MappingProxyType

import numpy as np
import safetensors.numpy

from styleserve.errors import WeightsError
from styleserve.model.weights import BLOCKS, DIGEST_DIGITS, LARGEST_NUMBER, Weights, kernel_shapes
from styleserve.presets import PRESETS

logger = logging.getLogger(__name__)

FILE = Path(__file__).with_name("light.safetensors")


def light(path: Path = FILE) -> Weights:
    """Read a file that `training.export` wrote; raises WeightsError when it is none.

    It holds float16: `LAYER.kernel`, [3, 3, C_in, C_out], and `LAYER.bias` of each layer, and of each tap `TAP.map`,
    [C_out, C], and `TAP.mean`, VGG19's mean activation there, [1]; and `leeway`, [1].
    """
    try:
        data = path.read_bytes()
        tensors = {name: tensor.astype(np.float32) for name, tensor in safetensors.numpy.load(data).items()}
        kernels, biases, maps, means = (
            {name.removesuffix(kind): tensor for name, tensor in tensors.items() if name.endswith(kind)}
            for kind in (".kernel", ".bias", ".map", ".mean")
        )
        digest = hashlib.sha256(data).hexdigest()
        weights = Weights(
            label=f"light@sha256:{digest[:DIGEST_DIGITS]}",
            digest=digest,
            is_trained=True,
            kernels=MappingProxyType(kernels),
            biases=MappingProxyType(biases),
            maps=MappingProxyType(maps),
            means=MappingProxyType({name: mean.item() for name, mean in means.items()}),
            leeway=tensors["leeway"].item(),
        )
        is_whole = _is_whole(weights)
    except Exception as error:
        logger.debug("safetensors cannot read %s", path, exc_info=error)
        is_whole = False
    if not is_whole:
        raise WeightsError(f"weights file {path}: damaged, or not what it was installed as; install styleserve again")
    return weights


def _is_whole(weights: Weights) -> bool:
    """Whether all tensors are there, in shapes that belong together, and hold what a network may have learnt."""
    shapes = kernel_shapes(weights.blocks)
    filters = {name: (shape[3],) for name, shape in shapes.items()}
    compared = {
        name for preset in PRESETS.values() for name, _ in (*preset.loss.content_layers, *preset.loss.style_layers)
    }
    return (
        len(weights.blocks) == len(BLOCKS)
        and {name: kernel.shape for name, kernel in weights.kernels.items()} == shapes
        and {name: bias.shape for name, bias in weights.biases.items()} == filters
        and all(of_tap.shape == 2 * filters[name] for name, of_tap in weights.maps.items())
        and compared <= weights.maps.keys() == weights.means.keys()
        and all(np.abs(bias).max() < LARGEST_NUMBER for bias in weights.biases.values())
        and all(
            0 < np.abs(array).max() < LARGEST_NUMBER for array in (*weights.kernels.values(), *weights.maps.values())
        )
        and all(0 < mean < np.inf for mean in weights.means.values())
        and 0 < weights.leeway <= 1
    )
