"""A job's cost: seconds of every engine that worked for it count, each once."""

import pytest

from styleserve.events import Resumed
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
