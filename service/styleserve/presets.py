"""Presets: the named recipes, and how preset, style and request combine into one.

The same code validates the recipe of a request and that of a style's YAML file. A preset is a complete recipe;
whatever a style or a request leaves unset comes from it: recipe = preset < style < request.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from styleserve.errors import Violation
from styleserve.hints import nearest
from styleserve.recipes import (
    CANVAS_INITS,
    COLOR_MODES,
    MAX_ITERATIONS,
    OPTIMIZERS,
    AdamSettings,
    LossDesign,
    Pyramid,
    Recipe,
    RecipeChanges,
)

DEFAULT_PRESET = "standard"
MAX_WEIGHT = 1e9
MAX_SEED = 2**63 - 1

_STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))

_CLASSIC = Recipe(
    preset="classic",
    optimizer="adam",
    iterations=500,
    content_weight=1000.0,
    style_weight=0.1,
    total_variation_weight=30.0,
    init="content",
    color="style",
    seed=0,
    strength=None,
    loss=LossDesign(
        distance="mean_square",
        content_layers=(("block5_conv2", 1.0),),
        style_layers=tuple((name, 1 / 5) for name in _STYLE_LAYERS),
        rescaled=False,
        mean_total_variation=False,
        replicate_edges=False,
    ),
    adam=AdamSettings(learning_rate=0.02, beta_1=0.99, beta_2=0.999, epsilon=0.1, average_decay=0.0),
    pyramid=None,
)

_PAPER = dataclasses.replace(
    _CLASSIC,
    preset="paper",
    optimizer="lbfgsb",
    iterations=300,
    content_weight=1.0,
    style_weight=2e8,
    total_variation_weight=0.0,
    loss=LossDesign(
        distance="sum_square",
        content_layers=(("block4_conv2", 1.0),),
        style_layers=tuple((name, 1 / 5) for name in _STYLE_LAYERS),
        rescaled=True,
        mean_total_variation=False,
        replicate_edges=False,
    ),
)

_STANDARD = Recipe(
    preset="standard",
    optimizer="lbfgs",
    iterations=150,
    content_weight=1.5,
    style_weight=1.0,
    total_variation_weight=5.0,
    init="content",
    color="style",
    seed=0,
    strength=0.5,
    loss=LossDesign(
        distance="relative",
        content_layers=(("block4_conv2", 1.0),),
        style_layers=tuple((name, 1 / 5) for name in _STYLE_LAYERS),
        rescaled=True,
        mean_total_variation=True,
        replicate_edges=True,
        bounds_content=True,
        style_sizes=2,
    ),
    adam=AdamSettings(learning_rate=0.05, beta_1=0.9, beta_2=0.99, epsilon=1e-8, average_decay=0.9),
    pyramid=Pyramid(smallest_side=64, growth=2.0, last_share=0.5, adds_detail=True),
)


def _spend(recipe: Recipe, preset: str, iterations: int, last_share: float) -> Recipe:
    """The same recipe with another amount of work."""
    assert recipe.pyramid is not None
    pyramid = dataclasses.replace(recipe.pyramid, last_share=last_share)
    return dataclasses.replace(recipe, preset=preset, iterations=iterations, pyramid=pyramid)


PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.preset: recipe
        for recipe in (
            _CLASSIC,
            _PAPER,
            _spend(_STANDARD, "draft", iterations=61, last_share=0.3),
            _STANDARD,
            dataclasses.replace(
                _spend(_STANDARD, "fine", iterations=490, last_share=0.5),
                total_variation_weight=3.0,
            ),
        )
    }
)


def check(changes: RecipeChanges, field: str = "recipe", max_iterations: int = MAX_ITERATIONS) -> list[Violation]:
    """List everything wrong with `changes`; `field` is where they stand in the request or the file."""
    violations = [
        *_check_choice(f"{field}.preset", changes.preset, tuple(PRESETS)),
        *_check_choice(f"{field}.optimizer", changes.optimizer, OPTIMIZERS),
        *_check_choice(f"{field}.init", changes.init, CANVAS_INITS),
        *_check_choice(f"{field}.color", changes.color, COLOR_MODES),
        *check_range(f"{field}.iterations", changes.iterations, 0, max_iterations),
        *check_range(f"{field}.seed", changes.seed, 0, MAX_SEED),
        *check_range(f"{field}.strength", changes.strength, 0, 1),
        *check_range(f"{field}.weights.content", changes.content_weight, 0, MAX_WEIGHT),
        *check_range(f"{field}.weights.style", changes.style_weight, 0, MAX_WEIGHT),
        *check_range(f"{field}.weights.total_variation", changes.total_variation_weight, 0, MAX_WEIGHT),
    ]
    if changes.strength is not None and (changes.content_weight is not None or changes.style_weight is not None):
        violations.append(
            Violation(
                f"{field}.strength",
                "strength sets the balance of content and style, and so do weights.content and weights.style; set "
                "either strength or those weights",
                "CONFLICT",
            )
        )
    return violations


def check_range(field: str, value: float | None, low: float, high: float) -> list[Violation]:
    """What is wrong with a number that is to lie within a range, its ends included; nothing with one that is unset."""
    if value is None or low <= value <= high:
        return []
    got, least, most = (str(number).removesuffix(".0") for number in (value, low, high))
    return [Violation(field, f"got {got}; allowed: {least} to {most}", "OUT_OF_RANGE")]


def resolve(style: RecipeChanges, request: RecipeChanges, max_iterations: int = MAX_ITERATIONS) -> Recipe:
    """Combine preset < style < request, all checked before; what comes out has `max_iterations` at most.

    A `strength` of 0 is the content itself, 1 leaves the style alone. In between it is how far the content may move in
    presets that bound it; in the others it sets the balance: the content's weight is multiplied by (1 - s) / s, so that
    1/2 is the preset's own.
    """
    recipe = PRESETS[request.preset or style.preset or DEFAULT_PRESET]
    if request.strength is not None:
        style = dataclasses.replace(style, content_weight=None, style_weight=None)
    elif request.content_weight is not None or request.style_weight is not None:
        style = dataclasses.replace(style, strength=None)
    for changes in (style, request):
        values = {name: getattr(changes, name) for name in RecipeChanges.__slots__ if name != "preset"}
        recipe = dataclasses.replace(recipe, **{name: value for name, value in values.items() if value is not None})
    if recipe.strength == 1:
        recipe = dataclasses.replace(recipe, content_weight=0.0)
    elif recipe.strength and not recipe.loss.bounds_content:
        balance = (1 - recipe.strength) / recipe.strength
        content_weight = min(recipe.content_weight * balance, MAX_WEIGHT)
        recipe = dataclasses.replace(recipe, content_weight=content_weight)
    elif recipe.strength == 0:
        recipe = dataclasses.replace(recipe, iterations=0, init="content", pyramid=None)
    return dataclasses.replace(recipe, iterations=min(recipe.iterations, max_iterations))


def _check_choice(field: str, value: str | None, allowed: Sequence[str]) -> list[Violation]:
    if value is None or value in allowed:
        return []
    hint = f"; did you mean {near[0]!r}?" if (near := nearest(value, allowed)) else ""
    return [Violation(field, f"got {value!r}; allowed: {', '.join(allowed)}{hint}", "UNKNOWN_VALUE")]
