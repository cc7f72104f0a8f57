"""The engine repeats one line: choose jobs of one shape, evaluate them in a batch, advance each.

It owns its jobs and is driven by whoever calls `step`: a process behind the server, a `while` in a script, a test.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping

from styleserve.costs import CostModel
from styleserve.engine.job import Job, PreviewOrder, begin
from styleserve.engine.scheduler import MAX_BATCH, Scheduler
from styleserve.engine.specification import Cancel, Command, JobSpecification, Prepare, Preview
from styleserve.errors import DivergedError, EngineError, RequestError, RunTimeoutError
from styleserve.evaluation import Evaluator
from styleserve.events import (
    Cancelled,
    EngineEvent,
    Failed,
    Finished,
    Prepared,
    Previewed,
    Progressed,
    Started,
    StopReason,
)
from styleserve.optimizers import AnyOptimizer

logger = logging.getLogger(__name__)


class Engine:
    """Makes pictures, a step at a time.

    `report` hears each event once, in order, on the thread that calls `step` or `accept`. `clock` reads seconds as
    `time.monotonic` does. `costs` bounds the memory; without it every canvas is judged whole. With a `max_batch` of 1
    every job is evaluated by itself, so that its picture is the same, to the bit, whatever runs beside it.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        optimizers: Mapping[str, AnyOptimizer],
        report: Callable[[EngineEvent], None],
        clock: Callable[[], float] = time.monotonic,
        costs: CostModel | None = None,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._evaluator = evaluator
        self._optimizers = optimizers
        self._report = report
        self._clock = clock
        self._costs = costs
        self._scheduler = Scheduler(max_batch)
        self._waiting: list[JobSpecification] = []
        self._jobs: list[Job] = []
        self._previews: dict[str, Preview] = {}
        self._unprepared: list[Prepare] = []
        self._num_steps = 0
        self._seconds_per_pixel = 0.0

    def accept(self, command: Command) -> None:
        """Take a command; a new job is begun by the next step."""
        match command:
            case JobSpecification():
                self._waiting.append(command)
            case Cancel(job_id):
                self._cancel(job_id)
            case Preview():
                self._order_preview(command)
            case Prepare():
                self._unprepared.append(command)

    def step(self) -> bool:
        """Begin a job that waits, then choose, evaluate and advance; False when there was nothing to do."""
        self._admit()
        self._end_what_cannot_wait()
        if self._jobs:
            self._serve(self._scheduler.choose(self._jobs))
            return True
        return bool(self._waiting) or self._prepare()

    def close(self) -> None:
        """Drop every job without a word; for the end of the process."""
        for job in self._jobs:
            job.run.close()
        self._jobs.clear()
        self._waiting.clear()

    def _admit(self) -> None:
        """Begin one job: its targets take passes of the network, and the jobs that run must not wait for many."""
        if not self._waiting:
            return
        specification = self._waiting.pop(0)
        self._report(Started(specification.job_id))
        try:
            optimizer = self._optimizers[specification.recipe.optimizer]
            job = begin(specification, optimizer, self._evaluator, self._clock(), self._costs)
        except Exception:
            logger.exception("%s cannot be begun", specification.job_id)
            self._report(Failed(specification.job_id, EngineError(), network_passes=0))
            return
        if order := self._previews.pop(specification.job_id, None):
            job.preview = PreviewOrder(order.max_side, order.interval_s, self._clock())
        # It came during the last step, so it has waited longer than whom that step served, and no longer than others.
        job.last_served = self._num_steps - 1
        self._jobs.append(job)

    def _serve(self, batch: list[Job]) -> None:
        """Step the batch and record what came of it; a fault of the batch ends its jobs and no other."""
        self._num_steps += 1
        begun = self._clock()
        try:
            batch[0].optimizer.step([job.run for job in batch])
        except Exception:
            logger.exception("a step failed for %s", ", ".join(job.job_id for job in batch))
            for job in batch:
                self._fail(job, EngineError())
            return
        now = self._clock()
        self._scheduler.record(batch[0].batch_key, len(batch), now - begun)
        self._seconds_per_pixel = (now - begun) / sum(job.num_pixels for job in batch)
        for job in batch:
            job.last_served = self._num_steps
            job.network_passes += 1
            self._advance(job, now)

    def _advance(self, job: Job, now: float) -> None:
        """Tell how far the job is; carry it to its next scale, or end it."""
        losses = job.run.losses
        assert losses is not None
        if not losses.is_finite:
            self._fail(job, DivergedError(job.progress(losses, now).iteration, job.specification.recipe.to_json()))
            return
        job.judged = job.progress(losses, now)
        self._report(Progressed(job.job_id, job.judged))
        self._send_preview(job, now)
        if job.run.ended is None:
            return
        if job.is_at_last_scale:
            self._finish(job, job.run.ended)
            return
        begun = self._clock()
        try:
            job.climb(self._evaluator)
            self._scheduler.charge(job.batch_key, self._clock() - begun)
        except Exception:
            logger.exception("%s cannot go on at its next scale", job.job_id)
            self._fail(job, EngineError())

    def _end_what_cannot_wait(self) -> None:
        """End every job whose deadline would pass during the coming step."""
        if not self._jobs:
            return
        batch = self._scheduler.choose(self._jobs)
        coming_step_s = self._seconds_per_pixel * sum(job.num_pixels for job in batch)
        now = self._clock()
        for job in list(self._jobs):
            deadline = job.specification.deadline
            if deadline is None or now + coming_step_s <= deadline:
                continue
            if job.specification.fails_at_deadline or job.judged is None:
                self._fail(job, RunTimeoutError())
            else:
                self._finish(job, "deadline")

    def _finish(self, job: Job, stop_reason: StopReason) -> None:
        assert job.judged is not None
        progress = dataclasses.replace(job.judged, elapsed_s=self._clock() - job.started)
        picture = job.picture()
        self._forget(job)
        self._report(Finished(job.job_id, picture, stop_reason, progress, job.network_passes))

    def _fail(self, job: Job, error: RequestError) -> None:
        self._forget(job)
        self._report(Failed(job.job_id, error, job.network_passes))

    def _cancel(self, job_id: str) -> None:
        for specification in self._waiting:
            if specification.job_id == job_id:
                self._waiting.remove(specification)
                self._previews.pop(job_id, None)
                self._report(Cancelled(job_id, network_passes=0))
                return
        for job in self._jobs:
            if job.job_id == job_id:
                self._forget(job)
                self._report(Cancelled(job_id, job.network_passes))
                return

    def _forget(self, job: Job) -> None:
        job.run.close()
        self._jobs.remove(job)

    def _order_preview(self, order: Preview) -> None:
        """Note who wants to see; orders come for waiting jobs too, and for ended ones, which have none to send."""
        for job in self._jobs:
            if job.job_id == order.job_id:
                wanted = order.max_side > 0
                job.preview = PreviewOrder(order.max_side, order.interval_s, self._clock()) if wanted else None
                return
        if any(specification.job_id == order.job_id for specification in self._waiting):
            self._previews[order.job_id] = order

    def _send_preview(self, job: Job, now: float) -> None:
        order = job.preview
        if order is None or order.max_side == 0 or now < order.due:
            return
        order.due = now + order.interval_s
        self._report(Previewed(job.job_id, job.run.preview(order.max_side)))

    def _prepare(self) -> bool:
        """Compute one target of a style of the catalogue; only while nobody waits for a picture."""
        if not self._unprepared:
            return False
        style = self._unprepared[0].style
        try:
            is_done = self._evaluator.prepare(style) == 0
        except Exception:
            logger.exception("targets of the style image %s cannot be prepared", style.key)
            self._unprepared.pop(0)
            return True
        if is_done:
            self._unprepared.pop(0)
            self._report(Prepared(style.key))
        return True
