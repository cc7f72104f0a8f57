"""A job's cost: seconds of every engine that worked for it count, each once."""

import dataclasses
import gc
import weakref

import pytest

from styleserve.costs import Estimate
from styleserve.errors import StorageError
from styleserve.evaluation import Losses
from styleserve.events import Planned, Progress, Resumed
from styleserve.jobs.job import Job
from styleserve.jobs.submission import Output, Submission
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges


@pytest.fixture
def job() -> Job:
    submission = Submission(
        caller="one",
        content_digest="c",
        styles=(),
        recipe=resolve(RecipeChanges(), RecipeChanges()),
        output=Output(64, 64),
        fingerprint="f",
        priority=0,
        labels={},
    )
    return Job.admit("a", 1, submission, 60.0)


def test_seconds_until_the_checkpoint_count_once_and_those_after_it_although_they_are_lost(job):
    job.count_work(10.0)
    job.lose_engine()
    job.resume(Resumed("a", iteration=8, engine_s=8.0))
    job.count_work(9.0)
    assert job.engine_s == 11.0
    job.lose_engine()
    job.resume(Resumed("a", iteration=9, engine_s=9.0))
    job.count_work(12.0)
    assert job.engine_s == 14.0


def test_a_job_that_begins_anew_has_cost_what_it_did_before_too(job):
    job.count_work(10.0)
    job.lose_engine()
    job.count_work(1.5)
    assert job.engine_s == 11.5


def test_what_an_earlier_server_wrote_down_counts(job):
    job.resume(Resumed("a", iteration=8, engine_s=8.0))
    job.count_work(8.5)
    assert job.engine_s == 8.5


def test_a_plan_is_shown_until_a_canvas_is_judged_and_the_next_engines_takes_its_place(job):
    job.start()
    job.plan(planned(seconds=60.0))
    assert job.status.progress.eta_s == 60.0
    job.lose_engine()
    job.start()
    job.plan(planned(seconds=90.0))
    assert job.status.progress.eta_s == 90.0
    job.advance(dataclasses.replace(planned(80.0).progress, iteration=1, losses=Losses(2.0, 1.0, 1.0, 0.0)))
    job.lose_engine()
    job.start()
    job.plan(planned(seconds=95.0))
    assert job.status.progress.eta_s == 80.0, "how far it was says more"


def test_what_is_told_while_the_engine_looks_is_shown_unless_an_earlier_one_came_further(job):
    job.start()
    job.plan(planned(seconds=60.0))
    job.look(planned(seconds=50.0).progress)
    assert job.status.progress.eta_s == 50.0
    judged = dataclasses.replace(planned(40.0).progress, iteration=1, losses=Losses(2.0, 1.0, 1.0, 0.0))
    job.advance(judged)
    job.look(dataclasses.replace(judged, eta_s=30.0))
    assert job.status.progress.eta_s == 30.0
    job.lose_engine()
    job.start()
    job.look(planned(seconds=95.0).progress)
    assert job.status.progress.eta_s == 30.0


def test_the_log_says_that_a_job_begins_anew_before_it_says_what_it_is_to_take(job):
    job.start()
    job.lose_engine()
    job.start()
    job.plan(planned(seconds=60.0))
    assert [line.text.split()[0] for line in job.journal.lines][-2:] == ["begins", "expected"]


class Picture:
    """Stands for pixels that are at hand where something fails."""


def test_what_ended_a_job_keeps_nothing_that_was_at_hand_where_it_was_raised(job):
    pictures = []

    def deliver():
        picture = Picture()
        pictures.append(weakref.ref(picture))
        raise StorageError

    try:
        deliver()
    except StorageError as error:
        job.fail(error)
    gc.collect()
    assert isinstance(job.status.error, StorageError)
    assert pictures[0]() is None


def planned(seconds: float) -> Planned:
    estimate = Estimate(10**9, seconds, tile_side=None)
    return Planned("a", Progress(0, 10, 0, None, 64, 64, 0.0, seconds, estimate))
