"""Recipes: every choice that makes a picture, the named presets, and how preset, style and request combine.

The same code validates the recipe of a request and that of a style's YAML file. A preset is a complete recipe;
whatever a style or a request leaves unset comes from it: recipe = preset < style < request.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from styleserve.errors import Violation, nearest

OptimizerName: TypeAlias = Literal["adam", "lbfgsb"]
CanvasInit: TypeAlias = Literal["content", "noise"]
ColorMode: TypeAlias = Literal["style", "content_luminance", "content_matched"]
FeatureDistance: TypeAlias = Literal["mean_square", "sum_square", "normalized"]

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
CANVAS_INITS: tuple[CanvasInit, ...] = get_args(CanvasInit)
COLOR_MODES: tuple[ColorMode, ...] = get_args(ColorMode)

DEFAULT_PRESET = "standard"
MAX_ITERATIONS = 10_000
MAX_WEIGHT = 1e9
MAX_SEED = 2**63 - 1
#: Sides below this many pixels have no positions left at the network's deepest layer.
MIN_SIDE = 16


@dataclass(frozen=True, slots=True)
class LossDesign:
    """The form of the loss, which a preset fixes and nobody else changes; the weights of its terms are in `Recipe`.

    `distance` compares features and Grams:

    - `mean_square`: mean((F - P)^2) and mean((G/M - A/M)^2), M = H_l W_l positions.
    - `sum_square`: 1/2 sum (F - P)^2 and 1/(4 N^2 M^2) sum (G - A)^2, N = C_l filters (Gatys et al. 2016, eq. 1 and 4).
    - `normalized`: sum d^2 / (sum |d| + 1e-8) with d = F - P and d = G/M - A/M, whose gradient has an L1 norm near 1.

    Layers are pairs of a name and a weight. `rescaled` divides each layer's activations by their mean over natural
    images. `mean_total_variation` takes the mean over neighbours, which means the same at every size, in the place
    of the sum. `replicate_edges` pads the first convolution with the edge's own pixels in the place of zeros.
    """

    distance: FeatureDistance
    content_layers: tuple[tuple[str, float], ...]
    style_layers: tuple[tuple[str, float], ...]
    rescaled: bool
    mean_total_variation: bool
    replicate_edges: bool


@dataclass(frozen=True, slots=True)
class AdamSettings:
    """Step size and decays of Adam; `average_decay` is that of the iterates' average, 0 for no averaging."""

    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float
    average_decay: float


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Scales growing by `growth` from `smallest_side` to the end; the smallest gets `first_share` of the iterations."""

    smallest_side: int
    growth: float
    first_share: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete recipe: with the images and the network it determines the picture."""

    preset: str
    optimizer: OptimizerName
    iterations: int
    content_weight: float
    style_weight: float
    total_variation_weight: float
    init: CanvasInit
    color: ColorMode
    seed: int
    strength: float | None
    loss: LossDesign
    adam: AdamSettings
    pyramid: Pyramid | None

    @property
    def needs_float32(self) -> bool:
        """Whether the network must compute in float32: the rounding of less upsets a line search."""
        return self.optimizer == "lbfgsb"

    def to_json(self) -> str:
        """The recipe as JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChanges:
    """What a style or a request sets of a recipe; None leaves it as it is."""

    preset: str | None = None
    optimizer: str | None = None
    iterations: int | None = None
    content_weight: float | None = None
    style_weight: float | None = None
    total_variation_weight: float | None = None
    init: str | None = None
    color: str | None = None
    seed: int | None = None
    strength: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """One stage of the pyramid: the canvas's height and width in pixels, and how many iterations it gets."""

    height: int
    width: int
    iterations: int


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
    style_weight=3e7,
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
    optimizer="adam",
    iterations=300,
    content_weight=0.015,
    style_weight=1.0,
    total_variation_weight=2.0,
    init="content",
    color="style",
    seed=0,
    strength=None,
    loss=LossDesign(
        distance="normalized",
        content_layers=(("block4_conv2", 1.0),),
        style_layers=tuple((name, 4.0**rank / 341) for name, rank in zip(_STYLE_LAYERS, range(4, -1, -1), strict=True)),
        rescaled=True,
        mean_total_variation=True,
        replicate_edges=True,
    ),
    adam=AdamSettings(learning_rate=0.02, beta_1=0.9, beta_2=0.99, epsilon=1e-8, average_decay=0.9),
    pyramid=Pyramid(smallest_side=128, growth=math.sqrt(2), first_share=0.5),
)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.preset: recipe
        for recipe in (
            _CLASSIC,
            _PAPER,
            dataclasses.replace(_STANDARD, preset="draft", iterations=100),
            _STANDARD,
            dataclasses.replace(_STANDARD, preset="fine", iterations=1000),
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
        *_check_range(f"{field}.iterations", changes.iterations, 0, max_iterations),
        *_check_range(f"{field}.seed", changes.seed, 0, MAX_SEED),
        *_check_range(f"{field}.strength", changes.strength, 0, 1),
        *_check_range(f"{field}.weights.content", changes.content_weight, 0, MAX_WEIGHT),
        *_check_range(f"{field}.weights.style", changes.style_weight, 0, MAX_WEIGHT),
        *_check_range(f"{field}.weights.total_variation", changes.total_variation_weight, 0, MAX_WEIGHT),
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


def resolve(style: RecipeChanges, request: RecipeChanges) -> Recipe:
    """Combine preset < style < request, all checked before.

    A `strength` s in (0, 1] sets the balance on top of the preset: the content's weight is multiplied by (1 - s) / s,
    so that 1/2 is the preset's own balance and 1 leaves the style alone. A `strength` of 0 is the content itself.
    """
    recipe = PRESETS[request.preset or style.preset or DEFAULT_PRESET]
    if request.strength is not None:
        style = dataclasses.replace(style, content_weight=None, style_weight=None)
    elif request.content_weight is not None or request.style_weight is not None:
        style = dataclasses.replace(style, strength=None)
    for changes in (style, request):
        values = {name: getattr(changes, name) for name in RecipeChanges.__slots__ if name != "preset"}
        recipe = dataclasses.replace(recipe, **{name: value for name, value in values.items() if value is not None})
    if recipe.strength:
        balance = (1 - recipe.strength) / recipe.strength
        recipe = dataclasses.replace(recipe, content_weight=recipe.content_weight * balance)
    if recipe.strength == 0:
        recipe = dataclasses.replace(recipe, iterations=0, init="content", pyramid=None)
    return recipe


def plan_scales(recipe: Recipe, height: int, width: int) -> tuple[Scale, ...]:
    """The stages from the smallest canvas to `height` x `width`; their iterations sum to the recipe's.

    Without a pyramid, or when there is nothing to iterate, the end is the only stage. Scales whose share would be no
    iteration at all, or whose shorter side would be below `MIN_SIDE`, are left out.
    """
    if recipe.pyramid is None or recipe.iterations == 0:
        return (Scale(height, width, recipe.iterations),)
    longest, shortest = max(height, width), min(height, width)
    sides = [side for side in _pyramid_sides(recipe.pyramid, longest) if side * shortest >= MIN_SIDE * longest]
    sides = (sides or [longest])[-recipe.iterations :]
    first = max(1, round(recipe.iterations * recipe.pyramid.first_share)) if len(sides) > 1 else recipe.iterations
    first = min(first, recipe.iterations - (len(sides) - 1))
    rest = _split(recipe.iterations - first, len(sides) - 1)
    return tuple(
        Scale(round(height * side / longest), round(width * side / longest), iterations)
        for side, iterations in zip(sides, [first, *rest], strict=True)
    )


def _pyramid_sides(pyramid: Pyramid, end: int) -> list[int]:
    """Longest sides from the smallest to `end`, ascending: smallest_side * growth^k below the end, then the end."""
    sides: list[int] = []
    side = float(pyramid.smallest_side)
    while round(side) < end:
        sides.append(round(side))
        side *= pyramid.growth
    if sides and end < sides[-1] * math.sqrt(pyramid.growth):
        sides.pop()
    return [*sides, end]


def _split(total: int, parts: int) -> list[int]:
    """Integers as equal as can be, larger ones last, that sum to `total`."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


def _check_choice(field: str, value: str | None, allowed: Sequence[str]) -> list[Violation]:
    if value is None or value in allowed:
        return []
    hint = f"; did you mean {near[0]!r}?" if (near := nearest(value, allowed)) else ""
    return [Violation(field, f"got {value!r}; allowed: {', '.join(allowed)}{hint}", "UNKNOWN_VALUE")]


def _check_range(field: str, value: float | None, low: float, high: float) -> list[Violation]:
    if value is None or low <= value <= high:
        return []
    return [Violation(field, f"got {value}; allowed: {low:g} to {high:g}", "OUT_OF_RANGE")]
