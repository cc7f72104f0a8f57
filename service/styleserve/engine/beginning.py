"""Beginning a job: from its content or from noise, or where a checkpoint says that another engine was."""

import dataclasses
import logging
from collections.abc import Callable

from styleserve import images
from styleserve.engine.checkpoints import Checkpoint
from styleserve.engine.forecast import Forecast
from styleserve.engine.job import Job, objective_at
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
    started = clock()
    specification = forecast.specification
    identity = specification.identity
    recipe = evaluator.calibrate(specification.content, specification.recipe)
    forecast = dataclasses.replace(forecast, specification=dataclasses.replace(specification, recipe=recipe))
    if checkpoint is not None:
        try:
            _check(checkpoint, forecast, identity)
            return _go_on(checkpoint, forecast, optimizer, evaluator, clock, started, fair_slowness)
        except SnapshotError as error:
            logger.warning("%s: its checkpoint is of no use: %s", specification.job_id, error)
    return _begin_anew(identity, forecast, optimizer, evaluator, clock, started, fair_slowness)


def _begin_anew(
    identity: str,
    forecast: Forecast,
    optimizer: AnyOptimizer,
    evaluator: Evaluator,
    clock: Callable[[], float],
    started: float,
    fair_slowness: float,
) -> Job:
    """Plan the scales, compute the first one's targets, and lay its first canvas."""
    specification, recipe = forecast.specification, forecast.specification.recipe
    planned = clock()
    plan = forecast.plan(forecast.scales, planned, fair_slowness)
    first = plan.scales[0]
    objective = objective_at(forecast, first, evaluator)
    if recipe.init == "content":
        canvas = images.resize(specification.content, first.height, first.width)
    else:
        canvas = images.noise(first.height, first.width, recipe.seed)
    return Job(
        specification=specification,
        identity=identity,
        optimizer=optimizer,
        recipe_scales=forecast.scales,
        scales=plan.scales,
        run=optimizer.start(canvas, objective, recipe, plan.next_iterations),
        iterations=plan.next_iterations,
        started=started,
        scale_started=clock(),
        due=None if plan.next_s is None else planned + plan.next_s,
        network_passes=objective.network_passes,
        forecast=forecast,
        estimate=forecast.estimate(plan.scales),
        written=clock(),
    )


def _check(checkpoint: Checkpoint, forecast: Forecast, identity: str) -> None:
    """Raise SnapshotError when the checkpoint is not one of this job."""
    if checkpoint.identity != identity:
        raise SnapshotError("its content, styles or recipe were others")
    sizes, wanted = (
        [(scale.height, scale.width) for scale in scales] for scales in (checkpoint.scales, forecast.scales)
    )
    if sizes != wanted[: len(sizes)]:
        raise SnapshotError("its canvases are not of the recipe's sizes")
    if checkpoint.iterations > forecast.specification.recipe.iterations:
        raise SnapshotError(f"{checkpoint.iterations} iterations at one scale are more than the recipe has")


def _go_on(
    checkpoint: Checkpoint,
    forecast: Forecast,
    optimizer: AnyOptimizer,
    evaluator: Evaluator,
    clock: Callable[[], float],
    started: float,
    fair_slowness: float,
) -> Job:
    """Compute the targets of the scale where the job was, resume its run, and plan anew for the time that is left.

    Its canvas was judged before, so it can be returned whatever comes.
    """
    scale, index = checkpoint.scale, checkpoint.scale_index
    planned = clock()
    objective = objective_at(forecast, scale, evaluator)
    run = optimizer.resume(checkpoint.snapshot, objective, forecast.specification.recipe, checkpoint.iterations)
    left = dataclasses.replace(scale, iterations=max(0, checkpoint.iterations - run.iteration))
    slowness = checkpoint.scale_elapsed_s / (forecast.step_s(scale) * max(1, run.evaluations))
    plan = forecast.plan((left, *forecast.scales[index + 1 :]), planned, max(fair_slowness, slowness))
    scales = (*checkpoint.scales[: index + 1], *plan.scales[1:])
    job = Job(
        specification=forecast.specification,
        identity=checkpoint.identity,
        optimizer=optimizer,
        recipe_scales=forecast.scales,
        scales=scales,
        run=run,
        iterations=checkpoint.iterations,
        started=started - checkpoint.elapsed_s,
        scale_started=clock() - checkpoint.scale_elapsed_s,
        due=None if plan.next_s is None else planned + plan.next_s,
        network_passes=checkpoint.network_passes + objective.network_passes,
        forecast=forecast,
        estimate=forecast.estimate(scales),
        written=clock(),
        scale_index=index,
        earlier_evaluations=checkpoint.earlier_evaluations,
    )
    job.judged = job.progress(checkpoint.losses, started)
    logger.info("%s goes on at iteration %d", job.job_id, job.judged.iteration)
    return job
