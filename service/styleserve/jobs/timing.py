"""Timing: how long a job will take, and by when it has to be where."""

import time

from styleserve.events import EngineInfo
from styleserve.jobs.submission import Submission
from styleserve.recipes import plan_scales

#: From the engine to the caller, in seconds: for a small picture, and more for each megapixel, which a PNG takes.
_FINISHING_S = 0.2
_FINISHING_S_PER_MEGAPIXEL = 0.3


def whole_job_s(submission: Submission, engine: EngineInfo | None) -> float:
    """Seconds that the job takes an engine that does nothing else; 0 while nobody knows."""
    scales = plan_scales(submission.recipe, submission.output.height, submission.output.width)
    return _evaluation_s(sum(scale.height * scale.width * (scale.iterations + 1) for scale in scales), engine)


def first_evaluation_s(submission: Submission, engine: EngineInfo | None) -> float:
    """Seconds of the job's first evaluation, with which it has a picture to return."""
    first = plan_scales(submission.recipe, submission.output.height, submission.output.width)[0]
    return _evaluation_s(first.height * first.width, engine)


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


def _evaluation_s(num_pixels: int, engine: EngineInfo | None) -> float:
    return 0.0 if engine is None else engine.seconds_per_megapixel * num_pixels / 1e6
