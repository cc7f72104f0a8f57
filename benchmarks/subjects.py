"""What the benchmarks paint with: a photograph, a style, and the real weights where they are at hand."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from platformdirs import user_cache_path

from styleserve import images
from styleserve.download import fetch
from styleserve.errors import DownloadError
from styleserve.evaluation import Pixels, StyleImage
from styleserve.model import device
from styleserve.model.acquisition import IMAGENET, acquire
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import Weights
from styleserve.workers.vgg_engine import PrecisionChoice, VggEngineFactory

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
#: Optional, beside the checkout: weights and paintings for tests and benchmarks.
SHARED = ROOT.parent / "shared"
SHARED_WEIGHTS = SHARED / "weights" / "vgg19_imagenet_notop.h5"
_PAINTINGS = SHARED / "images" / "styles"
PAINTINGS = {
    "starry-night": _PAINTINGS / "starry_night_vangogh1889_full.jpg",
    "udnie": _PAINTINGS / "udnie_picabia1913.jpg",
    "great-wave": _PAINTINGS / "great_wave_hokusai_c1831.jpg",
    "the-scream": _PAINTINGS / "the_scream_munch1893.jpg",
}
DRAWN_STYLES = {name: ROOT / "styles" / f"{name}.jpg" for name in ("mosaic", "woodcut", "watercolour", "impasto")}


@dataclass(frozen=True, slots=True)
class Subject:
    """The evaluator and the style of a benchmark, and what they are called in its results."""

    evaluator: PerceptualEvaluator
    style: StyleImage
    weights: Weights
    precision: str
    style_name: str


def subject(
    precision: PrecisionChoice,
    data_dir: Path,
    network: Callable[[Weights, tf.DType], VggNetwork] = VggNetwork,
    weights: Weights | None = None,
) -> Subject:
    """Set the device up; `weights` are VGG19's unless others are given."""
    logging.basicConfig(level=logging.WARNING)
    weights = weights or vgg19()
    hardware = device.configure(precision, device.LEAST_BYTES_TO_FREEZE)
    evaluator = PerceptualEvaluator(weights, hardware.precision, TargetStore(data_dir / "targets"), network)
    name, style = next(iter(styles().items()))
    return Subject(evaluator, style, weights, hardware.precision, name)


def factory(data_dir: Path, memory_limit: int | None = None) -> VggEngineFactory:
    """What builds the engine of the service, as the server would, knowing no targets beforehand."""
    return VggEngineFactory("auto", weights_choice(), "auto", data_dir / "cache", data_dir, memory_limit)


def vgg19() -> Weights:
    """VGG19's weights: those beside the checkout, else the download, else random filters, by their label."""
    return acquire(weights_choice(), user_cache_path("styleserve"))


def weights_choice() -> str:
    """The weights' file beside the checkout, else the download in the user's cache, else `untrained`."""
    if SHARED_WEIGHTS.exists():
        return str(SHARED_WEIGHTS)
    try:
        return str(fetch(IMAGENET, user_cache_path("styleserve")))
    except DownloadError as error:
        logger.warning("%s", error)
        return "untrained"


def photograph(side: int) -> Pixels:
    """The astronaut of scikit-image, `side` x `side` pixels."""
    from skimage import data

    return images.resize(data.astronaut().astype("float32") / 255, side, side)


def photographs() -> dict[str, Pixels]:
    """Four photographs of scikit-image by name, as large as they come."""
    from skimage import data

    return {
        name: getattr(data, name)().astype("float32") / 255 for name in ("astronaut", "chelsea", "coffee", "rocket")
    }


def styles() -> dict[str, StyleImage]:
    """Four paintings by name where they lie beside the checkout, else four drawn styles of the project."""
    paths = PAINTINGS if all(path.exists() for path in PAINTINGS.values()) else DRAWN_STYLES
    return {name: read_style(path) for name, path in paths.items()}


def read_style(path: Path) -> StyleImage:
    """A style image of a file."""
    data = path.read_bytes()
    return StyleImage(hashlib.sha256(data).hexdigest(), data)
