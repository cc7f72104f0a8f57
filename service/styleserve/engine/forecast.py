"""Forecast: what one job will take, scale by scale, and what of it fits its deadline; the model of costs knows.

Without a model nothing is judged in tiles, no plan is fitted, and seconds are in proportion to pixels: `Pace` learns by
how much that is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from styleserve import images
from styleserve.costs import CostModel, Estimate
from styleserve.engine import planning
from styleserve.engine.planning import Plan, Price
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Evaluator, PendingTargets
from styleserve.recipes import CALIBRATED_SIDE, Recipe, Scale, plan_scales

_UNKNOWN_S_PER_PIXEL = 1e-6


@dataclass(frozen=True, slots=True)
class Forecast:
    """Predictions for the job of a specification, in seconds of a machine that does nothing else.

    The evaluator is asked which targets it knows already: those take no time.
    """

    specification: JobSpecification
    evaluator: Evaluator
    costs: CostModel | None = None

    @property
    def scales(self) -> tuple[Scale, ...]:
        """What the recipe asks for."""
        return plan_scales(self.specification.recipe, *self.specification.content.shape[:2])

    def tile_side(self, scale: Scale) -> int | None:
        """Side of the tiles that the canvas of a scale has to be judged in; None when it fits the memory whole."""
        height, width = self.specification.content.shape[:2]
        return None if self.costs is None else self.costs.tile_side(self.specification.recipe, scale, height * width)

    def calibration_s(self) -> float:
        """The look at the content by which the recipe is calibrated."""
        height, width = self.specification.content.shape[:2]
        return calibration_s(self.specification.recipe, height, width, self.costs)

    def step_s(self, scale: Scale) -> float:
        """An evaluation at a scale, with the optimizer's move."""
        if self.costs is None:
            return _by_pixels(scale)
        return self.costs.evaluation_s(self.specification.recipe, scale, self.tile_side(scale))

    def first_s(self, scale: Scale) -> float:
        """What the first evaluation at a scale takes more."""
        if self.costs is None:
            return 0.0
        return self.costs.first_s(self.specification.recipe, scale, self.tile_side(scale))

    def estimate(self, scales: Sequence[Scale]) -> Estimate | None:
        """Memory and seconds of the whole job, if these are its scales and none of its targets is known."""
        if self.costs is None:
            return None
        height, width = self.specification.content.shape[:2]
        style_scales = [style.scale for style in self.specification.styles]
        return self.costs.estimate(self.specification.recipe, scales, height, width, style_scales)

    def plan(self, scales: Sequence[Scale], now: float, slowness: float, owed: int = 0) -> Plan:
        """What of the scales to do on a machine so much slower: all, unless a deadline asks for the best by then."""
        deadline = self.specification.deadline
        if deadline is None or self.specification.fails_at_deadline or self.costs is None:
            return planning.whole(scales)
        recipe, costs = self.specification.recipe, self.costs
        starts_s = [costs.start_s(recipe, scale, self.tile_side(scale), self._looks(scale)) for scale in scales]
        prices = [
            Price(slowness * start_s, slowness * self.step_s(scale))
            for start_s, scale in zip(starts_s, scales, strict=True)
        ]
        return planning.fit(scales, prices, deadline - now, owed)

    def _looks(self, scale: Scale) -> list[float]:
        """How many times the size of the canvas the styles are that have to be looked at."""
        recipe = self.specification.recipe
        return [
            style.scale
            for style in self.specification.styles
            if not self.evaluator.has_targets(style, recipe, scale.height, scale.width)
        ]


def calibration_s(recipe: Recipe, height: int, width: int, costs: CostModel | None) -> float:
    """Seconds of the look at a content by which a recipe is calibrated, at a small size whatever the result's."""
    if not recipe.loss.bounds_content:
        return 0.0
    seen = Scale(*images.fitted_size(height, width, CALIBRATED_SIDE), iterations=0)
    return _by_pixels(seen) if costs is None else costs.content_s(recipe, seen, tile_side=None)


def style_piece_s(pending: PendingTargets, costs: CostModel | None) -> float:
    """Seconds of the next piece of a style's targets; 0 where the network sees nothing in it."""
    num_pixels = pending.coming_pixels
    if num_pixels == 0 or costs is None:
        return _UNKNOWN_S_PER_PIXEL * num_pixels
    return costs.cost(pending.recipe).style_seconds.at(num_pixels)


def _by_pixels(scale: Scale) -> float:
    return _UNKNOWN_S_PER_PIXEL * scale.height * scale.width
