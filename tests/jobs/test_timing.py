"""Timing: what is known of a job's seconds before it has begun."""

import dataclasses

import pytest

from styleserve.costs import Line
from styleserve.engine.pace import KNOWN_MARGIN
from styleserve.jobs import timing
from styleserve.jobs.submission import ChosenStyle, Output, Submission
from styleserve.presets import PRESETS, resolve
from styleserve.recipes import RecipeChanges, Scale
from support.toy import TOY_COSTS

SUBMISSION = Submission(
    content_digest="c",
    styles=(ChosenStyle("s", "styles/a@1", True, 1.0, 1.0),),
    recipe=PRESETS["classic"],
    output=Output(64, 64),
    fingerprint="f",
    labels={},
)


def test_an_engine_may_be_silent_for_some_minutes_and_for_many_times_what_its_largest_canvas_takes():
    recipe = PRESETS["classic"]
    cost = TOY_COSTS.costs[0][1]
    slow = dataclasses.replace(cost, tile_seconds=dataclasses.replace(cost.seconds, per_pixel=1e-5))
    costs = dataclasses.replace(TOY_COSTS, costs=((recipe, slow),), budget_bytes=4 * 10**9)
    large = dataclasses.replace(SUBMISSION, output=Output(4096, 4096))
    tile_side = costs.tile_side(recipe, Scale(4096, 4096, 1), 4096**2)
    evaluation_s = costs.evaluation_s(recipe, Scale(4096, 4096, 1), tile_side)
    assert tile_side is not None
    assert evaluation_s > 120
    assert timing.longest_silence_s([SUBMISSION], costs) == 120
    assert timing.longest_silence_s([large], costs) >= 10 * evaluation_s
    assert timing.longest_silence_s([large, large], costs) >= 20 * evaluation_s


def test_styles_that_are_seen_large_take_their_time_before_the_job_and_under_the_watchdog():
    recipe = PRESETS["classic"]
    cost = dataclasses.replace(TOY_COSTS.costs[0][1], style_seconds=Line(0.0, 1e-4), halo=0)
    costs = dataclasses.replace(TOY_COSTS, costs=((recipe, cost),))
    large = dataclasses.replace(SUBMISSION.styles[0], scale=10.0)
    many = dataclasses.replace(SUBMISSION, styles=(large, large))
    seconds = [timing.predict(submission, costs).seconds for submission in (SUBMISSION, many)]
    assert seconds[1] - seconds[0] == pytest.approx(1e-4 * (2 * 640**2 - 64**2))
    assert timing.longest_silence_s([many], costs) >= 10 * 1e-4 * 2 * 640**2


def test_the_least_picture_counts_the_look_at_its_content_its_targets_and_what_the_first_step_takes_more():
    """At 512 pixels `standard` begins with 64, after a look at the content at 256."""
    recipe = PRESETS["standard"]
    cost = dataclasses.replace(
        TOY_COSTS.costs[0][1],
        seconds=Line(0.1, 0.0),
        content_seconds=Line(0.0, 1e-5),
        style_seconds=Line(0.0, 1e-4),
        first_seconds=Line(0.5, 0.0),
        traced_seconds=2.0,
        traced_bytes=1.0,
    )
    costs = dataclasses.replace(TOY_COSTS, costs=((recipe, cost),))
    submission = dataclasses.replace(SUBMISSION, recipe=recipe, output=Output(512, 512))
    expected_s = 1e-5 * 256**2 + (1e-5 + 1e-4) * 64**2 + 0.5 + 2.0 + 2 * 0.1
    assert timing.least_s(submission, costs) == pytest.approx(KNOWN_MARGIN * expected_s)
    # Once a job of its kind has begun, nothing is left to trace.
    assert timing.least_s(submission, costs.after(recipe)) == pytest.approx(KNOWN_MARGIN * (expected_s - 2.0))


def test_the_least_picture_of_a_recipe_without_iterations_is_its_start_judged():
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="classic", iterations=0))
    submission = dataclasses.replace(SUBMISSION, recipe=recipe, output=Output(1000, 1000))
    assert timing.least_s(submission, TOY_COSTS) == pytest.approx(KNOWN_MARGIN * 0.01)
