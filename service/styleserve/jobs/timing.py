"""Timing: how long a job will take, and by when it has to be where."""

import time
from collections.abc import Sequence
from dataclasses import replace

from styleserve.costs import CostModel, Estimate
from styleserve.engine.forecast import calibration_s
from styleserve.engine.pace import KNOWN_MARGIN
from styleserve.events import EngineInfo
from styleserve.jobs.passage import Passage
from styleserve.jobs.submission import Submission
from styleserve.recipes import plan_scales

#: How long an engine may at least tell nothing, in seconds, and how much longer than predicted what it does may take:
#: a machine may be shared, and a kill that was none the less wrong costs more than one that comes late.
_LEAST_SILENCE_S = 120.0
_SILENCE_MARGIN = 10.0


def whole_job_s(submission: Submission, engine: EngineInfo | None) -> float:
    """Seconds that the job takes an engine that does nothing else; 0 while nobody knows."""
    return 0.0 if engine is None else predict(submission, engine.costs).seconds


def share_s(submission: Submission, engine: EngineInfo | None, way_out: Passage) -> float:
    """Seconds of the engine that the job will take; none of those that its deadline cuts off."""
    whole_s, time_s = whole_job_s(submission, engine), available_s(submission, way_out)
    return whole_s if time_s is None else min(whole_s, max(0.0, time_s))


def least_s(submission: Submission, costs: CostModel) -> float:
    """Seconds that the job takes an engine until it has a picture to return, with the margin that its steps have.

    That is the look at its content, all targets of its smallest canvas, and an iteration there, if it is to make any:
    the canvas is judged before it and after.
    """
    recipe, output = submission.recipe, submission.output
    first = plan_scales(recipe, output.height, output.width)[0]
    tile_side = costs.tile_side(recipe, first, output.height * output.width)
    one = replace(first, iterations=min(1, first.iterations))
    one_s = costs.scale_s(recipe, one, tile_side, submission.style_scales)
    return KNOWN_MARGIN * (calibration_s(recipe, output.height, output.width, costs) + one_s)


def predict(submission: Submission, costs: CostModel) -> Estimate:
    """What the job takes an engine that does nothing else."""
    recipe, output = submission.recipe, submission.output
    scales = plan_scales(recipe, output.height, output.width)
    return costs.estimate(recipe, scales, output.height, output.width, submission.style_scales)


def longest_silence_s(submissions: Sequence[Submission], costs: CostModel) -> float:
    """Seconds for which an engine that has these jobs may tell nothing.

    Between two things that it tells it does no more than begin with each, at its largest canvas: look at the content,
    compute the targets, and judge the canvas for the first time.
    """
    return max(_LEAST_SILENCE_S, _SILENCE_MARGIN * sum(_beginning_s(each, costs) for each in submissions))


def _beginning_s(submission: Submission, costs: CostModel) -> float:
    recipe, output = submission.recipe, submission.output
    largest = plan_scales(recipe, output.height, output.width)[-1]
    tile_side = costs.tile_side(recipe, largest, output.height * output.width)
    look_s = costs.content_s(recipe, largest, tile_side)
    targets_s = costs.targets_s(recipe, largest, tile_side, submission.style_scales)
    first_s = costs.first_s(recipe, largest, tile_side) + costs.evaluation_s(recipe, largest, tile_side)
    return look_s + targets_s + first_s


def available_s(submission: Submission, way_out: Passage) -> float | None:
    """Seconds that an engine would have for the job if it began now; None when nothing limits it."""
    limits = [limit for limit in (submission.run_timeout_s, left_s(submission, way_out)) if limit is not None]
    return min(limits, default=None)


def left_s(submission: Submission, way_out: Passage) -> float | None:
    """Seconds until the job has to be made, in time to be sent, wherever it is; None when no deadline says so."""
    deadline = engine_deadline(submission, way_out)
    return None if deadline is None else deadline - time.monotonic()


def engine_deadline(submission: Submission, way_out: Passage) -> float | None:
    """When an engine has to be done, so that the picture is sent in time; None when no deadline says so."""
    return None if submission.deadline is None else submission.deadline - way_out.most_s(submission.output)
