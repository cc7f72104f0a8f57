"""What the benchmarks paint with: a photograph, a style, and the real weights where they are at hand."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from styleserve import images
from styleserve.evaluation import Pixels, StyleImage
from styleserve.model import device
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.weights import Weights, acquire
from styleserve.workers.vgg_engine import PrecisionChoice

ROOT = Path(__file__).resolve().parents[1]
#: Optional, beside the checkout: weights and paintings for tests and benchmarks.
SHARED = ROOT.parent / "shared"
SHARED_WEIGHTS = SHARED / "weights" / "vgg19_imagenet_notop.h5"
PAINTING = SHARED / "images" / "styles" / "starry_night_vangogh1889_full.jpg"
DRAWN_STYLE = ROOT / "styles" / "mosaic.jpg"


@dataclass(frozen=True, slots=True)
class Subject:
    """The evaluator and the style of a benchmark, and what they are called in its results."""

    evaluator: PerceptualEvaluator
    style: StyleImage
    weights: str
    precision: str
    style_name: str


def subject(precision: PrecisionChoice, data_dir: Path) -> Subject:
    """Set the device up and load the weights: those beside the checkout, else whatever `auto` finds."""
    logging.basicConfig(level=logging.WARNING)
    weights: Weights = acquire(
        str(SHARED_WEIGHTS) if SHARED_WEIGHTS.exists() else "auto", user_cache_path("styleserve")
    )
    hardware = device.configure(precision)
    evaluator = PerceptualEvaluator(weights, hardware.network_precision, TargetStore(data_dir / "targets"))
    path = PAINTING if PAINTING.exists() else DRAWN_STYLE
    data = path.read_bytes()
    style = StyleImage(hashlib.sha256(data).hexdigest(), data)
    return Subject(evaluator, style, weights.label, hardware.precision, path.stem)


def photograph(side: int) -> Pixels:
    """The astronaut of scikit-image, `side` x `side` pixels."""
    from skimage import data

    return images.resize(data.astronaut().astype("float32") / 255, side, side)
