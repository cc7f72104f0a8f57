"""Tiles against the whole canvas: losses and gradients agree for every size, tile and design."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from styleserve import processor
from styleserve.costs import TILE_SIDES
from styleserve.model import looks, tiling
from styleserve.model.looks import Look
from styleserve.model.targets import TargetStore
from styleserve.model.tiling import Box
from styleserve.model.vgg import taps_of
from styleserve.model.weights import BLOCKS
from styleserve.optimizers.adam import Adam
from styleserve.presets import PRESETS
from support.network import NARROW, judge, make_evaluator, see, smooth, style

#: The odd ones are multiples of nothing.
SIZES = [(160, 200), (257, 131), (97, 331)]
#: Without oneDNN rounding depends on a canvas's shape, so that a ReLU or maximum near a tie may fall to the other side.
GRADIENT_ERROR = 1e-4 if processor.has_onednn() else 1e-3


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    """One with few filters: how far its layers look is VGG19's own."""
    return make_evaluator(TargetStore(tmp_path_factory.mktemp("targets")), NARROW)


@pytest.mark.parametrize("preset", ["classic", "paper", "standard"])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tile_side", [64, min(TILE_SIDES)])
def test_tiles_judge_as_the_whole_canvas_does(evaluator, preset, height, width, tile_side):
    judge_both_ways(evaluator, preset, height, width, tile_side)


def test_tiles_of_vgg19_judge_as_the_whole_canvas_does(tmp_path):
    judge_both_ways(make_evaluator(TargetStore(tmp_path)), "standard", 97, 131, 64)


def judge_both_ways(evaluator, preset, height, width, tile_side):
    recipe = dataclasses.replace(PRESETS[preset], optimizer="lbfgsb")
    content, canvas = smooth(1, height, width), smooth(3, height, width)
    whole, tiled = (evaluator.objective(content, [style(2)], recipe, side) for side in (None, tile_side))
    expected, computed = (judge(evaluator, canvas, objective) for objective in (whole, tiled))
    for term in ("total", "content", "style", "total_variation"):
        assert getattr(computed.losses, term) == pytest.approx(getattr(expected.losses, term), rel=1e-4), term
    difference = np.linalg.norm(computed.gradient - expected.gradient)
    assert difference <= GRADIENT_ERROR * np.linalg.norm(expected.gradient)


def test_a_step_of_adam_in_tiles_is_that_of_the_whole_canvas(evaluator):
    recipe = PRESETS["standard"]
    adam = Adam(evaluator)
    content, canvas = smooth(1, 157, 211), smooth(3, 157, 211)
    results, losses = [], []
    for tile_side in (None, 128):
        run = adam.start(canvas, evaluator.objective(content, [style(2)], recipe, tile_side), recipe, 1)
        while run.ended is None:
            adam.step([run])
        results.append(run.result())
        losses.append(run.losses.total)
    whole_move, tiled_move = (result - canvas for result in results)
    # Adam divides by the gradient's own size, so rounding shows where that is all but zero.
    assert np.linalg.norm(tiled_move - whole_move) <= 1e-2 * np.linalg.norm(whole_move)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_narrower_halo_would_not_do(evaluator, monkeypatch):
    recipe = dataclasses.replace(PRESETS["standard"], optimizer="lbfgsb")
    content, canvas = smooth(1, 160, 200), smooth(3, 160, 200)
    whole = evaluator.objective(content, [style(2)], recipe)
    monkeypatch.setattr(tiling, "halo", lambda taps: 32)
    tiled = evaluator.objective(content, [style(2)], recipe, 64)
    expected, computed = (judge(evaluator, canvas, objective) for objective in (whole, tiled))
    difference = np.linalg.norm(computed.gradient - expected.gradient)
    assert difference > 1e-3 * np.linalg.norm(expected.gradient)


def test_a_style_in_tiles_has_the_gram_matrices_of_the_whole(evaluator):
    judge = evaluator._judge(evaluator._form(PRESETS["standard"], 257, 331))
    image = smooth(2, 257, 331)[np.newaxis]
    whole, tiled = (Look(partial(looks.gram_matrices, judge, image, side)).finish() for side in (512, 64))
    for computed, expected in zip(tiled, whole, strict=True):
        assert np.linalg.norm(computed - expected) <= 1e-5 * np.linalg.norm(expected)


def test_the_radius_is_how_far_a_change_of_one_pixel_is_seen(evaluator):
    radius = taps_of(BLOCKS)["block3_conv1"].radius
    image = np.zeros((96, 96, 3), np.float32)
    changed = image.copy()
    changed[48, 48] = 1.0
    network = evaluator._networks["float32"]
    before, after = (see(network, x, ["block3_conv1"], False)["block3_conv1"] for x in (image, changed))
    rows = np.flatnonzero(np.abs(after - before).max(axis=(0, 2, 3)) > 0)
    assert [rows.min(), rows.max()] == [-(-(48 - 3 - radius) // 4), (48 + radius) // 4]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_cores_cover_every_pixel_once(height, width):
    covered = np.zeros((height, width), int)
    for core in tiling.cores(height, width, 64):
        covered[core.top : core.bottom, core.left : core.right] += 1
    assert (covered == 1).all()


def test_a_box_is_found_again_within_its_tile():
    core = Box(48, 96, 96, 131)
    tile = core.widened(80, 257, 131)
    assert (tile.top, tile.left, tile.bottom, tile.right) == (0, 16, 176, 131)
    assert core.within(tile) == Box(48, 80, 96, 115)
