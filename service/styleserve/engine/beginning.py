"""Beginning a job: from its content or from noise, or where a checkpoint says that another engine was."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from styleserve import images
from styleserve.engine.checkpoints import Checkpoint
from styleserve.engine.forecast import Forecast
from styleserve.engine.job import Job, content_at, objective_at
from styleserve.evaluation import Evaluator
from styleserve.optimizers import AnyOptimizer, SnapshotError

logger = logging.getLogger(__name__)


def begin(
    forecast: Forecast,
    optimizer: AnyOptimizer,
    evaluator: Evaluator,
    clock: Callable[[], float],
    fair_slowness: float,
    checkpoint: Checkpoint | None = None,
) -> Job:
    """Take a job up; where a checkpoint turns out to be of no use, as if there were none."""
    beginning = _Beginning.of(forecast, optimizer, evaluator, clock, fair_slowness)
    if checkpoint is not None:
        try:
            return beginning.go_on(checkpoint)
        except SnapshotError as error:
            told = forecast.specification
            logger.warning("%s: its checkpoint is of no use: %s", told.job_id, error, extra=told.log_fields)
    return beginning.anew()


@dataclass(frozen=True, slots=True)
class _Beginning:
    """A job that is taken up: its forecast has the calibrated recipe, `identity` is that of the recipe as it came.

    `network_passes` are those of the calibration.
    """

    forecast: Forecast
    identity: str
    optimizer: AnyOptimizer
    evaluator: Evaluator
    clock: Callable[[], float]
    started: float
    fair_slowness: float
    network_passes: int

    @classmethod
    def of(
        cls,
        forecast: Forecast,
        optimizer: AnyOptimizer,
        evaluator: Evaluator,
        clock: Callable[[], float],
        fair_slowness: float,
    ) -> Self:
        started, specification = clock(), forecast.specification
        recipe, network_passes = evaluator.calibrate(specification.content, specification.recipe)
        calibrated = dataclasses.replace(forecast, specification=dataclasses.replace(specification, recipe=recipe))
        return cls(
            forecast=calibrated,
            identity=specification.identity,
            optimizer=optimizer,
            evaluator=evaluator,
            clock=clock,
            started=started,
            fair_slowness=fair_slowness,
            network_passes=network_passes,
        )

    def anew(self) -> Job:
        """Plan the scales and lay the first one's canvas; its targets come with the first steps."""
        specification, recipe = self.forecast.specification, self.forecast.specification.recipe
        planned = self.clock()
        plan = self.forecast.plan(self.forecast.scales, planned, self.fair_slowness)
        first = plan.scales[0]
        content = content_at(specification, first)
        objective = objective_at(self.forecast, first, content, self.evaluator)
        canvas = content if recipe.init == "content" else images.noise(first.height, first.width, recipe.seed)
        return Job(
            specification=specification,
            identity=self.identity,
            optimizer=self.optimizer,
            recipe_scales=self.forecast.scales,
            scales=plan.scales,
            run=self.optimizer.start(canvas, objective, recipe, plan.next_iterations),
            iterations=plan.next_iterations,
            started=self.started,
            scale_begun=(begun := self.clock()),
            scale_started=begun,
            due=None if plan.next_s is None else planned + plan.next_s,
            network_passes=self.network_passes + objective.network_passes,
            forecast=self.forecast,
            estimate=self.forecast.estimate(plan.scales),
            written=begun,
        )

    def go_on(self, checkpoint: Checkpoint) -> Job:
        """Resume the job's run at the scale where it was, and plan anew for the time that is left.

        Its canvas was judged before, so it can be returned whatever comes. Raises SnapshotError.
        """
        self._check(checkpoint)
        scale, index = checkpoint.scale, checkpoint.scale_index
        planned = self.clock()
        content = content_at(self.forecast.specification, scale)
        objective = objective_at(self.forecast, scale, content, self.evaluator)
        recipe = self.forecast.specification.recipe
        run = self.optimizer.resume(checkpoint.snapshot, objective, recipe, checkpoint.iterations)
        left = dataclasses.replace(scale, iterations=max(0, checkpoint.iterations - run.iteration))
        slowness = checkpoint.scale_elapsed_s / (self.forecast.step_s(scale) * max(1, run.evaluations))
        plan = self.forecast.plan(
            (left, *self.forecast.scales[index + 1 :]), planned, max(self.fair_slowness, slowness)
        )
        scales = (*checkpoint.scales[: index + 1], *plan.scales[1:])
        job = Job(
            specification=self.forecast.specification,
            identity=self.identity,
            optimizer=self.optimizer,
            recipe_scales=self.forecast.scales,
            scales=scales,
            run=run,
            iterations=checkpoint.iterations,
            started=self.started - checkpoint.elapsed_s,
            scale_begun=(begun := self.clock()),
            scale_started=begun - checkpoint.scale_elapsed_s,
            due=None if plan.next_s is None else planned + plan.next_s,
            network_passes=checkpoint.network_passes + self.network_passes + objective.network_passes,
            forecast=self.forecast,
            estimate=self.forecast.estimate(scales),
            written=begun,
            scale_index=index,
            earlier_evaluations=checkpoint.earlier_evaluations,
            engine_s=checkpoint.engine_s,
        )
        job.judged = job.progress(checkpoint.losses, self.started)
        told = job.specification
        logger.info("%s goes on at iteration %d", told.job_id, job.judged.iteration, extra=told.log_fields)
        return job

    def _check(self, checkpoint: Checkpoint) -> None:
        """Raise SnapshotError when the checkpoint is not one of this job."""
        if checkpoint.identity != self.identity:
            raise SnapshotError("its content, styles or recipe were others")
        sizes, wanted = (
            [(scale.height, scale.width) for scale in scales] for scales in (checkpoint.scales, self.forecast.scales)
        )
        if sizes != wanted[: len(sizes)]:
            raise SnapshotError("its canvases are not of the recipe's sizes")
        if checkpoint.iterations > self.forecast.specification.recipe.iterations:
            raise SnapshotError(f"{checkpoint.iterations} iterations at one scale are more than the recipe has")
