"""A job inside the engine: its specification, the scale it is at, and the run that works there."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from styleserve import detail, images
from styleserve.costs import Estimate
from styleserve.engine.checkpoints import Checkpoint
from styleserve.engine.forecast import Forecast
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import WHOLE, Evaluator, Losses, Objective, Pixels
from styleserve.events import Progress
from styleserve.optimizers import AnyOptimizer, Run, let_go
from styleserve.recipes import Scale


@dataclass(slots=True)
class PreviewOrder:
    """Previews that somebody waits for: at most `max_side` pixels, and `interval_s` seconds apart."""

    max_side: int
    interval_s: float


@dataclass(slots=True, eq=False)
class Job:
    """One canvas on its way; the engine's thread alone touches it.

    `last_served` is the number of the step that served it last. `started` is a reading of the engine's clock. `judged`
    is how far it was when a canvas of it was last judged, at whatever scale; None while none has been.

    `recipe_scales` are what the recipe asks for, `scales` what is done of it: those until the present one as they were,
    those from it on as they are planned. The present one was begun at `scale_begun`; at `scale_started` its targets
    were there, or would have been if it had been judged here from its start. At `due` it gives way to the next.
    `forecast` makes the plans and decides which canvases are judged in tiles. `iterations` are the moves that the run
    may make. `previewed` is when the last preview was sent, whoever waited for it.

    `identity` is that of the specification as it came, before the recipe was calibrated. `written` is when it was last
    written down, or begun, and `has_news` whether canvases were judged since. `engine_s` are seconds that
    engines worked for it, as far as its checkpoint knows of others; `unjudged_s` those of an
    evaluation that is under way.
    """

    specification: JobSpecification
    identity: str
    optimizer: AnyOptimizer
    recipe_scales: tuple[Scale, ...]
    scales: tuple[Scale, ...]
    run: Run
    iterations: int
    started: float
    scale_begun: float
    scale_started: float
    due: float | None
    network_passes: int
    forecast: Forecast
    estimate: Estimate | None
    written: float
    scale_index: int = 0
    last_served: int = -1
    earlier_evaluations: int = 0
    judged: Progress | None = None
    preview: PreviewOrder | None = None
    previewed: float = -math.inf
    has_news: bool = False
    engine_s: float = 0.0
    unjudged_s: float = 0.0

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
    def is_looking(self) -> bool:
        """Whether its next step is a look at what its targets are made of."""
        return not self.run.objective.is_ready

    @property
    def is_in_pieces(self) -> bool:
        """Whether its next step is a piece: of its targets, or of the evaluation of a canvas in tiles."""
        return self.run.objective.piece is not WHOLE

    @property
    def pace_key(self) -> Hashable:
        """Steps of jobs with equal keys cost the same."""
        return self.batch_key, self.run.objective.piece.kind

    @property
    def has_next_scale(self) -> bool:
        """Whether the recipe has a larger canvas."""
        return self.scale_index < len(self.recipe_scales) - 1

    @property
    def step_s(self) -> float:
        """Seconds of the next step, as predicted: of an evaluation, or of a piece."""
        return self.run.objective.piece.share * self.forecast.step_s(self.scale)

    @property
    def first_s(self) -> float:
        """Seconds that the first evaluation at this scale takes more, as predicted; none before a look."""
        return 0.0 if self.is_looking else self.forecast.first_s(self.scale)

    @property
    def evaluations(self) -> int:
        """Evaluations done, over all scales."""
        return self.earlier_evaluations + self.run.evaluations

    @property
    def has_painted(self) -> bool:
        """Whether it has more to return than the content at the size of its first scale: an iteration, at least."""
        return self.judged is not None and self.judged.iteration > 0

    @property
    def is_whole(self) -> bool:
        """Whether it ran all of its recipe: no deadline made its plan smaller, at any scale, or cut it off."""
        return self.run.ended is not None and self.scales == self.recipe_scales

    def picture(self) -> Pixels:
        """The best picture so far, at the size of the result."""
        return detail.grow(self.run.result(), self.specification.content, self.specification.recipe)

    def is_ready_to_climb(self, now: float) -> bool:
        """Whether the next scale's turn has come: this one is done, or its time is up."""
        if not self.has_next_scale or self.run.losses is None:
            return False
        return self.run.ended is not None or (self.due is not None and now >= self.due)

    def climb(self, evaluator: Evaluator, clock: Callable[[], float], fair_slowness: float) -> None:
        """Go on at the next scale with the time that is left; or stay, when that is too little and there is work here.

        `fair_slowness` is by how much everything takes longer than predicted if all jobs get the same; the job's own
        may be less, when it shares its steps, but more only for as long as it waits for the larger steps of others.
        """
        is_done = self.run.ended is not None
        # It may have come further than planned, by what earlier scales fell short; what converged is owed nothing.
        iterations = max(self.scale.iterations, self.run.iteration) if is_done else self.run.iteration
        done = (*self.scales[: self.scale_index], dataclasses.replace(self.scale, iterations=iterations))
        owed = _num_iterations(self.recipe_scales[: len(done)]) - _num_iterations(done)
        now = clock()
        predicted_s = self.forecast.step_s(self.scale) * self.run.evaluations
        slowness = min(fair_slowness, (now - self.scale_started) / predicted_s)
        plan = self.forecast.plan(self.recipe_scales[len(done) :], now, slowness, owed)
        if not (is_done or plan.fits):
            self.due = None
            return
        scale, recipe = plan.scales[0], self.specification.recipe
        content = content_at(self.specification, scale)
        objective = objective_at(self.forecast, scale, content, evaluator)
        evaluations = self.evaluations
        # What the run before holds may be as much as the next one needs, so it is closed first.
        canvas = detail.grow(let_go(self.run), content, recipe)
        self.run = self.optimizer.start(canvas, objective, recipe, plan.next_iterations)
        self.iterations = plan.next_iterations
        self.network_passes += objective.network_passes
        self.earlier_evaluations = evaluations
        self.unjudged_s = 0.0
        self.scales = (*done, *plan.scales)
        self.scale_index += 1
        self.scale_begun = self.scale_started = clock()
        self.due = None if plan.next_s is None else now + plan.next_s

    def note_ready(self, now: float) -> None:
        """All targets of the scale are there: its evaluations start now."""
        self.scale_started += now - self.scale_begun

    def checkpoint(self, now: float) -> Checkpoint:
        """What another engine needs to go on from here; good until the next step."""
        assert self.judged is not None
        assert self.judged.losses is not None
        return Checkpoint(
            identity=self.identity,
            scales=self.scales,
            scale_index=self.scale_index,
            iterations=self.iterations,
            earlier_evaluations=self.earlier_evaluations,
            network_passes=self.network_passes,
            elapsed_s=now - self.started,
            scale_elapsed_s=now - self.scale_started,
            engine_s=self.engine_s,
            losses=self.judged.losses,
            snapshot=self.optimizer.snapshot(self.run),
        )

    def so_far(self, now: float) -> Progress:
        """How far it is between two judgements: as far as by the last, if there was one, and so much later."""
        if self.judged is None:
            return self.progress(None, now)
        return dataclasses.replace(self.judged, elapsed_s=now - self.started, eta_s=self._eta_s(now))

    def progress(self, losses: Losses | None, now: float) -> Progress:
        """How far it is, at the time `now`; without losses where none of its canvases was judged."""
        iteration = _num_iterations(self.scales[: self.scale_index]) + self.run.iteration
        return Progress(
            iteration=iteration,
            total_iterations=max(iteration, _num_iterations(self.scales)),
            evaluations=self.evaluations,
            losses=losses,
            width=self.scale.width,
            height=self.scale.height,
            elapsed_s=now - self.started,
            eta_s=self._eta_s(now),
            estimate=self.estimate,
        )

    def _eta_s(self, now: float) -> float:
        """Seconds left, by the work that is; a plan that falls short of the recipe goes on until the deadline."""
        deadline = self.specification.deadline
        left_s = None if deadline is None else max(0.0, deadline - now)
        if self.run.ended is not None and not self.has_next_scale:
            return 0.0
        if left_s is not None and _num_iterations(self.scales) < _num_iterations(self.recipe_scales):
            return left_s
        if self.evaluations == 0 and self.estimate is not None:
            return self.estimate.seconds if left_s is None else min(self.estimate.seconds, left_s)
        done = self._work(self.scale_index) + self.num_pixels * (self.run.iteration + 1)
        work_s = (now - self.started) * max(0, self._work(len(self.scales)) - done) / done
        return work_s if left_s is None else min(work_s, left_s)

    def _work(self, num_scales: int) -> int:
        """Work of the first scales, in judged pixels: an iteration costs as much as its canvas has pixels."""
        return sum(scale.height * scale.width * (scale.iterations + 1) for scale in self.scales[:num_scales])


def objective_at(forecast: Forecast, scale: Scale, content: Pixels, evaluator: Evaluator) -> Objective:
    """What the canvas of a scale is judged against, with the content at its size; targets are yet to be computed."""
    specification = forecast.specification
    return evaluator.objective(content, specification.styles, specification.recipe, forecast.tile_side(scale))


def content_at(specification: JobSpecification, scale: Scale) -> Pixels:
    """The content at the size of a scale."""
    return images.resize(specification.content, scale.height, scale.width)


def _num_iterations(scales: Sequence[Scale]) -> int:
    return sum(scale.iterations for scale in scales)
