"""Whole judgements written again in NumPy, from the features that the network sees; and the numbers that they count."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from styleserve import images
from styleserve.images import MAX_SIDE
from styleserve.model.judge import num_values
from styleserve.model.targets import TargetStore
from styleserve.model.vgg import taps_of
from styleserve.model.weights import BLOCKS
from styleserve.presets import PRESETS
from support.network import NARROW, make_evaluator, see, smooth, style

#: That of the style's image too, which is then seen as it is.
SIZE = (64, 64)
#: What presets make of d = F - P and of d = G / M - A / M.
CONTENT = {"classic": lambda d: np.mean(d**2), "paper": lambda d: np.sum(d**2) / 2}
STYLE = {"classic": lambda d: np.mean(d**2), "paper": lambda d: np.mean(d**2) / 4}


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    return make_evaluator(TargetStore(tmp_path_factory.mktemp("targets")), NARROW)


@pytest.mark.parametrize("preset", ["classic", "paper"])
def test_every_term_is_its_equation_of_the_features_times_its_weight(evaluator, preset):
    recipe = dataclasses.replace(PRESETS[preset], optimizer="lbfgsb", total_variation_weight=7.0)
    canvas, content, painted = smooth(1, *SIZE), smooth(2, *SIZE), style(3)
    (evaluation,) = evaluator.evaluate([canvas], [evaluator.objective(content, [painted], recipe)])
    painting = images.decode(painted.data, images.ImageLimits()).pixels
    of_canvas, of_content, of_style = (features(evaluator, recipe.loss, image) for image in (canvas, content, painting))
    expected = [
        recipe.content_weight
        * sum(
            share * CONTENT[preset](of_canvas[name] - of_content[name]) for name, share in recipe.loss.content_layers
        ),
        recipe.style_weight
        * sum(
            share * STYLE[preset](gram(of_canvas[name]) - gram(of_style[name]))
            for name, share in recipe.loss.style_layers
        ),
        recipe.total_variation_weight * sum(np.abs(np.diff(np.float64(canvas), axis=axis)).sum() for axis in (0, 1)),
    ]
    losses = evaluation.losses
    assert [losses.content, losses.style, losses.total_variation] == pytest.approx(expected, rel=1e-4)
    assert losses.total == pytest.approx(sum(expected), rel=1e-4)


def features(evaluator, design, image):
    """F of each layer, [M, C], in mean activations where the design asks for that."""
    names = [name for name, _ in design.content_layers + design.style_layers]
    seen = see(evaluator._networks["float32"], image, names, design.replicate_edges)
    gains = evaluator._gains if design.rescaled else dict.fromkeys(names, 1.0)
    return {name: gains[name] * np.float64(flow).reshape(-1, flow.shape[-1]) for name, flow in seen.items()}


def gram(flow):
    """G / M."""
    return flow.T @ flow / len(flow)


@pytest.mark.parametrize("size", [(MAX_SIDE, MAX_SIDE), (MAX_SIDE - 1, MAX_SIDE - 3)])
def test_the_values_of_the_largest_canvas_are_counted_exactly(size):
    for tap in taps_of(BLOCKS).values():
        expected = (size[0] // tap.stride) * (size[1] // tap.stride) * tap.channels
        assert int(num_values(tf.constant(size), tap.stride, tap.channels)) == expected
