"""A perceptual evaluator of untrained weights for tests, and where the real ones lie beside the checkout."""

import functools
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from styleserve import images, processor
from styleserve.evaluation import Evaluation, Objective, StyleImage
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.model.weights import BLOCKS, Blocks, Weights, untrained

SIDE = 48
#: VGG19's layers with few filters: for whatever is not about the network itself, which takes seconds at its full width.
NARROW: Blocks = tuple((depth, 8) for depth, _ in BLOCKS)
REAL_WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg19_imagenet_notop.h5"

needs_onednn = pytest.mark.skipif(
    not processor.has_onednn(), reason="without oneDNN TensorFlow may round otherwise while the machine is busy"
)
needs_weights = pytest.mark.skipif(
    not REAL_WEIGHTS.exists(), reason="the real VGG19 weights are not in ../shared/weights beside the checkout"
)


@functools.cache
def random_filters(seed: int = 0, blocks: Blocks = BLOCKS) -> Weights:
    """Untrained weights, which all tests of a process share."""
    return untrained(seed, blocks)


def make_evaluator(
    store: TargetStore, blocks: Blocks = BLOCKS, precision: Literal["float32", "bfloat16"] = "float32", seed: int = 0
) -> PerceptualEvaluator:
    """An evaluator with targets in `store`."""
    return PerceptualEvaluator(random_filters(seed, blocks), precision, store)


def smooth(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """An image with shapes of several sizes."""
    random = np.random.default_rng(seed)
    layers = [images.resize(random.random((n, n, 3)).astype(np.float32), height, width) for n in (3, 9, 27)]
    return (0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).astype(np.float32)


def judge(evaluator: PerceptualEvaluator, canvas: np.ndarray, objective: Objective) -> Evaluation:
    """The judgement of a canvas, however many pieces it takes."""
    while True:
        (evaluation,) = evaluator.evaluate([canvas], [objective])
        if evaluation is not None:
            return evaluation


def style(seed: int, weight: float = 1.0, is_catalogued: bool = False) -> StyleImage:
    """A style image of such shapes."""
    data = images.encode(images.Picture(smooth(seed, 64, 64), None), "png").data
    return StyleImage(hashlib.sha256(data).hexdigest(), data, weight=weight, is_catalogued=is_catalogued)


def see(network, image, names, replicate_edges):
    """Features of one image, [H, W, 3], by name."""
    traced = tf.function(lambda images: network.features(images, names, replicate_edges), autograph=False)
    return traced(tf.constant(image[np.newaxis]))
