"""Timing: how long a job will take, and by when it has to be where; and how much memory it takes meanwhile."""

import time

from styleserve.costs import CostModel, Estimate, Footprint
from styleserve.events import EngineInfo
from styleserve.jobs.submission import Submission
from styleserve.recipes import plan_scales

#: From the engine to the caller, in seconds: for a small picture, and more for each megapixel, which a PNG takes.
_FINISHING_S = 0.2
_FINISHING_S_PER_MEGAPIXEL = 0.3


def whole_job_s(submission: Submission, engine: EngineInfo | None) -> float:
    """Seconds that the job takes an engine that does nothing else; 0 while nobody knows."""
    return 0.0 if engine is None else predict(submission, engine.costs).seconds


def first_evaluation_s(submission: Submission, engine: EngineInfo | None) -> float:
    """Seconds of the job's first evaluation, with which it has a picture to return."""
    if engine is None:
        return 0.0
    recipe, output = submission.recipe, submission.output
    first = plan_scales(recipe, output.height, output.width)[0]
    tile_side = engine.costs.tile_side(recipe, first, output.height * output.width)
    return engine.costs.evaluation_s(recipe, first, tile_side)


def predict(submission: Submission, costs: CostModel) -> Estimate:
    """What the job takes an engine that does nothing else."""
    recipe, output = submission.recipe, submission.output
    scales = plan_scales(recipe, output.height, output.width)
    return costs.estimate(recipe, scales, output.height, output.width)


def footprint(submission: Submission, costs: CostModel) -> Footprint:
    """The memory that the job takes."""
    return costs.job_footprint(submission.recipe, submission.output.height, submission.output.width)


def available_s(submission: Submission) -> float | None:
    """Seconds that an engine would have for the job if it began now; None when nothing limits it."""
    deadline = run_deadline(submission)
    return None if deadline is None else deadline - time.monotonic()


def run_deadline(submission: Submission) -> float | None:
    """When an engine has to be done with a job that it takes up now: by its run timeout, and in time to be sent."""
    limits = []
    if submission.run_timeout_s is not None:
        limits.append(time.monotonic() + submission.run_timeout_s)
    if submission.deadline is not None:
        limits.append(submission.deadline - _finishing_s(submission))
    return min(limits, default=None)


def patience_s(submission: Submission) -> float | None:
    """How long a job may wait in the queue, in seconds; None when nothing limits it."""
    limits = []
    if submission.queue_timeout_s is not None:
        limits.append(submission.queue_timeout_s)
    if submission.deadline is not None:
        limits.append(max(0.0, submission.deadline - _finishing_s(submission) - time.monotonic()))
    return min(limits, default=None)


def _finishing_s(submission: Submission) -> float:
    return _FINISHING_S + _FINISHING_S_PER_MEGAPIXEL * submission.output.height * submission.output.width / 1e6
