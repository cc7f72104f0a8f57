"""Patience: says when a job has waited for as long as it may, in the queue or, without a canvas yet, at an engine.

Its `queue_timeout` counts from when it was submitted until it first leaves the queue, over restarts of the server too:
a job that has begun and lost its engine waits as long as its deadline lets it. So does one that left the queue: an
engine in a long step hears of no deadline and tells nothing, and the caller is to be told in time.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from styleserve.errors import QueueTimeoutError, RequestError, RunTimeoutError
from styleserve.jobs import timing
from styleserve.jobs.job import Job
from styleserve.jobs.passage import Passage

#: Seconds that a job may still wait, and what it fails with after them.
_Limit: TypeAlias = tuple[float, RequestError]


class Patience:
    """One timer for each job that waits and may not do so for ever; `give_up` hears of a job when its time is up.

    `way_out` is what a picture still has before it when an engine has made it.
    """

    def __init__(self, give_up: Callable[[Job, RequestError], None], way_out: Passage) -> None:
        self._give_up = give_up
        self._way_out = way_out
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, job: Job) -> None:
        """A job begins to wait in the queue."""
        self._set(job, [*_queue_limits(job), *_deadlines(job, self._way_out)])

    def hand_over(self, job: Job) -> None:
        """A job leaves the queue for an engine, which may not come to it before the job's deadline."""
        self._set(job, list(_deadlines(job, self._way_out)))

    def end(self, job: Job) -> None:
        """A job waits no more, or has a canvas to return at its deadline."""
        timer = self._timers.pop(job.job_id, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Give up none of those that wait: the next server takes them over."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _set(self, job: Job, limits: list[_Limit]) -> None:
        """Let the nearest of the limits end the job's patience, in the place of the one before."""
        self.end(job)
        if limits:
            left_s, error = min(limits, key=lambda limit: limit[0])
            loop = asyncio.get_running_loop()
            self._timers[job.job_id] = loop.call_later(max(0.0, left_s), self._give_up, job, error)


def _queue_limits(job: Job) -> Iterator[_Limit]:
    timeout_s = job.submission.queue_timeout_s
    if timeout_s is not None and job.status.start_time is None:
        yield job.status.create_time + timeout_s - time.time(), QueueTimeoutError()


def _deadlines(job: Job, way_out: Passage) -> Iterator[_Limit]:
    left_s = timing.left_s(job.submission, way_out)
    if left_s is not None:
        yield left_s, RunTimeoutError(has_canvas=False)
