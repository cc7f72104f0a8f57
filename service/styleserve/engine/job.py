"""A job inside the engine: its specification, the scale it is at, and the run that works there."""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass, field

from styleserve import images
from styleserve.costs import CostModel, Estimate
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Evaluator, Losses, Pixels
from styleserve.events import Progress
from styleserve.optimizers import AnyOptimizer, Run
from styleserve.recipes import Scale, plan_scales


@dataclass(slots=True)
class PreviewOrder:
    """Previews that somebody waits for: at most `max_side` pixels, every `interval_s` seconds, the next at `due`."""

    max_side: int
    interval_s: float
    due: float


@dataclass(slots=True, eq=False)
class Job:
    """One canvas on its way; the engine's thread alone touches it.

    `last_served` is the number of the step that served it last. `started` is a reading of the engine's clock. `judged`
    is how far it was when a canvas of it was last judged, at whatever scale; None while none has been. `costs` decides
    which canvases are judged in tiles; without it none is, and there is no `estimate`.
    """

    specification: JobSpecification
    optimizer: AnyOptimizer
    scales: tuple[Scale, ...]
    run: Run
    started: float
    network_passes: int
    costs: CostModel | None = None
    estimate: Estimate | None = None
    scale_index: int = 0
    last_served: int = -1
    earlier_evaluations: int = 0
    judged: Progress | None = None
    preview: PreviewOrder | None = field(default=None)

    @property
    def job_id(self) -> str:
        """The ID that the front gave it."""
        return self.specification.job_id

    @property
    def scale(self) -> Scale:
        """The scale that it is at."""
        return self.scales[self.scale_index]

    @property
    def num_pixels(self) -> int:
        """Pixels of its canvas."""
        return self.scale.height * self.scale.width

    @property
    def batch_key(self) -> Hashable:
        """Jobs with equal keys can be stepped together."""
        return type(self.run), self.run.batch_key

    @property
    def is_at_last_scale(self) -> bool:
        """Whether no larger canvas follows."""
        return self.scale_index == len(self.scales) - 1

    @property
    def evaluations(self) -> int:
        """Evaluations done, over all scales."""
        return self.earlier_evaluations + self.run.evaluations

    def picture(self) -> Pixels:
        """The best picture so far, at the size of the result."""
        height, width = self.specification.content.shape[:2]
        return images.resize(self.run.result(), height, width)

    def climb(self, evaluator: Evaluator) -> None:
        """Go on at the next scale."""
        scale = self.scales[self.scale_index + 1]
        objective = evaluator.objective(
            images.resize(self.specification.content, scale.height, scale.width),
            self.specification.styles,
            self.specification.recipe,
            _tile_side(self.specification, scale, self.costs),
        )
        evaluations = self.evaluations
        self.run = self.optimizer.grow(
            self.run, objective, (scale.height, scale.width), self.specification.recipe, scale.iterations
        )
        self.network_passes += objective.network_passes
        self.earlier_evaluations = evaluations
        self.scale_index += 1

    def progress(self, losses: Losses, now: float) -> Progress:
        """How far it is, at the time `now`."""
        earlier = sum(scale.iterations for scale in self.scales[: self.scale_index])
        elapsed_s = now - self.started
        done = self._work(self.scale_index) + self.num_pixels * (self.run.iteration + 1)
        left = max(0, self._work(len(self.scales)) - done) if self.run.ended is None else 0
        return Progress(
            iteration=earlier + self.run.iteration,
            total_iterations=self.specification.recipe.iterations,
            evaluations=self.evaluations,
            losses=losses,
            width=self.scale.width,
            height=self.scale.height,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s * left / done,
            estimate=self.estimate,
        )

    def _work(self, num_scales: int) -> int:
        """Work of the first scales, in judged pixels: an iteration costs as much as its canvas has pixels."""
        return sum(scale.height * scale.width * (scale.iterations + 1) for scale in self.scales[:num_scales])


def begin(
    specification: JobSpecification,
    optimizer: AnyOptimizer,
    evaluator: Evaluator,
    now: float,
    costs: CostModel | None = None,
) -> Job:
    """Take a job up: plan its scales, compute the first one's targets, and lay its first canvas."""
    recipe = evaluator.calibrate(specification.content, specification.recipe)
    specification = dataclasses.replace(specification, recipe=recipe)
    height, width = specification.content.shape[:2]
    scales = plan_scales(recipe, height, width)
    first = scales[0]
    content = images.resize(specification.content, first.height, first.width)
    tile_side = _tile_side(specification, first, costs)
    objective = evaluator.objective(content, specification.styles, recipe, tile_side)
    canvas = content if recipe.init == "content" else images.noise(first.height, first.width, recipe.seed)
    run = optimizer.start(canvas, objective, recipe, first.iterations)
    estimate = None if costs is None else costs.estimate(recipe, scales, height, width)
    return Job(specification, optimizer, scales, run, now, objective.network_passes, costs, estimate)


def _tile_side(specification: JobSpecification, scale: Scale, costs: CostModel | None) -> int | None:
    """Side of the tiles that the canvas of a scale has to be judged in; None when it fits the memory whole."""
    height, width = specification.content.shape[:2]
    return None if costs is None else costs.tile_side(specification.recipe, scale, height * width)
