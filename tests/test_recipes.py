"""Presets, their combination with styles and requests, and the plan of scales."""

import json

import pytest

from styleserve.presets import MAX_WEIGHT, PRESETS, check, resolve
from styleserve.recipes import FARTHEST_CONTENT, RecipeChanges, plan_scales


def test_a_request_overrides_a_style_which_overrides_the_preset():
    style = RecipeChanges(preset="classic", iterations=40, content_weight=7.0, seed=5)
    recipe = resolve(style, RecipeChanges(iterations=10))
    assert (recipe.preset, recipe.iterations, recipe.content_weight, recipe.seed) == ("classic", 10, 7.0, 5)
    assert recipe.style_weight == PRESETS["classic"].style_weight


def test_an_empty_request_gets_the_standard_preset():
    assert resolve(RecipeChanges(), RecipeChanges()) == PRESETS["standard"]


def test_what_preset_and_style_bring_is_cut_to_the_most_iterations():
    for style in (RecipeChanges(), RecipeChanges(iterations=40), RecipeChanges(preset="classic")):
        assert resolve(style, RecipeChanges(), max_iterations=30).iterations == 30
    assert resolve(RecipeChanges(iterations=20), RecipeChanges(), max_iterations=30).iterations == 20


def test_zero_is_a_value_and_not_unset():
    recipe = resolve(RecipeChanges(iterations=40, seed=5), RecipeChanges(iterations=0, seed=0))
    assert (recipe.iterations, recipe.seed) == (0, 0)


def test_where_a_preset_has_weights_more_strength_means_less_content_and_one_half_the_presets_own():
    recipes = [resolve(RecipeChanges(preset="classic"), RecipeChanges(strength=s)) for s in (0.25, 0.5, 0.75, 1.0)]
    weights = [recipe.content_weight for recipe in recipes]
    assert weights[1] == pytest.approx(PRESETS["classic"].content_weight)
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == 0


def test_where_a_preset_bounds_the_content_strength_is_how_far_it_may_move():
    recipes = [resolve(RecipeChanges(), RecipeChanges(strength=s)) for s in (0.25, 0.5, 0.75)]
    leeways = [recipe.content_leeway for recipe in recipes]
    assert leeways == pytest.approx([FARTHEST_CONTENT / 4, FARTHEST_CONTENT / 2, FARTHEST_CONTENT * 3 / 4])
    assert {recipe.content_weight for recipe in recipes} == {PRESETS["standard"].content_weight}
    assert PRESETS["standard"].content_leeway == leeways[1]


def test_the_least_strength_weighs_the_content_no_more_than_a_request_may():
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="classic", strength=1e-300))
    assert recipe.content_weight == MAX_WEIGHT


def test_full_strength_leaves_the_content_alone():
    assert resolve(RecipeChanges(), RecipeChanges(strength=1.0)).content_weight == 0


def test_no_strength_at_all_is_the_content_itself():
    recipe = resolve(RecipeChanges(init="noise"), RecipeChanges(strength=0.0))
    assert (recipe.iterations, recipe.init) == (0, "content")
    assert len(plan_scales(recipe, 300, 300)) == 1


def test_the_requests_kind_of_balance_replaces_the_styles():
    by_strength = resolve(RecipeChanges(content_weight=9.0), RecipeChanges(strength=0.5))
    assert by_strength.content_weight == pytest.approx(PRESETS["standard"].content_weight)
    by_weight = resolve(RecipeChanges(strength=0.9), RecipeChanges(content_weight=9.0))
    assert (by_weight.content_weight, by_weight.strength) == (9.0, PRESETS["standard"].strength)


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        (RecipeChanges(seed=-1), "got -1; allowed: 0 to 9223372036854775807"),
        (RecipeChanges(iterations=2_000_001), "got 2000001; allowed: 0 to 2000000"),
        (RecipeChanges(content_weight=2e9), "got 2000000000; allowed: 0 to 1000000000"),
        (RecipeChanges(strength=1.5), "got 1.5; allowed: 0 to 1"),
    ],
)
def test_numbers_are_told_with_all_of_their_digits(changes, description):
    (violation,) = check(changes, max_iterations=2_000_000)
    assert violation.description == description


def test_all_violations_come_at_once_and_say_what_is_allowed():
    nan = float("nan")
    changes = RecipeChanges(preset="clasic", iterations=10_000_000, style_weight=-1.0, content_weight=nan, strength=2.0)
    violations = check(changes)
    assert {violation.field for violation in violations} == {
        "recipe.preset",
        "recipe.iterations",
        "recipe.weights.style",
        "recipe.weights.content",
        "recipe.strength",
    }
    by_field = {violation.field: violation.description for violation in violations}
    assert "did you mean 'classic'" in by_field["recipe.preset"]
    assert "0 to 10000" in by_field["recipe.iterations"]


def test_a_recipe_as_json_has_sorted_keys_and_every_choice():
    recipe = json.loads(PRESETS["standard"].to_json())
    assert list(recipe) == sorted(recipe)
    assert recipe["loss"]["distance"] == "relative"


@pytest.mark.parametrize("size", [(256, 256), (170, 256), (512, 300), (100, 100), (1000, 17), (129, 129)])
@pytest.mark.parametrize("iterations", [1, 2, 7, 300])
def test_scales_grow_to_the_canvas_and_share_out_every_iteration(size, iterations):
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=iterations))
    scales = plan_scales(recipe, *size)
    assert (scales[-1].height, scales[-1].width) == size
    assert sum(scale.iterations for scale in scales) == iterations
    assert all(scale.iterations > 0 for scale in scales)
    sides = [max(scale.height, scale.width) for scale in scales]
    assert sides == sorted(sides)
    assert all(min(scale.height, scale.width) >= 16 for scale in scales)


def test_half_of_the_iterations_are_spent_where_they_cost_little():
    scales = plan_scales(PRESETS["standard"], 256, 256)
    assert [scale.width for scale in scales] == [64, 128, 256]
    assert [scale.iterations for scale in scales] == [37, 38, 75]


def test_a_scale_close_to_the_end_is_left_out():
    assert [scale.width for scale in plan_scales(PRESETS["standard"], 300, 300)] == [64, 128, 300]


def test_presets_without_a_pyramid_have_one_scale():
    assert len(plan_scales(PRESETS["classic"], 512, 512)) == 1
