"""The queue: whose turn it is, by priority and waiting within a caller, by seconds of the engine between callers."""

import dataclasses
import sys
import threading

from styleserve.jobs.job import Job
from styleserve.jobs.queue import AGEING_S, JobQueue
from styleserve.jobs.submission import Output, Submission
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges


def job(number, caller="one", priority=0, waited_s=0.0):
    submission = Submission(
        caller=caller,
        content_digest="c",
        styles=(),
        recipe=resolve(RecipeChanges(), RecipeChanges()),
        output=Output(64, 64),
        fingerprint="f",
        priority=priority,
        labels={},
    )
    made = Job.admit(f"job-{number}", number, submission, 60.0)
    created = dataclasses.replace(made.status, create_time=1e9 - waited_s)
    return Job(made.job_id, number, submission, created, made.feed, 60.0)


def queue(*jobs, seconds=lambda job: 1.0, max_jobs=64):
    made = JobQueue(max_jobs, seconds)
    for each in jobs:
        made.push(each)
    return made


def drained(jobs):
    """Numbers in the order in which the jobs get their turn."""
    numbers = []
    while len(jobs):
        first = next(jobs.in_order())
        jobs.take(first)
        numbers.append(first.number)
    return numbers


def test_jobs_of_one_caller_go_by_priority_then_by_waiting():
    assert drained(queue(job(1), job(2, priority=1), job(3), job(4, priority=1))) == [2, 4, 1, 3]


def test_waiting_counts_as_priority_so_that_nobody_waits_for_ever():
    patient = job(1, priority=0, waited_s=2.5 * AGEING_S)
    assert drained(queue(job(2, priority=2), patient)) == [1, 2]
    assert drained(queue(job(2, priority=3), patient)) == [2, 1]


def test_callers_take_turns_whoever_came_first_and_however_many_jobs_they_have():
    many = [job(number, "greedy") for number in range(1, 7)]
    assert drained(queue(*many, job(7, "modest"), job(8, "modest"))) == [1, 7, 2, 8, 3, 4, 5, 6]


def test_priority_is_worth_nothing_against_another_caller():
    loud = [job(number, "loud", priority=10) for number in (1, 2, 3)]
    assert drained(queue(*loud, job(4, "quiet", priority=-10))) == [1, 4, 2, 3]


def test_shares_are_counted_in_seconds_not_in_jobs():
    large = [job(number, "large") for number in range(1, 4)]
    small = [job(number, "small") for number in range(4, 14)]
    order = drained(queue(*large, *small, seconds=lambda job: 4.0 if job.submission.caller == "large" else 1.0))
    assert order == [1, 4, 5, 6, 7, 2, 8, 9, 10, 11, 3, 12, 13]


def test_time_that_a_caller_did_not_use_is_not_owed_to_it():
    busy = queue(*(job(number, "busy") for number in range(1, 11)))
    for _ in range(8):
        busy.take(next(busy.in_order()))
    for number in range(11, 15):
        busy.push(job(number, "late"))
    assert drained(busy)[:4] in ([9, 11, 10, 12], [11, 9, 12, 10])


def test_a_job_that_its_engine_lost_does_not_count_against_its_caller():
    waiting = queue(job(1, "one"), job(2, "two"), job(3, "one"), job(4, "two"))
    first = next(waiting.in_order())
    waiting.take(first)
    waiting.put_back(first)
    assert drained(waiting) == [1, 2, 3, 4]


def test_places_are_told_as_the_turns_will_come():
    waiting = [job(1, "greedy"), job(2, "greedy"), job(3, "modest")]
    queue(*waiting)
    assert [each.status.queue_position for each in waiting] == [1, 3, 2]


def test_a_job_that_leaves_makes_room_and_others_move_up():
    first, second = job(1), job(2)
    waiting = queue(first, second, max_jobs=2)
    assert not waiting.has_place(has_waited=True)
    waiting.remove(first)
    assert waiting.has_place(has_waited=False)
    assert first not in waiting
    assert second.status.queue_position == 1
    assert waiting.num_of("one") == 1
    assert waiting.num_of("nobody") == 0


def test_its_length_may_be_read_from_another_thread_while_callers_come_and_go():
    waiting, is_over, faults = queue(), threading.Event(), []

    def read() -> None:
        while not is_over.is_set():
            try:
                len(waiting)
            except RuntimeError as error:  # a dictionary changed while it was gone through
                faults.append(error)

    thread = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(20):
            jobs = [job(number, caller=f"caller {number}") for number in range(20)]
            for each in jobs:
                waiting.push(each)
            for each in jobs:
                waiting.remove(each)
    finally:
        sys.setswitchinterval(interval)
        is_over.set()
        thread.join()
    assert not faults


def test_jobs_of_unknown_length_wait_by_rank_alone():
    assert drained(queue(job(3, "one"), job(1, "two"), job(2, "one"), seconds=lambda job: 0.0)) == [1, 2, 3]


def test_the_last_quarter_of_the_places_is_for_those_who_came_back_when_they_were_told():
    waiting = queue(*(job(number) for number in range(1, 7)), max_jobs=8)
    assert not waiting.has_place(has_waited=False)
    assert waiting.has_place(has_waited=True)
    for number in (7, 8):
        waiting.push(job(number))
    assert not waiting.has_place(has_waited=True)
