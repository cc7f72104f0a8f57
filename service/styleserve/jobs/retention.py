"""Retention: forgets ended jobs and images that nobody needs, in time and when they take too much room.

Images go first: removing them takes no room, while the file of jobs needs some to forget a job, which a full disk has
not. Jobs go many at once, since each time the disk is waited for, and between two times others have their turn.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable

from styleserve.errors import StorageError
from styleserve.jobs.image_store import ImageStore, Owned
from styleserve.jobs.job import Job
from styleserve.jobs.picture_index import PictureIndex
from styleserve.jobs.store import JobStore

logger = logging.getLogger(__name__)

_SWEEP_S = 60.0
#: Jobs that are forgotten at once: the event loop stands still for a few milliseconds.
_NUM_AT_ONCE = 100


class Retention:
    """Images stay for `retention_s` seconds after their last use, and within `max_bytes`: see `ImageStore.expire`.

    An ended job goes with its picture, when its own time has come, or where more than `max_jobs` have ended: the oldest
    of the caller who has the most, so that callers take each other nothing away. What a job needs that has yet to end
    stays.
    """

    def __init__(
        self,
        store: JobStore,
        image_store: ImageStore,
        index: PictureIndex,
        retention_s: float,
        max_bytes: int,
        max_jobs: int,
    ) -> None:
        self._store = store
        self._image_store = image_store
        self._index = index
        self._retention_s = retention_s
        self._max_bytes = max_bytes
        self._max_jobs = max_jobs
        ended = sorted((job for job in store.all() if job.has_ended), key=lambda job: job.status.end_time or 0.0)
        self._ended = {job.job_id: job for job in ended}
        self._gone: set[Owned] = set()

    def note(self, job: Job) -> None:
        """A job has ended; of more than are kept a hundredth goes at once, so that it is seldom."""
        self._ended[job.job_id] = job
        excess = len(self._ended) - self._max_jobs
        if excess > 0:
            self._forget(_superfluous(self._ended.values(), min(excess + self._max_jobs // 100, _NUM_AT_ONCE)))

    async def keep_sweeping(self) -> None:
        """Sweep now and then, until this is cancelled; a fault is for the log and for the next time."""
        while True:
            try:
                await self._sweep()
            except Exception:
                logger.exception("expired jobs and images could not be forgotten; the next attempt follows")
            await asyncio.sleep(min(_SWEEP_S, self._retention_s))

    async def _sweep(self) -> None:
        needed = {
            (job.submission.caller, digest)
            for job in self._store.all()
            if not job.has_ended
            for digest in job.submission.digests
        }
        needed |= self._store.unread_images
        # What is gone is remembered until its jobs are, which the disk may not let go at once.
        self._gone |= await asyncio.to_thread(self._image_store.expire, self._retention_s, self._max_bytes, needed)
        self._store.catch_up()
        due = self._due()
        for begin in range(0, len(due), _NUM_AT_ONCE):
            jobs = due[begin : begin + _NUM_AT_ONCE]
            if not self._forget(job for job in jobs if job.job_id in self._ended):
                return
            await asyncio.sleep(0)
        self._gone.clear()

    def _due(self) -> list[Job]:
        """Ended jobs whose time has come or whose pictures are gone, the oldest first; then those that are too many."""
        now = time.time()
        due = {
            job.job_id: job
            for job in self._ended.values()
            if (job.status.expire_time or math.inf) < now or self._has_lost_picture(job)
        }
        others = [job for job in self._ended.values() if job.job_id not in due]
        return [*due.values(), *_superfluous(others, max(0, len(others) - self._max_jobs))]

    def _has_lost_picture(self, job: Job) -> bool:
        """Whether the job's picture was forgotten, and not made again since."""
        result, caller = job.status.result, job.submission.caller
        if result is None or (caller, result.digest) not in self._gone:
            return False
        return not self._image_store.shelf(caller).has(result.digest)

    def _forget(self, jobs: Iterable[Job]) -> bool:
        """Forget ended jobs; False when the disk does not let them go, so that they stay until the next time."""
        jobs = list(jobs)
        try:
            self._store.remove(jobs)
        except StorageError:
            return False
        for job in jobs:
            del self._ended[job.job_id]
            self._index.forget(job)
        return True


def _superfluous(jobs: Iterable[Job], num_jobs: int) -> list[Job]:
    """So many of the jobs, of which the oldest come first: each time the oldest of the caller who has the most left."""
    of_callers: defaultdict[str, deque[Job]] = defaultdict(deque)
    for job in jobs:
        of_callers[job.submission.caller].append(job)
    return [max(of_callers.values(), key=len).popleft() for _ in range(num_jobs)]
