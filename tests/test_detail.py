"""A canvas grows with the detail that its content has and that it could not have."""

import dataclasses

import numpy as np
import pytest

from styleserve import detail, images
from styleserve.presets import PRESETS, resolve
from styleserve.recipes import RecipeChanges

RECIPE = PRESETS["standard"]
PLAIN = dataclasses.replace(RECIPE, pyramid=dataclasses.replace(RECIPE.pyramid, adds_detail=False))
TEXTURE = resolve(RecipeChanges(), RecipeChanges(strength=1.0, init="noise"))
CONTENT = 0.25 + 0.5 * images.noise(48, 36, seed=3)


def test_a_canvas_that_is_the_content_grows_into_the_content():
    grown = detail.grow(images.resize(CONTENT, 24, 18), CONTENT, RECIPE)
    np.testing.assert_allclose(grown, CONTENT, atol=1e-6)


def test_what_the_canvas_differs_by_is_enlarged_and_added_to_the_content():
    canvas = images.resize(CONTENT, 24, 18)
    painted = canvas + np.float32(0.1) * np.linspace(-1, 1, 24, dtype=np.float32)[:, None, None]
    expected = CONTENT + images.resize(painted, 48, 36) - images.resize(canvas, 48, 36)
    np.testing.assert_allclose(detail.grow(painted, CONTENT, RECIPE), expected, atol=1e-6)
    assert np.abs(detail.grow(painted, CONTENT, RECIPE) - images.resize(painted, 48, 36)).mean() > 0.05


def test_it_stays_an_image():
    grown = detail.grow(np.ones((24, 18, 3), np.float32), CONTENT, RECIPE)
    assert (grown.min() >= 0, grown.max()) == (True, 1)


@pytest.mark.parametrize("recipe", [PLAIN, PRESETS["classic"], TEXTURE], ids=["not wanted", "no pyramid", "texture"])
def test_where_the_recipe_does_not_add_detail_it_is_enlarged_alone(recipe):
    canvas = images.noise(24, 18, seed=4)
    np.testing.assert_array_equal(detail.grow(canvas, CONTENT, recipe), images.resize(canvas, 48, 36))


def test_a_canvas_of_the_size_is_left_as_it_is():
    canvas = images.noise(48, 36, seed=4)
    assert detail.grow(canvas, CONTENT, RECIPE) is canvas
