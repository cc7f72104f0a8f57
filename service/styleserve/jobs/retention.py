"""Retention: forgets ended jobs and images that nobody needs, in time and when they take too much room."""

import asyncio
import logging
import time

from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.job import Job
from styleserve.jobs.picture_index import PictureIndex
from styleserve.jobs.store import JobStore

logger = logging.getLogger(__name__)

_SWEEP_S = 60.0


class Retention:
    """Images stay for `retention_s` seconds after their last use, and within `max_bytes`: the longest unused go first.

    An ended job goes with its picture, or when its own time has come. What a job needs that has yet to end stays.
    """

    def __init__(
        self, store: JobStore, image_store: ImageStore, index: PictureIndex, retention_s: float, max_bytes: int
    ) -> None:
        self._store = store
        self._image_store = image_store
        self._index = index
        self._retention_s = retention_s
        self._max_bytes = max_bytes

    async def keep_sweeping(self) -> None:
        """Sweep now and then, until this is cancelled; a fault is for the log and for the next time."""
        while True:
            try:
                await self._sweep()
            except Exception:
                logger.exception("expired jobs and images could not be forgotten; the next attempt follows")
            await asyncio.sleep(min(_SWEEP_S, self._retention_s))

    async def _sweep(self) -> None:
        now = time.time()
        for job in self._store.all():
            if job.status.expire_time is not None and job.status.expire_time < now:
                self._forget(job)
        needed = {
            (job.submission.caller, digest)
            for job in self._store.all()
            if not job.has_ended
            for digest in job.submission.digests
        }
        gone = await asyncio.to_thread(self._image_store.expire, self._retention_s, self._max_bytes, needed)
        for job in self._store.all():
            result = job.status.result
            if result is None or (job.submission.caller, result.digest) not in gone:
                continue
            # The same picture may have been made again meanwhile.
            if not self._image_store.shelf(job.submission.caller).has(result.digest):
                self._forget(job)

    def _forget(self, job: Job) -> None:
        self._store.remove(job)
        self._index.forget(job)
