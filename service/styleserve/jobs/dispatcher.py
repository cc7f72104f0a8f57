"""Dispatcher: keeps the engine busy with the queue's jobs, and brings what the engine tells to them.

It lives on the event loop. The jobs of an engine that is lost go on in the next one from their checkpoints. Each job
that it was handed may be the cause: it has the engine for itself from then on, and fails when `MAX_LOSSES` are lost
under it and it never came further than before. A job that the engine did not get to paint by its deadline is given up
here, whatever the engine is at, so that its caller hears of it in time; what the engine still tells of it is nobody's.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence

from styleserve.engine.specification import Cancel, Preview
from styleserve.errors import ConfigurationError, EngineError, RequestError
from styleserve.events import (
    Cancelled,
    Checkpointed,
    EngineInfo,
    Failed,
    Finished,
    JobEvent,
    Looked,
    Planned,
    Previewed,
    Progressed,
    Resumed,
    Started,
)
from styleserve.images import Pixels
from styleserve.jobs import timing
from styleserve.jobs.engine_keeper import EngineKeeper
from styleserve.jobs.feed import Thumbnail
from styleserve.jobs.job import Job
from styleserve.jobs.outlook import Outlook
from styleserve.jobs.passage import way_in, way_out
from styleserve.jobs.patience import Patience
from styleserve.jobs.pictures import Pictures, tint, trace_back
from styleserve.jobs.preparation import Preparation
from styleserve.jobs.queue import JobQueue
from styleserve.jobs.quotas import Quotas
from styleserve.jobs.room import Room, first_leaves_s, foresee
from styleserve.jobs.status import Provenance
from styleserve.jobs.submission import Submission
from styleserve.jobs.turns import Turns
from styleserve.observing.happenings import Computed
from styleserve.observing.observer import Observer
from styleserve.workers import Worker

logger = logging.getLogger(__name__)

MAX_LOSSES = 3


class Dispatcher:
    """Between the queue and one worker.

    `save` hears of all jobs whose state changed, `drop_checkpoint` of the ID of one that had ended before the engine
    let go of it, `tell_alive` whether an engine lives, `tell_broken` what the operator has to mend before one can.
    """

    def __init__(
        self,
        worker: Worker,
        pictures: Pictures,
        *,
        max_queue: int,
        max_running: int,
        quotas: Quotas,
        save: Callable[[Sequence[Job]], None],
        drop_checkpoint: Callable[[str], None],
        tell_alive: Callable[[bool], None],
        tell_broken: Callable[[ConfigurationError], None],
        observer: Observer,
    ) -> None:
        self._keeper = EngineKeeper(
            worker,
            hear=self._hear,
            welcome=self._fill,
            take_back=self._take_all_back,
            longest_silence_s=self._longest_silence_s,
            tell_alive=tell_alive,
            tell_broken=tell_broken,
            observer=observer,
        )
        self._pictures = pictures
        self._way_in, self._way_out = way_in(), way_out()
        self.queue = JobQueue(max_queue, lambda job: timing.share_s(job.submission, self.engine, self._way_out))
        self._patience = Patience(self._give_up, self._way_out)
        self._turns = Turns(self.queue, quotas, max_running)
        self._save = save
        self._drop_checkpoint = drop_checkpoint
        self._in_engine: dict[str, Job] = {}
        self._handed_over: set[str] = set()
        self._delivering: set[Job] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_holding = False

    @property
    def engine(self) -> EngineInfo | None:
        """What the engine runs on; None until the first is ready."""
        return self._keeper.engine

    @property
    def preparation(self) -> Preparation:
        """What has the engine prepare styles when it is idle."""
        return self._keeper.preparation

    @property
    def running(self) -> list[Job]:
        """Jobs that are neither waiting nor ended; any thread may ask."""
        return [*(job for job in list(self._in_engine.values()) if not job.has_ended), *self._delivering]

    def start(self) -> None:
        """Start the worker."""
        self._keeper.start()

    def hold(self) -> None:
        """Let no more jobs leave the queue."""
        self._is_holding = True

    async def stop(self) -> None:
        """End the worker, with whatever it still does."""
        self._patience.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await self._keeper.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def enqueue(self, *jobs: Job) -> None:
        """Let jobs wait for their turns: new ones, or those of an earlier server, which may be cancelled already."""
        self.queue.push(*jobs)
        self._begin_waiting(*jobs)
        for job in jobs:
            if job.is_cancel_wanted:
                self.cancel(job)
        self._fill()

    def cancel(self, job: Job, is_orphaned: bool = False) -> None:
        """Stop a job, wherever it is; for one whose picture is made already that comes too late.

        `is_orphaned` when that is only because its last caller left.
        """
        if job in self._delivering:
            return
        job.is_orphaned |= is_orphaned and not job.is_cancel_wanted
        job.is_cancel_wanted = True
        if job.job_id in self._handed_over:
            self._patience.end(job)
            self._save([job])
            self._keeper.send(Cancel(job.job_id))
        elif self._withdraw(job):
            self._end(job, job.cancel)

    def order_previews(self, job: Job) -> None:
        """Pass on which previews the job's watchers want by now."""
        if job.job_id not in self._handed_over:
            return
        wish = job.feed.previews_wanted
        self._keeper.send(Preview(job.job_id, wish.max_side if wish else 0, wish.interval_s if wish else 0.0))

    def room(self) -> Room:
        """When a full queue will have room."""
        return foresee(self._in_engine.values(), self.engine, self._way_out)

    def foresee_picture(self, submission: Submission) -> Outlook:
        """When a job that came now could have a picture: jobs beside it get as much of the engine as it does."""
        assert self.engine is not None
        inside, costs, output = list(self._in_engine.values()), self.engine.costs, submission.output
        way_in_s = self._way_in.most_s(output)
        busy_s = self._keeper.busy_s(way_in_s)
        if len(self.queue) > 0 or not self._turns.has_room(submission, inside, costs):
            busy_s = max(busy_s, first_leaves_s(inside, self.engine, self._way_out))
            inside = inside[1:]  # which of them leaves first does not matter here
        engine_s = (1 + len(inside)) * self._keeper.slowness * timing.least_s(submission, costs)
        return Outlook(busy_s, way_in_s, engine_s, self._way_out.most_s(output))

    def _hear(self, event: JobEvent) -> None:
        job = self._in_engine.get(event.job_id)
        if job is None:
            return
        if isinstance(event, Started):
            self._keeper.note_begun(job.submission.recipe)
        if job.has_ended:
            self._let_go(job, event)
            return
        if isinstance(event, Progressed | Finished | Failed | Cancelled):
            job.count_work(event.engine_s)
        if _tells_of_canvas(event):
            self._patience.end(job)
        match event:
            case Started():
                job.start()
                self._save([job])
            case Planned():
                job.plan(event)
            case Looked(progress=progress):
                job.look(progress)
            case Progressed(progress=progress):
                job.advance(progress)
            case Previewed(pixels=pixels):
                if job.feed.previews_wanted is None:
                    self.order_previews(job)  # that is, none: whoever wanted some has had them all
                self._show(job, pixels)
            case Resumed():
                job.resume(event)
            case Checkpointed():
                job.note(event)
            case Finished(progress=progress, network_passes=passes, stop_reason=stop_reason):
                job.note(Computed(job.job_id, progress.iteration, passes, stop_reason))
                self._release(job)
                job.is_cancel_wanted = job.is_orphaned = False  # too late
                self._delivering.add(job)
                self._spawn(self._deliver(job, event))
            case Failed(error=error, network_passes=passes):
                self._release(job)
                self._end(job, lambda: job.fail(error, self._trace_back(job, passes)))
            case Cancelled(network_passes=passes):
                self._release(job)
                self._end(job, lambda: job.cancel(self._trace_back(job, passes)))

    def _let_go(self, job: Job, event: JobEvent) -> None:
        """The engine tells of a job that was given up; when it has done with it, another may have its place."""
        if isinstance(event, Finished | Failed | Cancelled):
            self._drop_checkpoint(job.job_id)
            self._release(job)

    def _take_all_back(self) -> None:
        """The engine is lost: its jobs wait for the next, but for those that were given up."""
        jobs, self._in_engine = list(self._in_engine.values()), {}
        handed_over, self._handed_over = self._handed_over, set()
        for job in jobs:
            if job.has_ended:
                self._drop_checkpoint(job.job_id)
            else:
                self._take_back(job, job.job_id in handed_over)

    def _take_back(self, job: Job, was_handed_over: bool) -> None:
        if was_handed_over:
            job.lose_engine()
        if job.is_cancel_wanted:
            self._end(job, job.cancel)
        elif job.num_losses >= MAX_LOSSES:
            logger.error(
                "%s: %d engines were lost under it; it is given up", job.job_id, job.num_losses, extra=job.log_fields
            )
            self._end(job, lambda: job.fail(EngineError()))
        else:
            self.queue.put_back(job)
            self._begin_waiting(job)

    def _begin_waiting(self, *jobs: Job) -> None:
        for job in jobs:
            job.begin_waiting()
            self._patience.begin(job)
        self._save(jobs)

    def _fill(self) -> None:
        """Let jobs leave the queue while the engine has room."""
        while (job := self._next()) is not None:
            self.queue.take(job)
            self._patience.hand_over(job)
            self._in_engine[job.job_id] = job
            self._spawn(self._hand_over(job))

    def _next(self) -> Job | None:
        if self.engine is None or not self._keeper.is_alive or self._is_holding:
            return None
        return self._turns.next(list(self._in_engine.values()), self.engine.costs)

    async def _hand_over(self, job: Job) -> None:
        """Decode the job's images and send it to the engine, unless one of both is gone by then."""
        generation, submission, begun = self._keeper.generation, job.submission, time.monotonic()
        deadline = timing.engine_deadline(submission, self._way_out)
        try:
            specification, content, colours = await asyncio.to_thread(
                self._pictures.specify, job.job_id, submission, deadline
            )
        except Exception as error:
            if job.job_id in self._in_engine and generation == self._keeper.generation:
                self._release(job)
                self._fail(job, error)
            return
        if generation != self._keeper.generation or job.job_id not in self._in_engine:
            return
        job.content, job.colours = content, colours
        self._way_in.record(submission.output, time.monotonic() - begun)
        self._keeper.send(specification)
        self._handed_over.add(job.job_id)
        self.order_previews(job)

    def _show(self, job: Job, thumbnail: Thumbnail) -> None:
        if job.colours is None:
            job.feed.tell_preview(thumbnail)
        else:
            self._spawn(self._show_tinted(job, thumbnail, job.colours))

    async def _show_tinted(self, job: Job, thumbnail: Thumbnail, colours: Pixels) -> None:
        tinted = await asyncio.to_thread(tint, thumbnail, colours)
        if not job.has_ended:
            job.feed.tell_preview(tinted)

    async def _deliver(self, job: Job, finished: Finished) -> None:
        """Make the file that the caller gets."""
        assert self.engine is not None
        assert job.content is not None
        passes, is_whole = finished.network_passes, finished.is_whole
        provenance = trace_back(job.submission, finished.recipe, self.engine, passes, is_whole)
        try:
            result = await asyncio.to_thread(
                self._pictures.deliver, job.submission, job.content, finished.pixels, provenance
            )
        except Exception as error:
            self._fail(job, error)
        else:
            self._end(job, lambda: job.succeed(result, finished.progress, finished.stop_reason, provenance))
            self._way_out.record(job.submission.output, time.monotonic() - finished.ended)
        finally:
            self._delivering.discard(job)

    def _give_up(self, job: Job, error: RequestError) -> None:
        """A job's patience is at its end; in an engine that knows of it, it keeps its place until that drops it."""
        if job.job_id in self._handed_over:
            self._keeper.send(Cancel(job.job_id))
        else:
            self._withdraw(job)
        self._end(job, lambda: job.fail(error))

    def _withdraw(self, job: Job) -> bool:
        """Take out a job that no engine knows of; False when it is not, or no more, on its way to one."""
        if job in self.queue:
            self.queue.remove(job)
        elif job.job_id in self._in_engine:
            self._release(job)
        else:
            return False
        return True

    def _fail(self, job: Job, error: Exception) -> None:
        if not isinstance(error, RequestError):
            logger.error("%s failed", job.job_id, exc_info=error, extra=job.log_fields)
            error = EngineError()
        told = error
        self._end(job, lambda: job.fail(told))

    def _end(self, job: Job, change: Callable[[], None]) -> None:
        self._patience.end(job)
        change()
        self._save([job])
        logger.info("%s %s", job.job_id, job.status.state, extra=job.log_fields)

    def _release(self, job: Job) -> None:
        """The job leaves the engine, and another may enter."""
        self._patience.end(job)
        del self._in_engine[job.job_id]
        self._handed_over.discard(job.job_id)
        self._fill()

    def _longest_silence_s(self) -> float | None:
        """How long the engine may tell nothing of the jobs that it was given; None while it has none."""
        jobs = [self._in_engine[job_id].submission for job_id in self._handed_over]
        return timing.longest_silence_s(jobs, self.engine.costs) if jobs and self.engine is not None else None

    def _trace_back(self, job: Job, network_passes: int) -> Provenance | None:
        """How far a job without a picture came."""
        submission = job.submission
        return None if self.engine is None else trace_back(submission, submission.recipe, self.engine, network_passes)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _tells_of_canvas(event: JobEvent) -> bool:
    """Whether the job has something to return from now on, at its deadline too."""
    match event:
        case Progressed(progress=progress):
            return progress.iteration > 0
        case Resumed(iteration=iteration):
            return iteration > 0
        case _:
            return False
