"""Patience: says when a job has waited in the queue for as long as it may.

Its `queue_timeout` counts from when it was submitted until an engine takes it up for the first time, over restarts of
the server too: a job that has begun and lost its engine waits as long as its deadline lets it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from styleserve.errors import QueueTimeoutError, RequestError, RunTimeoutError
from styleserve.jobs import timing
from styleserve.jobs.job import Job
from styleserve.jobs.passage import Passage


class Patience:
    """One timer for each job that waits and may not do so for ever; `give_up` hears of a job when its time is up.

    `way_out` is what a picture still has before it when an engine has made it.
    """

    def __init__(self, give_up: Callable[[Job, RequestError], None], way_out: Passage) -> None:
        self._give_up = give_up
        self._way_out = way_out
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, job: Job) -> None:
        """A job begins to wait."""
        limit = min(_limits(job, self._way_out), key=lambda limit: limit[0], default=None)
        if limit is not None:
            left_s, error = limit
            loop = asyncio.get_running_loop()
            self._timers[job.job_id] = loop.call_later(max(0.0, left_s), self._give_up, job, error)

    def end(self, job: Job) -> None:
        """A job waits no more."""
        timer = self._timers.pop(job.job_id, None)
        if timer is not None:
            timer.cancel()


def _limits(job: Job, way_out: Passage) -> Iterator[tuple[float, RequestError]]:
    """Seconds that the job may still wait, and what it fails with after them."""
    timeout_s = job.submission.queue_timeout_s
    if timeout_s is not None and job.status.start_time is None:
        yield job.status.create_time + timeout_s - time.time(), QueueTimeoutError()
    left_s = timing.left_s(job.submission, way_out)
    if left_s is not None:
        yield left_s, RunTimeoutError(has_canvas=False)
