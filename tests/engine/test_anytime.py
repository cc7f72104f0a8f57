"""Jobs with deadlines in an engine whose clock goes on by the pixels that are judged: 0.1 ms each, as predicted.

A recipe of 40 iterations at 256 x 256 pixels has 15 at 64, 16 at 128 and 9 at 256, and an evaluation more at each;
these take 0.41, 1.64 and 6.55 seconds each: 99.9 in all.
"""

import dataclasses

import numpy as np
import pytest

from styleserve import images
from styleserve.costs import Line
from styleserve.engine import planning
from styleserve.engine.pace import KNOWN_MARGIN
from styleserve.engine.specification import Cancel
from styleserve.errors import RunTimeoutError
from styleserve.events import Progress, Worked
from styleserve.recipes import plan_scales
from support.studio import COST, COSTS, S_PER_PIXEL, START, Studio, job
from support.toy import plain_style

_WHOLE_S = 99.94
#: Kept back of more than half a minute.
_RESERVE_S = 1.0


def at(progress: list[Progress], width: int) -> int:
    return sum(one.width == width for one in progress)


def test_with_enough_time_the_whole_recipe_is_done():
    studio = Studio()
    studio.engine.accept(job(1.1 * _WHOLE_S))
    studio.run()
    assert studio.finished().stop_reason == "completed"
    assert studio.finished().progress.iteration == 40
    assert studio.ended["a"] == pytest.approx(_WHOLE_S, abs=0.1)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.0, 4.0])
def test_a_deadline_is_kept_and_used_and_the_picture_reaches_its_size(optimizer, slowness):
    studio = Studio(slowness)
    deadline_s = 0.8 * _WHOLE_S * slowness
    studio.engine.accept(job(deadline_s, optimizer=optimizer))
    studio.run()
    finished = studio.finished()
    assert studio.ended["a"] <= deadline_s
    assert finished.stop_reason == "converged" or studio.ended["a"] >= 0.8 * deadline_s
    assert at(studio.progress(), 256) >= 5


def test_a_machine_that_halts_for_a_moment_at_the_end_makes_nobody_late():
    deadline_s, halt_s = 10.0, 0.28
    calm = Studio()
    calm.engine.accept(job(deadline_s, size=64))
    calm.run()
    before_last = max(one.elapsed_s for one in calm.progress()) - 1e-3
    studio = Studio()

    def judge(num_pixels: int) -> None:
        step_s = S_PER_PIXEL * num_pixels
        is_last = studio.now + step_s >= START + before_last
        studio.now += KNOWN_MARGIN * step_s + halt_s if is_last else step_s

    studio.evaluator.before_pixels = judge
    studio.engine.accept(job(deadline_s, size=64))
    studio.run()
    assert studio.finished().stop_reason == "deadline"
    assert studio.ended["a"] > calm.ended["a"]
    assert studio.ended["a"] <= deadline_s


def test_what_tracing_takes_is_counted_once_and_not_at_every_scale():
    cost = dataclasses.replace(COST, traced_seconds=30.0, traced_bytes=1.0)
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    studio.evaluator.before_step = lambda: setattr(studio, "now", studio.now + (studio.now < START + 0.1) * 30.0)
    studio.engine.accept(job(90.0))
    studio.run()
    assert at(studio.progress(), 256) >= 1
    assert 0.8 * 90.0 <= studio.ended["a"] <= 90.0


def test_what_is_kept_back_is_a_share_of_the_time_and_never_much():
    assert [planning.reserve_s(time_s) for time_s in (-5.0, 0.0, 10.0, 1000.0)] == [0.0, 0.0, 0.3, 1.0]


def test_time_with_a_reserve_holds_the_work_and_what_is_left_unused():
    for work_s in (0.5, 20.0, 1000.0):
        time_s = planning.with_reserve_s(work_s)
        assert time_s - planning.reserve_s(time_s) == pytest.approx(work_s)


def test_iterations_shrink_at_every_scale():
    studio = Studio()
    studio.engine.accept(job(0.8 * _WHOLE_S + _RESERVE_S))
    studio.run()
    progress = studio.progress()
    assert [at(progress, width) for width in (64, 128)] == [13, 13]
    assert progress[0].total_iterations == 12 + 12 + 7


def test_where_the_full_size_does_not_fit_the_scales_below_are_done_instead():
    studio = Studio()
    studio.engine.accept(job(25.0))
    studio.run()
    assert 20.0 <= studio.ended["a"] <= 25.0
    assert studio.finished().progress.width == 128
    assert studio.finished().pixels.shape == (256, 256, 3)


def test_a_picture_that_is_made_smaller_has_the_contents_detail_when_it_is_enlarged():
    studio = Studio()
    content = 0.25 + 0.5 * images.noise(256, 256, seed=0)
    studio.engine.accept(dataclasses.replace(job(25.0), content=content))
    studio.run()
    assert studio.finished().progress.width == 128
    fine = [
        pixels - images.resize(images.resize(pixels, 128, 128), 256, 256)
        for pixels in (content, studio.finished().pixels)
    ]
    np.testing.assert_allclose(fine[1], fine[0], atol=0.1)
    assert np.std(fine[0]) > 0.1


def test_a_job_that_was_planned_too_small_climbs_with_the_time_that_is_left():
    studio = Studio(slowness=0.25)
    studio.engine.accept(job(25.0))
    studio.run()
    assert at(studio.progress(), 256) >= 5
    assert 20.0 <= studio.ended["a"] <= 25.0


def test_what_is_looked_at_says_nothing_about_how_slow_the_machine_is():
    """The next style may be decoded after a look, which takes as long as it takes."""
    studio = Studio()
    judge = studio.evaluator.before_pixels
    studio.evaluator.before_pixels = lambda num_pixels: judge(20_000 if num_pixels == 7 else num_pixels)
    studio.evaluator.unseen = lambda content, styles: [7, 7, 7]
    for name in ("a", "b"):
        studio.engine.accept(dataclasses.replace(job(0.0, name), deadline=None))
    studio.run()
    slowness = [event.slowness for event in studio.events if isinstance(event, Worked)]
    assert slowness == pytest.approx([1.0] * len(slowness))


def test_what_a_job_makes_up_for_at_a_scale_counts_when_it_climbs():
    """Others that go away leave it time for what it fell short of at the scale before, once."""
    studio = Studio(slowness=0.5)
    studio.engine.accept(job(40.0))
    for name in ("b", "c"):
        studio.engine.accept(dataclasses.replace(job(0.0, name), deadline=None))
    while studio.now < START + 10.9:
        studio.engine.step()
    for name in ("b", "c"):
        studio.engine.accept(Cancel(name))
    studio.run()
    iterations = [progress.iteration for progress in studio.progress()]
    assert iterations == sorted(iterations)
    assert iterations[-1] <= sum(scale.iterations for scale in plan_scales(studio.finished().recipe, 256, 256))


def test_a_job_slowed_down_by_others_that_come_later_gives_up_iterations_and_not_its_size():
    studio = Studio()
    studio.engine.accept(job(100.0))
    while at(studio.progress(), 128) < 2:
        studio.engine.step()
    studio.slowness = 1.5
    studio.run()
    assert studio.ended["a"] <= 100.0
    assert at(studio.progress(), 128) < 15
    assert at(studio.progress(), 256) >= 1


def test_jobs_beside_each_other_are_all_in_time():
    deadlines_s = {"a": 60.0, "b": 90.0, "c": 150.0}
    studio = Studio()
    for (job_id, deadline_s), size in zip(deadlines_s.items(), (256, 192, 224), strict=True):
        studio.engine.accept(job(deadline_s, job_id, size=size))
    studio.run()
    for job_id, deadline_s in deadlines_s.items():
        is_whole = studio.finished(job_id).stop_reason == "completed"
        assert studio.ended[job_id] <= deadline_s
        assert is_whole or studio.ended[job_id] >= 0.8 * deadline_s


def test_styles_that_are_seen_large_are_in_every_plan():
    cost = dataclasses.replace(COST, style_seconds=Line(0.0, S_PER_PIXEL))
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    studio.evaluator.unseen = lambda content, styles: [
        round(style.scale * max(content.shape)) ** 2 // 10 for style in styles for _ in range(10)
    ]
    studio.engine.accept(job(60.0))
    while studio.now < START + 30:
        studio.engine.step()
    large = dataclasses.replace(plain_style(0.6, weight=0.5), scale=10.0)
    studio.engine.accept(dataclasses.replace(job(900.0, "b"), styles=(large, large)))
    studio.run()
    # Two styles at 640 pixels beside a canvas of 64 take 82 seconds, which the other job does not have any more.
    assert (studio.finished("a").stop_reason, studio.ended["a"] <= 60.0) == ("deadline", True)
    # At 1280 pixels they take 328 seconds, and at 2560, beside the canvas of 256, 1311.
    assert studio.finished("b").progress.width == 128
    assert studio.ended["b"] <= 900.0


def test_styles_that_are_seen_large_and_known_already_make_no_plan_smaller(monkeypatch):
    cost = dataclasses.replace(COST, style_seconds=Line(0.0, S_PER_PIXEL))
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    monkeypatch.setattr(studio.evaluator, "has_targets", lambda style, recipe, height, width: True)
    large = dataclasses.replace(plain_style(0.6, weight=0.5), scale=10.0)
    studio.engine.accept(dataclasses.replace(job(900.0), styles=(large, large)))
    studio.run()
    assert studio.finished("a").progress.width == 256


def test_a_large_content_that_is_looked_at_small_ends_nobody_at_a_deadline():
    cost = dataclasses.replace(COST, content_seconds=Line(0.0, S_PER_PIXEL))
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    studio.engine.accept(job(60.0))
    while studio.now < START + 20:
        studio.engine.step()
    studio.engine.accept(job(9000.0, "b", size=1024))
    studio.run()
    # A look at 1024 pixels would take 105 seconds, more than the other job has left; one at 256 takes 7.
    assert 40.0 < studio.ended["a"] <= 60.0


def test_scipys_search_is_cut_short_at_a_scale_too():
    studio = Studio()
    studio.engine.accept(job(10.0, optimizer="lbfgsb"))
    studio.run()
    assert studio.ended["a"] <= 10.0


def test_the_time_left_is_never_more_than_there_is_and_a_cut_plan_uses_it_all():
    studio = Studio()
    studio.engine.accept(job(0.8 * _WHOLE_S + _RESERVE_S))
    studio.run()
    for progress in studio.progress():
        if progress.iteration < progress.total_iterations:
            assert progress.eta_s == pytest.approx(0.8 * _WHOLE_S - progress.elapsed_s)
        assert progress.iteration <= progress.total_iterations <= 40


def test_who_wants_the_whole_recipe_or_nothing_gets_no_smaller_plan():
    studio = Studio()
    studio.engine.accept(job(0.8 * _WHOLE_S, fails_at_deadline=True))
    studio.run()
    assert at(studio.progress(), 64) == 16
    assert isinstance(studio.events[-1].error, RunTimeoutError)
