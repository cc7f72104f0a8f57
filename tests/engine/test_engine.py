"""The engine with the toy evaluator, driven step by step; the toy's arithmetic is worked in tests/support/toy.py."""

import dataclasses

import numpy as np
import pytest

from styleserve import detail, images
from styleserve.engine.engine import Engine
from styleserve.engine.specification import Cancel, JobSpecification, Prepare, Preview
from styleserve.errors import DivergedError, EngineError, RunTimeoutError
from styleserve.evaluation import Losses, Pixels, StyleImage
from styleserve.events import (
    Cancelled,
    EngineEvent,
    Failed,
    Finished,
    JobEvent,
    Looked,
    Planned,
    Prepared,
    Previewed,
    Progressed,
    Settled,
    Started,
    Unprepared,
    Worked,
)
from styleserve.optimizers.adam import Adam, AdamRun
from styleserve.optimizers.lbfgs import LbfgsRun
from styleserve.optimizers.lbfgsb import LbfgsbRun
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS, resolve
from styleserve.recipes import OPTIMIZERS, Recipe, RecipeChanges
from support.toy import TOY_COSTS, ToyEvaluator, WavyEvaluator, plain_image, plain_style


class Clock:
    """Seconds that pass only when a test or an evaluation says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An engine on a bench: its evaluator, its clock, and what it reported."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[EngineEvent] = []
        self.evaluator = ToyEvaluator(before_step=self._evaluate)
        self.seconds_per_step = 1.0
        self.failure: Exception | None = None
        self.engine = Engine(self.evaluator, every_optimizer(self.evaluator), self.events.append, self.clock)

    def have_adam_plan(self, budget_bytes: int, **named: object) -> None:
        """Take an engine with Adam and the toy's model of costs, and as much memory."""
        costs = dataclasses.replace(TOY_COSTS, budget_bytes=budget_bytes)
        optimizers = {"adam": Adam(self.evaluator)}
        self.engine = Engine(self.evaluator, optimizers, self.events.append, self.clock, costs, **named)

    def _evaluate(self) -> None:
        self.clock.now += self.seconds_per_step
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        while self.engine.step():
            pass

    def of(self, job_id: str) -> list[JobEvent]:
        return [event for event in self.events if getattr(event, "job_id", None) == job_id]

    def last(self, job_id: str) -> JobEvent:
        return self.of(job_id)[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def classic(**changes: object) -> Recipe:
    return resolve(RecipeChanges(), RecipeChanges(preset="classic", **changes))


def small_steps(iterations: int) -> Recipe:
    """Adam whose first move is its learning rate, 0.05: epsilon is small and the moments are corrected."""
    settings = dataclasses.replace(PRESETS["standard"].adam, average_decay=0.0)
    return dataclasses.replace(classic(iterations=iterations), adam=settings)


def job(job_id: str, recipe: Recipe, size: int = 4, **changes: object) -> JobSpecification:
    return JobSpecification(job_id, plain_image(0.2, size, size), (plain_style(0.6),), recipe, **changes)


def test_adam_takes_the_moves_of_the_worked_arithmetic(bench):
    bench.engine.accept(job("a", small_steps(1)))
    bench.run()
    started, _, first, second, finished = bench.of("a")
    assert isinstance(started, Started)
    assert first.progress.losses.total == pytest.approx(3.84)
    assert second.progress.losses.total == pytest.approx(2.94, rel=1e-4)
    np.testing.assert_allclose(finished.pixels, 0.25, atol=1e-4)
    assert (finished.stop_reason, finished.progress.iteration, finished.progress.evaluations) == ("completed", 1, 2)
    assert finished.network_passes == 3


def test_lbfgsb_finds_the_target(bench):
    bench.engine.accept(job("a", classic(optimizer="lbfgsb", iterations=50)))
    bench.run()
    finished = bench.last("a")
    np.testing.assert_allclose(finished.pixels, 0.6, atol=1e-3)
    assert finished.stop_reason == "converged"
    assert finished.progress.iteration < 50


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_iterations_judge_the_start_and_return_it(bench, optimizer):
    bench.engine.accept(job("a", classic(optimizer=optimizer, iterations=0)))
    bench.run()
    finished = bench.last("a")
    np.testing.assert_allclose(finished.pixels, 0.2, atol=1e-6)
    assert (finished.progress.evaluations, finished.progress.losses.total) == (1, pytest.approx(3.84))


def test_jobs_of_one_shape_share_a_batch_and_join_and_leave_between_steps(bench):
    bench.engine.accept(job("long", small_steps(8)))
    bench.engine.step()
    bench.engine.accept(job("short", small_steps(3)))
    bench.run()
    # Seconds are compared before two share a step: what one costs alone has to be known first.
    assert bench.evaluator.batches == [1, 1, 2, 2, 2, 1, 1, 1, 1, 1]


def test_jobs_of_other_shapes_and_optimizers_share_the_time(bench):
    bench.engine.accept(job("adam", small_steps(30)))
    bench.engine.accept(job("larger", small_steps(30), size=5))
    bench.engine.accept(job("lbfgsb", classic(optimizer="lbfgsb", iterations=30)))
    for _ in range(15):
        bench.engine.step()
    assert set(bench.evaluator.batches) == {1}
    order = [event.job_id for event in bench.events if isinstance(event, Progressed)]
    assert set(order[:4]) == {"adam", "larger", "lbfgsb"}
    assert abs(order.count("adam") - order.count("larger")) <= 1


class RoundingEvaluator(ToyEvaluator):
    """Rounds otherwise in a batch, as the kernels of some devices do."""

    def judge(self, form, canvases, targets):
        import tensorflow as tf

        losses, gradients = super().judge(form, canvases, targets)
        return losses, gradients * (1 + 1e-3 * tf.cast(tf.shape(canvases)[0] - 1, tf.float32))


def pictures_beside_each_other(names: str, max_batch: int) -> dict[str, np.ndarray]:
    events: list[EngineEvent] = []
    evaluator = RoundingEvaluator()
    engine = Engine(evaluator, {"adam": Adam(evaluator)}, events.append, max_batch=max_batch)
    for index, name in enumerate(names):
        engine.accept(dataclasses.replace(job(name, classic(iterations=12)), content=plain_image(0.1 * (index + 1))))
    while engine.step():
        pass
    return {event.job_id: event.pixels for event in events if isinstance(event, Finished)}


def test_without_batches_a_job_beside_others_gives_the_bytes_that_it_gives_alone():
    alone = pictures_beside_each_other("a", max_batch=1)["a"]
    np.testing.assert_array_equal(pictures_beside_each_other("abcd", max_batch=1)["a"], alone)
    assert not np.array_equal(pictures_beside_each_other("abcd", max_batch=8)["a"], alone)


def test_a_picture_does_not_depend_on_its_neighbours(bench):
    alone = Bench()
    alone.engine.accept(job("a", small_steps(5)))
    alone.run()
    bench.engine.accept(job("b", small_steps(3)))
    bench.engine.accept(job("a", small_steps(5)))
    bench.run()
    np.testing.assert_array_equal(bench.last("a").pixels, alone.last("a").pixels)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_pyramid_climbs_to_the_contents_size_and_counts_on(bench, optimizer):
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=8, optimizer=optimizer))
    bench.engine.accept(job("a", recipe, size=256))
    bench.run()
    progress = [event.progress for event in bench.of("a") if isinstance(event, Progressed)]
    assert [p.width for p in progress] == sorted(p.width for p in progress)
    assert {p.width for p in progress} == {64, 128, 256}
    assert [p.iteration for p in progress] == sorted(p.iteration for p in progress)
    finished = bench.last("a")
    assert finished.pixels.shape == (256, 256, 3)
    assert finished.progress.evaluations == len(progress)


def test_the_time_left_is_that_of_the_evaluations_left(bench):
    bench.engine.accept(job("a", small_steps(9)))
    bench.run()
    progress = [event.progress for event in bench.of("a") if isinstance(event, Progressed)]
    assert [(p.elapsed_s, p.eta_s) for p in progress] == [(k, pytest.approx(10 - k)) for k in range(1, 11)]


def test_a_job_is_told_what_it_will_take_before_its_first_evaluation(bench):
    bench.have_adam_plan(50 * 10**6)
    bench.engine.accept(job("a", resolve(RecipeChanges(), RecipeChanges(iterations=6, optimizer="adam")), size=256))
    bench.run()
    started, planned, first, *_ = bench.of("a")
    assert [type(event) for event in (started, planned, first)] == [Started, Planned, Progressed]
    assert planned.progress.losses is None
    assert (planned.progress.iteration, planned.progress.evaluations) == (0, 0)
    assert (planned.progress.width, planned.progress.height) == (first.progress.width, first.progress.height)
    assert planned.progress.total_iterations == first.progress.total_iterations
    assert planned.progress.estimate == first.progress.estimate
    assert planned.progress.eta_s == planned.progress.estimate.seconds


def test_a_job_is_told_of_with_every_piece_of_its_targets(bench):
    """At its first scale nothing is judged yet; at its second it is as far as the first one came, and later."""
    bench.evaluator.unseen = lambda content, styles: [7, 7]
    bench.evaluator.before_pixels = lambda num_pixels: bench._evaluate()
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=6, optimizer="adam"))
    bench.engine.accept(job("a", recipe, size=128))
    bench.run()
    told = [event for event in bench.of("a") if isinstance(event, Looked | Progressed)]
    (first, second, judged), rest = told[:3], told[3:]
    assert [type(event) for event in (first, second, judged)] == [Looked, Looked, Progressed]
    assert [(one.progress.losses, one.progress.elapsed_s) for one in (first, second)] == [(None, 1.0), (None, 2.0)]
    later = [rank for rank, event in enumerate(rest) if isinstance(event, Looked)]
    before, after = rest[later[0] - 1].progress, rest[later[0]].progress
    assert after == dataclasses.replace(before, elapsed_s=before.elapsed_s + 1, eta_s=after.eta_s)


def test_a_canvas_is_judged_in_tiles_at_the_scales_that_need_it(bench):
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=6, optimizer="adam"))
    bench.have_adam_plan(50 * 10**6)
    bench.engine.accept(job("a", recipe, size=256))
    sides = {}
    while bench.engine.step():
        sides.update(
            {run.state.canvas.shape[-2]: run.objective.tile_side for run in (j.run for j in bench.engine._jobs)}
        )
    assert sides[min(sides)] is None
    assert 128 <= sides[256] < 256
    assert isinstance(bench.last("a"), Finished)
    estimate = bench.last("a").progress.estimate
    assert estimate.tile_side == sides[256]


def test_what_a_process_takes_more_once_its_jobs_are_over_is_no_room_for_the_next(bench):
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=6, optimizer="adam"))
    bench.have_adam_plan(50 * 10**6, give_back=lambda: 20 * 10**6)
    estimates = []
    for job_id in "ab":
        bench.engine.accept(job(job_id, recipe, size=256))
        bench.run()
        estimates.append(bench.last(job_id).progress.estimate)
        assert bench.events[-1] == Settled(20 * 10**6)
    before, after = estimates
    assert after.tile_side < before.tile_side
    assert [event for event in bench.events if isinstance(event, Settled)] == 2 * [Settled(20 * 10**6)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_cancelling_stops_the_computing_before_the_next_evaluation(bench, optimizer):
    bench.engine.accept(job("a", classic(optimizer=optimizer, iterations=1000)))
    bench.engine.step()
    done = len(bench.evaluator.batches)
    bench.engine.accept(Cancel("a"))
    bench.run()
    assert len(bench.evaluator.batches) == done == 1
    assert bench.last("a") == Cancelled("a", network_passes=2, engine_s=1.0)


def test_a_job_that_waits_is_cancelled_without_computing(bench):
    bench.engine.accept(job("a", small_steps(3)))
    bench.engine.accept(Cancel("a"))
    bench.engine.accept(Cancel("unknown"))
    bench.run()
    assert bench.events == [Cancelled("a", network_passes=0, engine_s=0.0)]


def test_a_deadline_returns_the_best_canvas_before_it(bench):
    bench.engine.accept(job("a", small_steps(100), deadline=bench.clock.now + 5.5))
    bench.run()
    finished = bench.last("a")
    assert isinstance(finished, Finished)
    assert finished.stop_reason == "deadline"
    assert bench.clock.now <= 105.5
    assert finished.progress.evaluations == 5
    assert finished.pixels.mean() > 0.27


def test_a_deadline_on_a_small_scale_still_returns_the_full_size(bench):
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=100, optimizer="adam"))
    bench.engine.accept(job("a", recipe, size=256, deadline=bench.clock.now + 3.5))
    bench.run()
    assert bench.last("a").progress.width == 64
    assert bench.last("a").pixels.shape == (256, 256, 3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_deadline_right_after_a_change_of_scale_returns_the_canvas_carried_up(bench, optimizer):
    alone = Bench()
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=8, optimizer=optimizer))
    alone.engine.accept(job("a", recipe, size=256))
    alone.run()
    told = [event.progress for event in alone.of("a") if isinstance(event, Progressed)]
    small = [progress for progress in told if progress.width == told[0].width]
    bench.engine.accept(job("a", recipe, size=256, deadline=bench.clock.now + len(small) + 0.5))
    bench.run()
    finished = bench.last("a")
    assert isinstance(finished, Finished)
    assert finished.stop_reason == "deadline"
    assert finished.progress == dataclasses.replace(small[-1], eta_s=0.0)
    assert finished.pixels.shape == (256, 256, 3)
    assert finished.pixels.mean() > 0.21


def test_a_deadline_fails_the_job_where_that_was_asked(bench):
    bench.engine.accept(job("a", small_steps(100), deadline=bench.clock.now + 5.5, fails_at_deadline=True))
    bench.run()
    error = bench.last("a").error
    assert isinstance(error, RunTimeoutError)
    assert "ask for RETURN_BEST" in str(error)


def test_a_job_that_has_no_canvas_when_its_time_is_up_is_told_so_and_not_of_a_policy_that_it_has(bench):
    bench.engine.accept(job("a", small_steps(100), deadline=bench.clock.now - 1.0))
    bench.run()
    error = bench.last("a").error
    assert isinstance(error, RunTimeoutError)
    assert "time was up" in str(error)
    assert "no canvas" in str(error)
    assert "RETURN_BEST" not in str(error)


@pytest.mark.parametrize(("time_s", "left_s", "which"), [(1.6, 0.6, "first"), (5.5, 0.5, "next")])
def test_a_job_that_ends_because_the_time_left_is_too_little_is_told_so_and_not_that_it_was_up(
    bench, time_s, left_s, which
):
    """A step takes a second."""
    bench.engine.accept(job("a", small_steps(100), deadline=bench.clock.now + time_s, fails_at_deadline=True))
    bench.run()
    error = bench.last("a").error
    assert isinstance(error, RunTimeoutError)
    assert error.left_s == pytest.approx(left_s, abs=0.01)
    assert str(error).startswith(f"the {left_s:.2f} s that were left to the job were too few for its {which} iteration")
    assert "was up" not in str(error)
    assert "allow more time" in str(error)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_job_whose_time_is_up_before_its_first_iteration_has_nothing_to_return(bench, optimizer):
    recipe = classic(iterations=100, optimizer=optimizer)
    bench.engine.accept(job("short", recipe, deadline=bench.clock.now + 1.5))
    bench.run()
    failed = bench.last("short")
    assert [event.progress.iteration for event in bench.of("short") if isinstance(event, Progressed)] == [0]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RunTimeoutError)
    assert "too few for its first iteration" in str(failed.error)
    bench.engine.accept(job("none", classic(iterations=0, optimizer=optimizer), deadline=bench.clock.now + 1.5))
    bench.run()
    assert bench.last("none").stop_reason == "completed"


def test_a_loss_that_is_not_finite_ends_the_job_as_diverged_and_no_other(bench):
    bad = dataclasses.replace(job("bad", small_steps(5)), content=plain_image(float("nan")))
    bench.engine.accept(bad)
    bench.engine.accept(job("good", small_steps(5)))
    bench.run()
    assert isinstance(bench.last("bad").error, DivergedError)
    assert isinstance(bench.last("good"), Finished)


def test_a_loss_that_is_not_finite_ends_a_line_search_too(bench):
    bench.engine.accept(dataclasses.replace(job("bad", classic(optimizer="lbfgsb")), content=plain_image(float("nan"))))
    bench.run()
    assert isinstance(bench.last("bad").error, DivergedError)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fault_in_a_step_fails_its_jobs_and_the_engine_lives_on(bench, optimizer):
    bench.failure = MemoryError("secret")
    bench.engine.accept(job("bad", classic(optimizer=optimizer)))
    bench.run()
    assert isinstance(bench.last("bad"), Failed)
    assert isinstance(bench.last("bad").error, EngineError)
    assert "secret" not in str(bench.last("bad").error)
    bench.failure = None
    bench.engine.accept(job("good", classic(optimizer=optimizer, iterations=2)))
    bench.run()
    assert isinstance(bench.last("good"), Finished)


def test_a_step_that_fails_for_several_jobs_is_told_of_each(bench, caplog):
    for name in ("a", "b"):
        bench.engine.accept(job(name, small_steps(9)))
    while bench.evaluator.batches[-1:] != [2]:
        bench.engine.step()
    bench.failure = MemoryError()
    bench.engine.step()
    assert [record.job for record in caplog.records] == ["a", "b"]


class DamagingEvaluator(WavyEvaluator):
    """Judges canvases that are to become `colour` without a gradient as soon as there are others beside them."""

    colour = 0.8

    def evaluate(self, canvases, objectives):
        evaluations = super().evaluate(canvases, objectives)
        return [
            dataclasses.replace(evaluation, gradient=None)
            if len(canvases) > 1 and np.allclose(objective.target, self.colour)
            else evaluation
            for evaluation, objective in zip(evaluations, objectives, strict=True)
        ]


def test_a_search_that_fails_fails_alone(bench, caplog):
    evaluator = DamagingEvaluator(bench._evaluate)
    bench.engine = Engine(evaluator, every_optimizer(evaluator), bench.events.append, bench.clock)
    recipe = classic(optimizer="lbfgsb", iterations=20)
    bench.engine.accept(job("good", recipe))
    bench.engine.accept(dataclasses.replace(job("bad", recipe), styles=(plain_style(evaluator.colour),)))
    bench.run()
    assert isinstance(bench.last("bad").error, EngineError)
    assert "bad cannot go on" in caplog.text
    assert isinstance(bench.last("good"), Finished)


def test_a_job_that_cannot_be_begun_fails_alone(bench):
    broken = dataclasses.replace(plain_style(0.6), data=b"no image")
    bench.engine.accept(dataclasses.replace(job("bad", small_steps(1)), styles=(broken,)))
    bench.engine.accept(job("good", small_steps(1)))
    bench.run()
    assert isinstance(bench.last("bad").error, EngineError)
    assert isinstance(bench.last("good"), Finished)


def test_previews_come_at_their_interval_and_at_their_size(bench):
    bench.engine.accept(job("a", small_steps(9), size=64))
    bench.engine.accept(Preview("a", max_side=32, interval_s=3.0))
    bench.run()
    previews = [event for event in bench.of("a") if isinstance(event, Previewed)]
    assert 3 <= len(previews) <= 5
    assert {preview.pixels.shape for preview in previews} == {(32, 32, 3)}
    assert previews[0].pixels.dtype == np.uint8
    assert abs(int(previews[0].pixels.mean()) - 0.25 * 255) < 2


def test_previews_come_no_more_often_for_watchers_who_come_and_go(bench):
    bench.engine.accept(job("a", small_steps(9), size=64))
    for _ in range(9):
        for max_side in (32, 0, 32):
            bench.engine.accept(Preview("a", max_side=max_side, interval_s=3.0))
        bench.engine.step()
    bench.run()
    assert 3 <= len([event for event in bench.of("a") if isinstance(event, Previewed)]) <= 5


def test_previews_stop_when_nobody_wants_them_any_more(bench):
    bench.engine.accept(job("a", small_steps(9)))
    bench.engine.accept(Preview("a", max_side=32, interval_s=0.5))
    bench.engine.step()
    bench.engine.accept(Preview("a", max_side=0, interval_s=0.5))
    bench.run()
    assert len([event for event in bench.of("a") if isinstance(event, Previewed)]) == 1


def test_targets_that_cannot_be_prepared_are_told_so_that_others_may_follow(bench, monkeypatch):
    def fail(style: StyleImage) -> None:
        raise ValueError("no image")

    monkeypatch.setattr(bench.evaluator, "prepare", fail)
    style = plain_style(0.1)
    bench.engine.accept(Prepare(style))
    bench.run()
    assert bench.events.count(Unprepared(style.key)) == 1


def test_targets_are_prepared_only_while_nobody_waits(bench):
    bench.engine.accept(Prepare(plain_style(0.1)))
    bench.engine.accept(job("a", small_steps(2)))
    bench.run()
    ends = [type(event) for event in bench.events if isinstance(event, Prepared | Finished)]
    assert ends == [Finished, Prepared]


def test_a_blend_is_judged_against_the_weighted_mean(bench):
    styles = (plain_style(0.2, weight=0.25), plain_style(0.6, weight=0.75))
    blend = dataclasses.replace(job("a", classic(optimizer="lbfgsb", iterations=50)), styles=styles)
    bench.engine.accept(blend)
    bench.run()
    np.testing.assert_allclose(bench.last("a").pixels, 0.5, atol=5e-3)


def test_noise_starts_from_its_seed(bench):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        bench.engine.accept(job(name, classic(init="noise", iterations=0, seed=seed)))
    bench.run()
    a, b, c = (bench.last(name).pixels for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_losses_are_finite_only_if_every_term_is():
    assert Losses(1.0, 0.5, 0.5, 0.0).is_finite
    assert not Losses(1.0, float("inf"), 0.5, 0.0).is_finite


def worked(bench) -> list[Worked]:
    return [event for event in bench.events if isinstance(event, Worked)]


def test_what_was_done_is_told_at_the_end_with_every_pass_counted(bench):
    for name in "ab":
        bench.engine.accept(job(name, small_steps(3)))
    bench.run()
    told = worked(bench)
    steps = [step for event in told for step in event.steps]
    assert sum(step.num_canvases for step in steps) == sum(bench.evaluator.batches) == 2 * (3 + 1)
    assert sum(event.target_passes for event in told) == 2
    assert {(step.num_pixels, step.seconds) for step in steps} == {(16, 1.0)}


@pytest.mark.parametrize("part", ["preview", "result"])
def test_a_picture_that_cannot_be_made_ends_no_other_job(bench, monkeypatch, part):
    for name in "ab":
        bench.engine.accept(job(name, classic(iterations=3, optimizer="lbfgs")))
    bench.engine.accept(Preview("a", 16, 0.0))
    bench.engine.step()
    broken = bench.engine._jobs[0].run

    def fail(run, *_):
        if run is broken:
            raise MemoryError
        return run.vectors.best if part == "result" else images.to_uint8(run.vectors.best)

    monkeypatch.setattr(type(broken), part, fail)
    bench.run()
    assert isinstance(bench.last("b"), Finished)
    assert isinstance(bench.last("a"), Failed if part == "result" else Finished)


def test_passes_for_the_targets_of_every_scale_are_told(bench):
    bench.engine.accept(job("a", resolve(RecipeChanges(), RecipeChanges(iterations=6, optimizer="adam")), size=256))
    bench.run()
    told = worked(bench)
    evaluations = sum(step.num_canvases for event in told for step in event.steps)
    assert sum(event.target_passes for event in told) == len({step.num_pixels for e in told for step in e.steps}) == 3
    assert evaluations + 3 == bench.last("a").network_passes


def test_what_was_done_is_told_about_once_a_second_however_quick_the_steps_are(bench):
    bench.seconds_per_step = 0.01
    bench.engine.accept(job("a", small_steps(350)))
    bench.run()
    counts = [len(event.steps) for event in worked(bench)]
    assert sum(counts) == 351
    assert len(counts) == 4


def test_seconds_of_a_shared_step_are_shared(bench):
    for name in "ab":
        bench.engine.accept(job(name, small_steps(3)))
    bench.run()
    spent_s = sum(bench.last(name).engine_s for name in "ab")
    assert spent_s == pytest.approx(len(bench.evaluator.batches) * bench.seconds_per_step)


def test_of_many_that_come_at_once_as_many_are_begun_as_take_no_longer_than_a_step(bench, monkeypatch):
    make_objective = bench.evaluator.objective

    def take_time(*arguments, **named):
        bench.clock.now += 0.3
        return make_objective(*arguments, **named)

    bench.engine.accept(job("large", classic(iterations=9), size=1000))  # whose step is expected to take a second
    bench.engine.step()
    monkeypatch.setattr(bench.evaluator, "objective", take_time)
    for number in range(6):
        bench.engine.accept(job(f"small {number}", classic(iterations=9)))
    for wanted in (4, 6):
        bench.engine.step()
        assert sum(isinstance(event, Started) for event in bench.events) == 1 + wanted


def test_what_beginning_a_job_takes_counts_as_its_time(bench, monkeypatch):
    make_objective = bench.evaluator.objective

    def take_time(*arguments, **named):
        bench.clock.now += 3.5
        return make_objective(*arguments, **named)

    bench.engine.accept(job("a", classic(iterations=20), size=5))
    bench.engine.step()
    monkeypatch.setattr(bench.evaluator, "objective", take_time)
    bench.engine.accept(job("b", classic(iterations=20), size=4))
    for _ in range(5):
        bench.engine.step()
    judged = [event for event in bench.of("b") if isinstance(event, Progressed)]
    assert len(judged) == 1, "it is begun, judged, and then owes the other the seconds of its targets"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_scale_begins_with_what_the_one_before_found_and_the_contents_detail_once_that_has_let_go(
    optimizer, monkeypatch
):
    content = 0.25 + 0.5 * images.noise(128, 128, seed=0)
    evaluator = ToyEvaluator()
    optimizers = every_optimizer(evaluator)
    kind, start = {"adam": AdamRun, "lbfgs": LbfgsRun, "lbfgsb": LbfgsbRun}[optimizer], optimizers[optimizer].start
    close = kind.close
    told: list[tuple[str, Pixels]] = []
    monkeypatch.setattr(kind, "close", lambda run: (told.append(("found", run.result())), close(run))[1])
    monkeypatch.setattr(
        optimizers[optimizer],
        "start",
        lambda canvas, *others: (told.append(("begins", canvas)), start(canvas, *others))[1],
    )
    engine = Engine(evaluator, optimizers, lambda event: None)
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="standard", optimizer=optimizer, iterations=4))
    engine.accept(JobSpecification("a", content, (plain_style(0.5),), recipe))
    while engine.step():
        pass
    (_, _), (first, found), (then, canvas), *_ = told
    assert (first, then, found.shape) == ("found", "begins", (64, 64, 3))
    np.testing.assert_array_equal(canvas, detail.grow(found, content, recipe))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_memory_is_given_back_before_every_climb_and_when_a_job_is_over(optimizer):
    told: list[str] = []
    evaluator = ToyEvaluator(before_pixels=lambda num_pixels: told.append(f"{num_pixels} pixels"))
    engine = Engine(evaluator, every_optimizer(evaluator), lambda event: None, give_back=lambda: told.append("gives"))
    recipe = resolve(RecipeChanges(), RecipeChanges(preset="standard", optimizer=optimizer, iterations=4))
    engine.accept(JobSpecification("a", plain_image(0.2, 128, 128), (plain_style(0.5),), recipe))
    while engine.step():
        pass
    changes = [now for before, now in zip(["", *told], told, strict=False) if now != before]
    assert changes == ["4096 pixels", "gives", "16384 pixels", "gives"]
    assert told.count("gives") == 2, "each time takes a while"


def test_the_end_of_a_job_beside_others_is_told_before_memory_is_given_back():
    told: list[str] = []
    evaluator = ToyEvaluator()
    engine = Engine(
        evaluator,
        every_optimizer(evaluator),
        lambda event: told.append(type(event).__name__),
        give_back=lambda: told.append("gives"),
    )
    for job_id, iterations in (("short", 1), ("cancelled", 50), ("long", 50)):
        engine.accept(job(job_id, classic(iterations=iterations)))
    while "Finished" not in told:
        engine.step()
    engine.accept(Cancel("cancelled"))
    changes = [now for now in told if now in ("Finished", "Cancelled", "gives")]
    assert changes == ["Finished", "gives", "Cancelled", "gives"]
