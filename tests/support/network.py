"""A perceptual evaluator for tests: untrained weights by default, the real ones where they lie beside the checkout."""

from pathlib import Path
from typing import Literal

import pytest

from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.weights import load_file, untrained

REAL_WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg19_imagenet_notop.h5"

needs_weights = pytest.mark.skipif(
    not REAL_WEIGHTS.exists(), reason="the real VGG19 weights are not in ../shared/weights beside the checkout"
)


def make_evaluator(
    store: TargetStore, weights: Path | None = None, precision: Literal["float32", "bfloat16"] = "float32"
) -> PerceptualEvaluator:
    """An evaluator with targets in `store`."""
    return PerceptualEvaluator(untrained() if weights is None else load_file(weights), precision, store)
