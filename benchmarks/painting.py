"""Painting outside the service: a recipe carried out step by step, timed, and looked at on the way.

`SCHEDULE` is the published recipe that the presets are held against: Crowson's pyramid in its Gram form, 1000
iterations of averaged Adam at 128 pixels and 500 at each scale after it, growing by the square root of two.
`SHORT_SCHEDULE` is the same with 150 and 80, `SHORTEST_SCHEDULE` with 60, then 30, then 20. Their scales are not a
recipe's pyramid, but `scales_of` knows them.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import subjects
from benchmarks.experiments import NOTHING, CarryingAdam, Experiment
from styleserve import detail, images
from styleserve.evaluation import Pixels, StyleImage
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.optimizers import AnyOptimizer, Run
from styleserve.optimizers.adam import AdamRun
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS
from styleserve.recipes import AdamSettings, LossDesign, Recipe, Scale, plan_scales

_SCHEDULE_SMALLEST = 128

SCHEDULE = dataclasses.replace(
    PRESETS["standard"],
    preset="schedule",
    optimizer="adam",
    iterations=1000,
    content_weight=0.015,
    total_variation_weight=2.0,
    strength=None,
    pyramid=None,
    loss=LossDesign(
        distance="normalized",
        content_layers=(("block4_conv2", 1.0),),
        style_layers=tuple((f"block{rank}_conv1", 4.0 ** (5 - rank) / 341) for rank in range(1, 6)),
        rescaled=True,
        mean_total_variation=True,
        replicate_edges=True,
    ),
    adam=AdamSettings(learning_rate=0.02, beta_1=0.9, beta_2=0.99, epsilon=1e-8, average_decay=0.99),
)
SHORT_SCHEDULE = dataclasses.replace(SCHEDULE, preset="short-schedule", iterations=150)
SHORTEST_SCHEDULE = dataclasses.replace(SCHEDULE, preset="shortest-schedule", iterations=60)
#: Iterations at the scales after the first, of the schedules, whose recipes have those of the first; the last repeats.
_NEXT_ITERATIONS = {SCHEDULE.preset: (500,), SHORT_SCHEDULE.preset: (80,), SHORTEST_SCHEDULE.preset: (30, 20)}


@dataclass(frozen=True, slots=True)
class Look:
    """A picture on its way: seconds of painting until it, evaluations, and those as megapixels judged."""

    seconds: float
    evaluations: int
    megapixels: float
    picture: Pixels


def scales_of(recipe: Recipe, height: int, width: int) -> tuple[Scale, ...]:
    """The recipe's scales; those of the published schedules by their own rule."""
    if recipe.preset not in _NEXT_ITERATIONS:
        return plan_scales(recipe, height, width)
    longest, later = max(height, width), _NEXT_ITERATIONS[recipe.preset]
    sides = [round(_SCHEDULE_SMALLEST * math.sqrt(2) ** step) for step in range(20)]
    sides = [*(side for side in sides if side < longest), longest]
    return tuple(
        Scale(
            round(height * side / longest),
            round(width * side / longest),
            later[min(rank, len(later)) - 1] if rank else recipe.iterations,
        )
        for rank, side in enumerate(sides)
    )


class Painter:
    """Paints with one evaluator and every optimizer; an experiment changes what recipes have no words for."""

    def __init__(self, evaluator: PerceptualEvaluator, experiment: Experiment = NOTHING) -> None:
        self._evaluator = evaluator
        self._optimizers = every_optimizer(evaluator)
        self._optimizers |= {"adam": experiment.adam(evaluator), "lbfgs": experiment.lbfgs(evaluator)}
        self._published = CarryingAdam(evaluator)
        self._coarse_loss = experiment.coarse_loss

    def paint(
        self, content: Pixels, style: StyleImage, recipe: Recipe, show: Callable[[Look], None], num_looks: int = 1
    ) -> None:
        """Carry the recipe out; `show` gets about `num_looks` pictures at the content's size, the last one the result.

        Making and showing them does not count as painting.
        """
        height, width = content.shape[:2]
        scales = scales_of(recipe, height, width)
        total = sum(scale.height * scale.width * (scale.iterations + 1) for scale in scales) / 1e6
        begun, seconds, evaluations, megapixels, shown = time.perf_counter(), 0.0, 0, 0.0, 0
        recipe, _ = self._evaluator.calibrate(content, recipe)
        optimizer = self._optimizer(recipe)
        run: Run | None = None
        for scale in scales:
            run = self._begin(run, content, style, self._at(scale is scales[-1], recipe), scale)
            while run.ended is None:
                optimizer.step([run])
                evaluations += 1
                megapixels += scale.height * scale.width / 1e6
                is_last = scale is scales[-1] and run.ended is not None
                if is_last or megapixels >= total * (shown + 1) / num_looks:
                    shown += 1
                    seconds += time.perf_counter() - begun
                    show(Look(seconds, evaluations, megapixels, detail.grow(run.result(), content, recipe)))
                    begun = time.perf_counter()

    def _optimizer(self, recipe: Recipe) -> AnyOptimizer:
        """The recipe's own; the published schedules carry moments from scale to scale."""
        return self._published if recipe.preset in _NEXT_ITERATIONS else self._optimizers[recipe.optimizer]

    def _at(self, is_last: bool, recipe: Recipe) -> Recipe:
        """The recipe as a scale sees it."""
        return recipe if is_last or self._coarse_loss is None else dataclasses.replace(recipe, loss=self._coarse_loss)

    def _begin(self, run: Run | None, content: Pixels, style: StyleImage, recipe: Recipe, scale: Scale) -> Run:
        optimizer = self._optimizer(recipe)
        small = images.resize(content, scale.height, scale.width)
        objective = self._evaluator.objective(small, [style], recipe)
        if run is None:
            canvas = small if recipe.init == "content" else images.noise(scale.height, scale.width, recipe.seed)
        else:
            canvas = detail.grow(run.result(), small, recipe)
        if isinstance(optimizer, CarryingAdam) and isinstance(run, AdamRun):
            return optimizer.carry(run, optimizer.start(canvas, objective, recipe, scale.iterations))
        begun: Run = optimizer.start(canvas, objective, recipe, scale.iterations)
        return begun

    def warm_up(self, recipes: Mapping[str, Recipe]) -> None:
        """Trace what the recipes need."""
        content = subjects.photograph(64)
        style = next(iter(subjects.styles().values()))
        for recipe in recipes.values():
            self.paint(content, style, dataclasses.replace(recipe, iterations=2), lambda _: None)
