"""Where the network's weights come from: a download, a file, random filters, or what comes with the package."""

import dataclasses
import logging
import os
from pathlib import Path

from styleserve.download import Source, fetch
from styleserve.errors import DownloadError, WeightsError
from styleserve.model.light import light
from styleserve.model.weights import DIGEST_DIGITS, IMAGENET_BYTES, Weights, load_file, untrained

logger = logging.getLogger(__name__)

#: Keras' own file for VGG19 without its top; a line of 30 kB/s brings it in time.
IMAGENET = Source(
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    checksum="md5:253f8cb515780f3b799900260a226db6",
    file_name="vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    max_bytes=IMAGENET_BYTES,
    timeout_s=2700.0,
)


def acquire(choice: str, cache_dir: Path, network: str = "auto", source: Source = IMAGENET) -> Weights:
    """The weights of `network`, `auto`, `vgg19` or `light`, and, for VGG19, of `choice`.

    That is `imagenet`, which is downloaded and kept, `untrained`, a path, or `auto`: `imagenet`, and, where `network`
    is `auto` too and there is no download to be had, the light network in the place of VGG19. Raises WeightsError when
    what was asked for by name is not to be had.
    """
    if network == "light":
        return light()
    match choice:
        case "untrained":
            logger.warning("UNTRAINED WEIGHTS: pictures will show texture, not art; give --weights imagenet or PATH")
            return untrained()
        case "imagenet":
            return _load_fetched(source, cache_dir)
        case "auto":
            return _load_fetched(source, cache_dir) if network == "vgg19" else _first_to_be_had(source, cache_dir)
        case _:
            return load_file(Path(os.path.expanduser(choice)))


def _first_to_be_had(source: Source, cache_dir: Path) -> Weights:
    try:
        return _load_fetched(source, cache_dir)
    except WeightsError as error:
        weights = light()
        logger.warning("the light network paints, in the place of VGG19: %s", error)
        return weights


def _load_fetched(source: Source, cache_dir: Path) -> Weights:
    """Keras' file, known by what it holds and not by its name."""
    try:
        path = fetch(source, cache_dir)
    except DownloadError as error:
        raise WeightsError(f"{error}; put the file at {error.place}, or give another with --weights PATH") from None
    weights = load_file(path)
    return dataclasses.replace(weights, label=f"imagenet@sha256:{weights.digest[:DIGEST_DIGITS]}")
