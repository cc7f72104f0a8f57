"""Small jobs with near deadlines beside large ones: who goes first, who waits, and for how long.

A step of 128 pixels takes 1.6 seconds, one of 512 takes 26.2; a tile of it, of eight, 3.3.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import pytest

from styleserve.costs import Line
from styleserve.engine.deadlines import Deadlines
from styleserve.engine.pace import UNKNOWN_MARGIN, Expectation, Pace
from styleserve.engine.scheduler import Scheduler
from styleserve.engine.specification import Cancel, JobSpecification, Prepare
from styleserve.evaluation import Piece
from styleserve.events import Busy, Cancelled, EngineEvent, Finished, Prepared, Progressed, Worked
from styleserve.recipes import OPTIMIZERS
from support.studio import COST, COSTS, S_PER_PIXEL, START, Studio, job
from support.toy import ToyEvaluator, ToyObjective, plain_style

_LARGE_S = 26.2
_NUM_PIECES = 8
_CALIBRATION_S = 6.5


def one_scale(deadline_s: float, job_id: str, size: int, iterations: int = 400, **changes) -> JobSpecification:
    specification = job(deadline_s, job_id, size=size, **changes)
    recipe = dataclasses.replace(specification.recipe, pyramid=None, iterations=iterations)
    return dataclasses.replace(specification, recipe=recipe)


def without_deadline(specification: JobSpecification) -> JobSpecification:
    return dataclasses.replace(specification, deadline=None)


def run_until_ended(studio: Studio, job_id: str) -> None:
    while job_id not in studio.ended:
        assert studio.now < START + 1000
        studio.engine.step()


def seconds_of(studio: Studio, job_id: str) -> float:
    """The engine's seconds for a job, as it told them last."""
    return [event.engine_s for event in studio.events if isinstance(event, Progressed) and event.job_id == job_id][-1]


@pytest.mark.parametrize("deadline_s", [8.0, 20.0, 50.0])
def test_a_small_job_beside_a_large_one_uses_its_time_to_the_end(deadline_s):
    studio = Studio()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512)))
    studio.engine.accept(one_scale(deadline_s, "small", 128))
    run_until_ended(studio, "small")
    assert 0.8 * deadline_s <= studio.ended["small"] <= deadline_s
    assert studio.finished("small").stop_reason == "deadline"


def crowd(studio: Studio, until: float) -> None:
    """Small jobs with 10 seconds of time each, a new one every 5 seconds."""
    number = 0
    while studio.now < until:
        if studio.now >= START + 5 * number:
            studio.engine.accept(one_scale(studio.now - START + 10.0, f"small-{number}", 128))
            number += 1
        studio.engine.step()


def test_near_deadlines_of_many_hold_a_large_job_up_for_one_of_its_steps_at_most():
    studio = Studio()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512)))
    crowd(studio, START + 600)
    told = [START, *(event.progress.elapsed_s + START for event in studio.events if is_of(event, "large"))]
    # A share of its own, what the small ones may be ahead, and its step.
    assert max(later - earlier for earlier, later in itertools.pairwise(told)) <= 3.2 * _LARGE_S
    assert seconds_of(studio, "large") >= 0.4 * 600


def is_of(event: EngineEvent, job_id: str) -> bool:
    return isinstance(event, Progressed) and event.job_id == job_id


class CalibratingEvaluator(ToyEvaluator):
    """Looks at a content at 256 pixels at most before anything else."""

    def calibrate(self, content, recipe):
        self.before_pixels(min(content.shape[0], 256) ** 2)
        return super().calibrate(content, recipe)


def told_of_a_small_job_before_a_large_one(studio: Studio, optimizer: str) -> list[float]:
    """When a small job told how far it is, in seconds, until a large one beside it was judged for the first time."""
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=3, optimizer=optimizer)))
    studio.engine.accept(without_deadline(one_scale(0.0, "small", 128)))
    while not any(is_of(event, "large") for event in studio.events):
        studio.engine.step()
    told = [event.progress.elapsed_s for event in studio.events if is_of(event, "small")]
    assert len(told) >= 8
    return told


def dear_targets() -> Studio:
    """A studio in which targets, in eight pieces, take as long as an evaluation, and so does a look at the content."""
    cost = dataclasses.replace(COST, content_seconds=Line(0.0, 1e-4))
    costs = dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs))
    studio = Studio(costs=costs, make_evaluator=CalibratingEvaluator)
    studio.evaluator.unseen = lambda content, styles: _NUM_PIECES * [content[..., 0].size // _NUM_PIECES]
    return studio


def test_how_long_a_job_may_run_counts_from_its_beginning():
    studio = dear_targets()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512)))
    waiting = without_deadline(one_scale(0.0, "small", 128))
    studio.engine.accept(dataclasses.replace(waiting, run_timeout_s=10.0))
    run_until_ended(studio, "small")
    assert studio.begun["small"] > _CALIBRATION_S
    assert 8.0 <= studio.ended["small"] - studio.begun["small"] <= 10.0


def test_the_targets_of_a_large_job_make_no_small_one_late():
    studio = dear_targets()
    studio.engine.accept(one_scale(20.0, "small", 128))
    studio.engine.step()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=1)))
    studio.run()
    assert 16.0 <= studio.ended["small"] <= 20.0
    assert isinstance(studio.finished("large"), Finished)


def test_a_large_job_waits_for_small_ones_no_longer_than_its_beginning_takes():
    studio = dear_targets()
    deadlines_s = (25.0, 33.0, 45.0)
    for deadline_s in deadlines_s:
        studio.engine.accept(one_scale(deadline_s, f"small-{deadline_s}", 128))
    while not all(len(studio.progress(f"small-{deadline_s}")) >= 2 for deadline_s in deadlines_s):
        studio.engine.step()
    accepted = studio.now - START
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=1)))
    studio.run()
    most_s = UNKNOWN_MARGIN * _CALIBRATION_S
    assert 0.8 * most_s <= studio.begun["large"] - accepted <= 1.2 * most_s
    assert 0.8 * 25.0 <= studio.ended["small-25.0"] <= 25.0
    # This one had to end before its time: the large one had waited long enough.
    assert studio.ended["small-33.0"] <= studio.begun["large"] + 0.1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_others_are_served_between_the_pieces_of_a_large_canvass_targets(optimizer):
    studio = dear_targets()
    told = told_of_a_small_job_before_a_large_one(studio, optimizer)
    assert max(later - earlier for earlier, later in itertools.pairwise(told)) <= 2 * _LARGE_S / _NUM_PIECES
    assert told[-1] > _LARGE_S


def test_a_job_is_cancelled_between_the_pieces_of_its_targets():
    studio = dear_targets()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512)))
    for _ in range(3):
        studio.engine.step()
    studio.engine.accept(Cancel("large"))
    studio.run()
    assert isinstance(studio.events[-1], Cancelled)
    assert studio.now - START == pytest.approx(_CALIBRATION_S + 3 * _LARGE_S / _NUM_PIECES, rel=0.01)


def test_a_job_climbs_beside_a_small_one_that_would_be_late_for_all_its_targets():
    studio = dear_targets()
    climbing = dataclasses.replace(job(0.0, "large", size=512), deadline=None)
    studio.engine.accept(climbing)
    studio.engine.step()
    (large,) = studio.engine._jobs
    before_last = sum(scale.iterations for scale in large.scales[:-1])
    while large.judged is None or large.judged.iteration < before_last - 1:
        studio.engine.step()
    deadline_s = studio.now - START + 20.0
    studio.engine.accept(one_scale(deadline_s, "small", 64))
    run_until_ended(studio, "small")
    assert deadline_s - 4.0 <= studio.ended["small"] <= deadline_s
    studio.run()
    assert studio.finished("large").stop_reason == "completed"


@dataclass
class TiledObjective(ToyObjective):
    """Judged in eight pieces."""

    num_judged: int = 0

    @property
    def piece(self) -> Piece:
        return Piece("tile", 1 / _NUM_PIECES)


class TiledEvaluator(ToyEvaluator):
    """Judges large canvases in pieces."""

    def objective(self, content, styles, recipe, tile_side=None):
        whole = super().objective(content, styles, recipe, tile_side)
        return whole if content.shape[0] < 512 else TiledObjective(whole.target, tile_side=128)

    def evaluate(self, canvases, objectives):
        (objective, *others), (canvas, *_) = objectives, canvases
        if not isinstance(objective, TiledObjective):
            return super().evaluate(canvases, objectives)
        assert others == []
        self.before_pixels(canvas.shape[0] * canvas.shape[1] // _NUM_PIECES)
        objective.num_judged += 1
        return [self._evaluate(canvas, objective) if objective.num_judged % _NUM_PIECES == 0 else None]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_others_are_served_between_the_tiles_of_a_large_canvas(optimizer):
    studio = Studio(make_evaluator=TiledEvaluator)
    told = told_of_a_small_job_before_a_large_one(studio, optimizer)
    assert max(later - earlier for earlier, later in itertools.pairwise(told)) <= 2 * _LARGE_S / _NUM_PIECES
    studio.engine.accept(Cancel("small"))
    studio.run()
    whole = Studio()
    whole.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=3, optimizer=optimizer)))
    whole.run()
    finished, expected = (of.finished("large") for of in (studio, whole))
    assert finished.progress.losses.total == pytest.approx(expected.progress.losses.total, abs=1e-3)
    assert finished.progress.evaluations == expected.progress.evaluations
    assert finished.network_passes == expected.network_passes


def test_a_canvas_in_tiles_is_told_to_have_been_judged_once_in_the_seconds_of_all_its_tiles():
    studio = Studio(make_evaluator=TiledEvaluator)
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=3)))
    studio.run()
    steps = [step for event in studio.events if isinstance(event, Worked) for step in event.steps]
    assert [(step.num_canvases, step.num_pixels) for step in steps] == [(1, 512 * 512)] * 4
    assert [step.seconds for step in steps] == pytest.approx([_LARGE_S] * 4, rel=0.01)


def test_a_large_canvas_in_tiles_is_cancelled_and_ended_between_them():
    studio = Studio(make_evaluator=TiledEvaluator)
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512)))
    for _ in range(_NUM_PIECES + 3):
        studio.engine.step()
    studio.engine.accept(Cancel("large"))
    studio.run()
    assert studio.events[-1] == Cancelled(
        "large", network_passes=2, engine_s=pytest.approx(11 * _LARGE_S / 8, rel=0.01)
    )
    studio.engine.accept(one_scale(studio.now - START + 60.0, "timed", 512))
    began = studio.now - START
    studio.run()
    assert studio.finished("timed").progress.evaluations == 2
    assert began + 0.8 * 60.0 <= studio.ended["timed"] <= began + 60.0


def test_long_steps_are_told_of_before_they_begin():
    studio = Studio()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=2)))
    studio.engine.accept(without_deadline(one_scale(0.0, "small", 32, iterations=10)))
    studio.run()
    told = [event for event in studio.events if isinstance(event, Busy) or is_of(event, "large")]
    # Every step of the large job follows on its announcement, and those of the small one, of 0.1 s, have none.
    assert [type(event) for event in told] == 3 * [Busy, Progressed]
    # Of the first no more is known than what was predicted.
    likely_s = [UNKNOWN_MARGIN * _LARGE_S, _LARGE_S, _LARGE_S]
    assert [event.seconds for event in told[::2]] == pytest.approx(likely_s, rel=0.01)


def test_a_style_that_is_prepared_keeps_a_new_job_waiting_for_one_piece_that_was_told_of_before():
    cost = dataclasses.replace(COST, style_seconds=Line(0.0, S_PER_PIXEL))
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    studio.evaluator.unprepared = (128**2, 256**2, 256**2, 256**2)
    studio.engine.accept(Prepare(plain_style(0.1)))
    for _ in range(3):
        studio.engine.step()
    # The first of a kind is told of as predicted, and with the margin for that; the next as the one before it was.
    likely_s = [UNKNOWN_MARGIN * 1.6384, UNKNOWN_MARGIN * 6.5536, 6.5536]
    assert [event.seconds for event in studio.events if isinstance(event, Busy)] == pytest.approx(likely_s)
    studio.engine.accept(one_scale(studio.now - START + 10.0, "new", 64))
    begun = studio.now - START
    studio.run()
    assert studio.begun["new"] == begun
    assert [type(event) for event in studio.events if isinstance(event, Finished | Prepared)] == [Finished, Prepared]


def test_a_look_at_a_large_content_is_told_of_before_a_job_begins():
    studio = dear_targets()
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=1)))
    studio.engine.step()
    told = next(event for event in studio.events if isinstance(event, Busy))
    assert told.seconds == pytest.approx(UNKNOWN_MARGIN * _CALIBRATION_S, rel=0.01)


def test_a_look_is_not_told_of_as_the_first_evaluation_of_a_scale_which_takes_more():
    cost = dataclasses.replace(COST, first_seconds=Line(100.0, 0.0))
    studio = Studio(costs=dataclasses.replace(COSTS, costs=tuple((recipe, cost) for recipe, _ in COSTS.costs)))
    studio.evaluator.unseen = lambda content, styles: [content[..., 0].size]
    studio.engine.accept(without_deadline(one_scale(0.0, "large", 512, iterations=1)))
    studio.run()
    look, first, *_ = (event.seconds for event in studio.events if isinstance(event, Busy))
    assert look == pytest.approx(UNKNOWN_MARGIN * _LARGE_S, rel=0.01)
    assert first == pytest.approx(UNKNOWN_MARGIN * (_LARGE_S + 100.0), rel=0.01)


def held_up(studio: Studio, seconds: float) -> None:
    """One evaluation of a job takes so much longer, in which its time passes."""
    studio.engine.accept(one_scale(10.0, "held-up", 128))
    while len(studio.progress("held-up")) < 3:
        studio.engine.step()
    studio.halt_s = seconds
    studio.run()
    assert studio.finished("held-up").stop_reason == "deadline"


@pytest.mark.parametrize("later_s", [0.0, 3600.0])
def test_after_one_step_that_was_held_up_jobs_with_near_deadlines_have_their_pictures(later_s):
    studio = Studio()
    held_up(studio, 20.0)
    studio.now += later_s
    for number in range(8):
        studio.engine.accept(one_scale(studio.now - START + 10.0, f"later-{number}", 128))
        studio.run()
    ended = [studio.finished(f"later-{number}").progress for number in range(8)]
    assert all(progress.iteration >= 1 for progress in ended)
    if later_s:
        assert all(8.0 <= progress.elapsed_s <= 10.0 for progress in ended)


@dataclass
class Painted:
    """A job that has a canvas to return; steps of one and of two such jobs take 1.0 and 1.9 seconds."""

    job_id: str
    deadline: float | None
    batch_key: str = "alike"
    pace_key: str = "alike"
    last_served: int = -1
    num_pixels: int = 128 * 128
    is_in_pieces: bool = False
    step_s: float = 1.0
    first_s: float = 0.0
    has_painted: bool = True

    @property
    def specification(self) -> "Painted":
        return self


@pytest.mark.parametrize(
    ("deadlines", "chosen", "late"),
    [((1.6, None), ["0"], []), ((1.6, 1.7), ["0"], []), ((1.0, None), ["0", "1"], ["0"])],
)
def test_a_job_goes_alone_where_it_has_too_little_time_for_the_batch_that_it_is_in(deadlines, chosen, late):
    jobs = [Painted(str(number), deadline) for number, deadline in enumerate(deadlines)]
    scheduler, pace = Scheduler(), Pace()
    for number, seconds in ((1, 1.0), (1, 1.0), (2, 1.9), (2, 1.9), (1, 1.0), (2, 1.9)):
        pace.record(Expectation.of(jobs[:number]), seconds)
        scheduler.record("alike", number, seconds)
    batch, too_late = Deadlines(pace, scheduler, lambda: 0.0).choose(jobs)
    assert ([job.job_id for job in batch], [job.job_id for job in too_late]) == (chosen, late)
