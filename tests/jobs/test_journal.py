"""A job's journal: words of ours for all that can happen, and never more than so many."""

import typing

import pytest

from styleserve.costs import Estimate
from styleserve.evaluation import Losses
from styleserve.events import Checkpointed, Planned, Progress, Resumed
from styleserve.jobs.journal import MAX_LINES, Journal
from styleserve.observing import happenings
from styleserve.observing.happenings import Admitted, Climbed, Computed, Ended, LostEngine, TakenUp, Waits

ESTIMATE = Estimate(2_000_000_000, 508.0, tile_side=256)
EXAMPLES = {
    type(happening): happening
    for happening in (
        Admitted("a"),
        happenings.Inherited("a"),
        happenings.Reused("a"),
        Waits("a", "", 3),
        TakenUp("a", 1.25),
        Planned("a", Progress(0, 180, 0, None, 1024, 1024, 0.1, 508.0, ESTIMATE)),
        Resumed("a", 40, engine_s=2.5),
        happenings.BegunAnew("a"),
        happenings.FirstJudged("a", 0.5),
        Climbed("a", 75, 128, 96),
        happenings.Advanced("a", 15, 16, Losses(2.0, 1.0, 1.0, 0.0), engine_s=0.3),
        Checkpointed("a", 80, 0.01, is_kept=True),
        LostEngine("a"),
        Computed("a", 150, 153, "completed"),
        Ended("a", "failed", 9.0, 8.0, "RUN_TIMEOUT"),
    )
}


def test_whatever_can_happen_to_a_job_has_words_or_is_known_to_need_none():
    assert set(EXAMPLES) == set(typing.get_args(happenings.JobHappening))
    journal = Journal()
    for happening in EXAMPLES.values():
        journal.note(happening)
    assert len(journal.lines) == len(EXAMPLES) - 2
    assert all(0 < len(line.text) < 200 for line in journal.lines)


@pytest.mark.parametrize(
    ("happening", "level", "text"),
    [
        (EXAMPLES[Waits], "info", "waits at place 3 of the queue"),
        (EXAMPLES[TakenUp], "info", "taken up by an engine after 1.2 s"),
        (EXAMPLES[Planned], "info", "expected to take 508.0 s and 2.00 GB, in tiles of 256 pixels"),
        (EXAMPLES[Climbed], "info", "works at 128 x 96 pixels from iteration 75 on"),
        (Checkpointed("a", 80, 0.01, is_kept=False), "warning", "could not be written down at iteration 80"),
        (EXAMPLES[LostEngine], "warning", "the engine was lost under it"),
        (EXAMPLES[happenings.BegunAnew], "warning", "begins anew"),
        (EXAMPLES[Ended], "error", "failed: RUN_TIMEOUT"),
    ],
)
def test_the_words_say_what_happened(happening, level, text):
    journal = Journal()
    journal.note(happening)
    (line,) = journal.lines
    assert line.level == level
    assert line.text.startswith(text)


def test_one_checkpoint_after_another_takes_one_line():
    journal = Journal()
    journal.note(Climbed("a", 0, 64, 48))
    for iteration in range(1000):
        journal.note(Checkpointed("a", iteration, 0.01, is_kept=True))
    assert [line.text for line in journal.lines][1:] == ["written down at iteration 999"]


def test_of_a_job_to_which_much_happens_the_last_is_kept():
    journal = Journal()
    for place in range(10 * MAX_LINES):
        journal.note(Waits("a", "", place))
    assert len(journal.lines) == MAX_LINES
    assert journal.lines[-1].text == f"waits at place {10 * MAX_LINES - 1} of the queue"
