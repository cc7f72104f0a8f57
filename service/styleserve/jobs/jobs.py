"""Jobs: every job the service knows, from admission to expiry; what the servicers ask and nothing of how they speak."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from styleserve.callers import Caller, Quota
from styleserve.catalog.style import Catalog
from styleserve.catalog.style_images import StyleImages
from styleserve.engine.checkpoints import CheckpointFolder
from styleserve.errors import (
    ConfigurationError,
    DeadlineUnattainableError,
    DrainingError,
    ImageTooLargeForDeviceError,
    JobIdTakenError,
    JobNotFoundError,
    QueueFullError,
    RequestIdReusedError,
    WarmingUpError,
)
from styleserve.events import EngineInfo
from styleserve.jobs.dispatcher import Dispatcher
from styleserve.jobs.frames import PreviewWish
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.job import Job
from styleserve.jobs.picture_index import PictureIndex
from styleserve.jobs.pictures import Pictures
from styleserve.jobs.quotas import Quotas
from styleserve.jobs.retention import Retention
from styleserve.jobs.returners import Returners
from styleserve.jobs.status import PREFIX, State
from styleserve.jobs.store import JobStore
from styleserve.jobs.submission import Submission
from styleserve.observing.happenings import Admitted, Inherited, Reused
from styleserve.observing.observer import Load, Observer
from styleserve.workers import Worker

logger = logging.getLogger(__name__)

#: What a caller is told while the engine loads its weights, and while the server stops.
WARMING_UP_RETRY_S = 5.0
DRAINING_RETRY_S = 10.0


class Jobs:
    """Admits jobs, finds them, cancels them, forgets them.

    A caller finds its own jobs and no others; `quota_of` says how much it may have, by name. `tell_alive` hears whether
    an engine lives, `tell_broken` what the operator has to mend before one can, and `observer` all that happens. All
    methods belong to the event loop's thread; `num_queued` and `num_running` any thread may read.
    """

    def __init__(
        self,
        store: JobStore,
        image_store: ImageStore,
        pictures: Pictures,
        worker: Worker,
        checkpoints: CheckpointFolder,
        *,
        max_queue: int,
        max_running: int,
        quota_of: Callable[[str], Quota],
        retention_s: float,
        retention_bytes: int,
        retention_jobs: int,
        reuses_pictures: bool,
        tell_alive: Callable[[bool], None],
        tell_broken: Callable[[ConfigurationError], None],
        observer: Observer,
    ) -> None:
        image_store.forget_incoming()  # the folder is this server's alone, since `store` is open
        self._store = store
        self._image_store = image_store
        self._checkpoints = checkpoints
        self._quotas = Quotas(quota_of)
        self._dispatcher = Dispatcher(
            worker,
            pictures,
            max_queue=max_queue,
            max_running=max_running,
            quotas=self._quotas,
            save=self._save,
            drop_checkpoint=checkpoints.remove,
            tell_alive=tell_alive,
            tell_broken=tell_broken,
            observer=observer,
        )
        self._queue = self._dispatcher.queue
        self._returners = Returners()
        self._observer = observer
        observer.attend(lambda: Load(self.num_queued, self.num_running))
        self._retention_s = retention_s
        self._reuses_pictures = reuses_pictures
        self._index = PictureIndex(store.all())
        self._retention = Retention(store, image_store, self._index, retention_s, retention_bytes, retention_jobs)
        self._num_admitted = max((job.number for job in store.all()), default=0)
        self._is_draining = False
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def engine(self) -> EngineInfo | None:
        """What the engine runs on; None until the first is ready."""
        return self._dispatcher.engine

    @property
    def num_queued(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    @property
    def num_running(self) -> int:
        """Jobs that run."""
        return len(self._dispatcher.running)

    def has_targets(self, digest: str) -> bool:
        """Whether the Gram targets of the catalogue's image with this digest were computed."""
        return digest in self._dispatcher.preparation.prepared

    def start(self) -> None:
        """Start the engine, and let the jobs that have yet to end wait for it, in their order."""
        unfinished = [job for job in reversed(self._store.all()) if not job.has_ended]
        self._checkpoints.keep_only([*(job.job_id for job in unfinished), *self._store.unread_ids])
        self._dispatcher.start()
        for job in unfinished:
            job.observer = self._observer
            job.note(Inherited(job.job_id))
        if unfinished:
            self._dispatcher.enqueue(*unfinished)
            logger.info("%d jobs of an earlier server go on", len(unfinished))
        self._sweeper = asyncio.get_running_loop().create_task(self._retention.keep_sweeping())

    def prepare(self, catalog: Catalog, style_images: StyleImages) -> None:
        """Have the engine prepare the catalogue's styles whose images are at hand, whenever it is idle."""
        self._dispatcher.preparation.want(
            {style.image.sha256: functools.partial(style_images.load, style) for style in catalog.styles}
        )

    async def drain(self, patience_s: float) -> None:
        """Take no new jobs, and let those that run end for `patience_s` seconds."""
        self._close_admission()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                for job in self._dispatcher.running:
                    while job in self._dispatcher.running:  # until it has ended, or its engine was lost
                        await job.feed.changed()

    def send_away(self) -> None:
        """Take no new jobs, and tell who waits for one that has not ended: it goes on when the next server starts."""
        self._close_admission()
        for job in self._store.all():
            if not job.has_ended:
                job.feed.interrupt(DrainingError(DRAINING_RETRY_S))

    def _close_admission(self) -> None:
        """Take no new jobs and begin none; callers who are sent away from now on cancel nothing."""
        self._is_draining = True
        self._dispatcher.hold()

    async def stop(self) -> None:
        """End the engine, which keeps how far its jobs are."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dispatcher.stop()
        self._store.close()

    def charge(self, caller: Caller, num_bytes: int) -> None:
        """Take note of what a caller sends; raises QuotaExceededError while it has sent too much."""
        self._quotas.charge(caller, num_bytes)

    def check_open(self, caller: str, request_id: str, fingerprint: str) -> None:
        """Raise WarmingUpError, DrainingError, QuotaExceededError or QueueFullError when no job can be admitted now.

        A request whose picture seems to be kept needs no place in the queue; `submit` finds out.
        """
        self._check_serving()
        if not (self._reuses_pictures and self._index.knows(caller, fingerprint)):
            self._check_room(caller, request_id, fingerprint)

    def joined(self, caller: str, request_id: str, fingerprint: str) -> Job | None:
        """The job that the same request made before; raises RequestIdReusedError when it was another request.

        One that was cancelled only because nobody waited for it any more is none to join, nor one that failed of what
        may be over by now; but its name, where it was chosen, no second job can have.
        """
        job = self._store.find_request(caller, request_id) if request_id else None
        if job is not None and job.submission.fingerprint != fingerprint:
            raise RequestIdReusedError(request_id)
        return None if job is not None and job.is_to_be_made_anew and not job.submission.job_id else job

    def submit(self, submission: Submission) -> Job:
        """Admit a job, or join the one of the same request; raises RequestError when it cannot be."""
        job = self.joined(submission.caller, submission.request_id, submission.fingerprint)
        if job is not None:
            return job
        self._check_serving()
        if submission.job_id and self._store.is_taken(submission.job_id):
            raise JobIdTakenError(PREFIX + submission.job_id)
        maker = self._maker(submission)
        if maker is None:
            self._check_room(submission.caller, submission.request_id, submission.fingerprint)
            self._require_feasible(submission)
            self._require_attainable(submission)
        job_id = submission.job_id or secrets.token_hex(16)
        job = Job.admit(job_id, self._num_admitted + 1, submission, self._retention_s)
        job.observer = self._observer
        job.note(Admitted(job.job_id))
        self._store.add(job)
        self._num_admitted += 1
        self._returners.admit((submission.caller, submission.request_id or submission.fingerprint))
        logger.info("%s admitted", job.job_id, extra=job.log_fields)
        if maker is None:
            self._dispatcher.enqueue(job)
        else:
            self._reuse(job, maker)
        return job

    def find(self, name: str, caller: str | None) -> Job:
        """The caller's job called `jobs/{job}`, for None anybody's; raises JobNotFoundError."""
        job = self._store.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if job is None or caller not in (None, job.submission.caller):
            raise JobNotFoundError(name)
        return job

    def list(self, caller: str, states: Collection[State], before: int | None, limit: int) -> Sequence[Job]:
        """At most `limit` of a caller's jobs, the newest first, with numbers below `before`.

        They are in one of `states`; in any, when it is empty.
        """
        chosen = (
            job
            for job in self._store.all()
            if job.submission.caller == caller
            and (not states or job.status.state in states)
            and (before is None or job.number < before)
        )
        return [job for job, _ in zip(chosen, range(limit), strict=False)]

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; one that has ended stays as it is."""
        if not job.has_ended:
            self._dispatcher.cancel(job)

    @contextlib.contextmanager
    def attended(self, job: Job, wish: PreviewWish | None = None) -> Iterator[None]:
        """While this lasts somebody waits for the job; once nobody does, it is cancelled if its policy says so."""
        job.num_waiting += 1
        if wish is not None:
            job.feed.wish(wish)
            self._dispatcher.order_previews(job)
        try:
            yield
        finally:
            job.num_waiting -= 1
            if wish is not None:
                job.feed.withdraw(wish)
                self._dispatcher.order_previews(job)
            is_wanted = job.num_waiting > 0 or not job.submission.is_cancelled_when_orphaned
            if not (is_wanted or job.has_ended or self._is_draining):
                self._dispatcher.cancel(job, is_orphaned=True)

    def _check_serving(self) -> None:
        if self._is_draining:
            raise DrainingError(DRAINING_RETRY_S)
        if self._dispatcher.engine is None:
            raise WarmingUpError(WARMING_UP_RETRY_S)

    def _check_room(self, caller: str, request_id: str, fingerprint: str) -> None:
        """Whether one more job may wait; who is refused because the queue is full stands in a line."""
        room = self._dispatcher.room()
        self._quotas.check_waiting(caller, self._queue.num_of(caller), room.first_s)
        request = caller, request_id or fingerprint
        if not self._queue.has_place(self._returners.has_waited(request)):
            retry_after_s = self._returners.refuse(request, room)
            raise QueueFullError(retry_after_s, self._queue.max_jobs)

    def _require_feasible(self, submission: Submission) -> None:
        assert self.engine is not None
        costs, recipe, output = self.engine.costs, submission.recipe, submission.output
        style_scales = submission.style_scales
        if not costs.is_feasible(recipe, output.height, output.width, style_scales):
            largest_side = costs.largest_side(recipe, output.height, output.width, style_scales)
            raise ImageTooLargeForDeviceError(output.width, output.height, largest_side)

    def _require_attainable(self, submission: Submission) -> None:
        """Raise DeadlineUnattainableError when no picture can be there in time; what a job may run counts later."""
        outlook = self._dispatcher.foresee_picture(submission)
        left_s = None if submission.deadline is None else submission.deadline - time.monotonic()
        for available_s, needed_s, busy_s in (
            (submission.run_timeout_s, outlook.run_s, 0.0),
            (left_s, outlook.call_s, outlook.busy_s),
        ):
            if available_s is not None and available_s < busy_s + needed_s:
                raise DeadlineUnattainableError(max(0.0, available_s), needed_s, busy_s)

    def _maker(self, submission: Submission) -> Job | None:
        """A job that has this picture, which is kept; None when there is none."""
        assert self.engine is not None
        maker = self._index.find(submission, self.engine) if self._reuses_pictures else None
        if maker is None or maker.status.result is None:
            return None
        return maker if self._image_store.shelf(submission.caller).has(maker.status.result.digest) else None

    def _reuse(self, job: Job, maker: Job) -> None:
        """Let a new job end with the picture of another, which made it or was itself answered with it."""
        known = maker.status
        assert known.result is not None
        assert known.progress is not None
        assert known.provenance is not None
        assert known.stop_reason is not None
        reused_from = known.provenance.reused_from or known.name
        provenance = dataclasses.replace(known.provenance, network_passes=0, reused_from=reused_from)
        job.note(Reused(job.job_id))
        job.succeed(known.result, known.progress, known.stop_reason, provenance)
        self._save([job])

    def _save(self, jobs: Sequence[Job]) -> None:
        is_stored = self._store.save(*jobs)
        for job in jobs:
            if job.has_ended:
                self._index.note(job)
                self._retention.note(job)
                if is_stored:  # else the next server may have to go on from there, and removes it once it has not
                    self._checkpoints.remove(job.job_id)
