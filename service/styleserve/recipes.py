"""Recipes: every choice that makes a picture, and the scales that it passes through; the presets are next door."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from styleserve.images import MAX_SIDE, MIN_SIDE

OptimizerName: TypeAlias = Literal["adam", "lbfgs", "lbfgsb"]
CanvasInit: TypeAlias = Literal["content", "noise"]
ColorMode: TypeAlias = Literal["style", "content_luminance", "content_matched"]
FeatureDistance: TypeAlias = Literal["mean_square", "sum_square", "normalized", "relative"]

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
CANVAS_INITS: tuple[CanvasInit, ...] = get_args(CanvasInit)
COLOR_MODES: tuple[ColorMode, ...] = get_args(ColorMode)

MAX_ITERATIONS = 10_000
#: How far strength 1 lets the content's features move. The published schedule of the Gram form (1000 and then 500
#: iterations a scale of averaged Adam) ends near 1.3 for every pair tried; half of this keeps more of the content.
FARTHEST_CONTENT = 1.97


@dataclass(frozen=True, slots=True)
class LossDesign:
    """The form of the loss, which a preset fixes and nobody else changes; the weights of its terms are in `Recipe`.

    `distance` compares features and Grams:

    - `mean_square`: mean((F - P)^2) and mean((G/M - A/M)^2), M = H_l W_l positions.
    - `sum_square`: 1/2 sum (F - P)^2 and 1/(4 N^2 M^2) sum (G - A)^2, N = C_l filters (Gatys et al. 2016, eq. 1 and 4).
    - `normalized`: sum d^2 / (sum |d| + 1e-8) with d = F - P and d = G/M - A/M, whose gradient has an L1 norm near 1;
      no preset's, but that of the published schedule, which the benchmarks hold the presets against.
    - `relative`: |F - P| / |P| and |G - A| / |A|, Frobenius norms: a share, which means the same in every layer.

    Layers are pairs of a name and a weight. `rescaled` divides each layer's activations by their mean over natural
    images. `mean_total_variation` takes the mean over neighbours, which means the same at every size, in the place
    of the sum. `replicate_edges` pads the first convolution with the edge's own pixels in the place of zeros.

    With `bounds_content` the content's distance D costs nothing up to a bound b, and beyond it (D / b - 1)^2: the
    picture is the nearest to the style among those that keep so much of the content. The bound is the recipe's
    `content_bound`. Style is compared at `style_sizes` sizes, the canvas's own and each half of the one before, so that
    large shapes count too.
    """

    distance: FeatureDistance
    content_layers: tuple[tuple[str, float], ...]
    style_layers: tuple[tuple[str, float], ...]
    rescaled: bool
    mean_total_variation: bool
    replicate_edges: bool
    bounds_content: bool = False
    style_sizes: int = 1

    @property
    def shrinks(self) -> tuple[int, ...]:
        """What the canvas's sides are divided by where style is compared: 1, 2, 4, ..."""
        return tuple(2**halvings for halvings in range(self.style_sizes))

    @property
    def seen_pixels(self) -> float:
        """How many pixels the network sees for each of the canvas, at all sizes together."""
        return sum(1 / shrink**2 for shrink in self.shrinks)


#: Longest side at which the content's features are measured for a bound, so that it means the same at every size.
CALIBRATED_SIDE = 256


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
    """Scales growing by `growth` from `smallest_side` to the end, which gets `last_share` of the iterations.

    The others share the rest equally: most of a picture is found where an iteration costs little. A canvas that grows
    gets the content's detail at its new size, if `adds_detail`.
    """

    smallest_side: int
    growth: float
    last_share: float
    adds_detail: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete recipe: with the images and the network it determines the picture.

    `content_bound` is the leeway as a share of the norm of the content's features: the evaluator's calibration sets it.
    """

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
    content_bound: float = 1.0

    @property
    def content_leeway(self) -> float:
        """How far the content's features may move before it costs: root mean square, in mean activations of a layer."""
        return FARTHEST_CONTENT * (self.strength or 0.0)

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
    last = max(1, round(recipe.iterations * recipe.pyramid.last_share)) if len(sides) > 1 else recipe.iterations
    last = min(last, recipe.iterations - (len(sides) - 1))
    earlier = _split(recipe.iterations - last, len(sides) - 1)
    return tuple(
        Scale(round(height * side / longest), round(width * side / longest), iterations)
        for side, iterations in zip(sides, [*earlier, last], strict=True)
    )


def style_side(wanted: float) -> int:
    """The longest side at which a style image is seen, in whole pixels, where `wanted` pixels would be its scale."""
    return round(min(max(wanted, MIN_SIDE), MAX_SIDE))


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
