"""The engine repeats one line: choose jobs of one shape, evaluate them in a batch, advance each.

It owns its jobs and is driven by whoever calls `step`: a process behind the server, a `while` in a script, a test.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from styleserve.costs import CostModel
from styleserve.engine import planning
from styleserve.engine.beginning import begin
from styleserve.engine.checkpoints import Checkpoints
from styleserve.engine.chronicle import Chronicle
from styleserve.engine.deadlines import Deadlines
from styleserve.engine.forecast import Forecast
from styleserve.engine.job import Job
from styleserve.engine.ledger import Ledger
from styleserve.engine.pace import Coming, Expectation, Pace
from styleserve.engine.preparing import Preparing
from styleserve.engine.previews import Previews
from styleserve.engine.scheduler import MAX_BATCH, Scheduler
from styleserve.engine.specification import Cancel, Command, JobSpecification, Prepare, Preview
from styleserve.errors import DivergedError, EngineError, RequestError, RunTimeoutError
from styleserve.evaluation import Evaluator
from styleserve.events import (
    Busy,
    Cancelled,
    EngineEvent,
    Failed,
    Finished,
    Looked,
    Planned,
    Progressed,
    Resumed,
    Settled,
    Started,
    StopReason,
)
from styleserve.optimizers import AnyOptimizer
from styleserve.recipes import OptimizerName

logger = logging.getLogger(__name__)

#: What is likely to take more seconds is told of before it begins: in less, a call that waits for it loses little.
LONG_STEP_S = 0.25


class Engine:
    """Makes pictures, a step at a time.

    `report` hears each event once, in order, on the thread that calls `step` or `accept`. `clock` reads seconds as
    `time.monotonic` does. `costs` bounds the memory and fits jobs to their deadlines; without it every canvas is judged
    whole, and a job goes as far as its deadline lets it. With a `max_batch` of 1 every job is evaluated by itself, so
    that its picture is the same, to the bit, whatever runs beside it. With `checkpoints` a job goes on where whatever
    engine had it before wrote it down, as this one does every `checkpoint_s` seconds or, for want of time, less often.
    `resident_bytes` reads the memory of its process, to be told; `give_back` gives back what of it is free, and is
    called wherever what jobs keep changes, so that no canvas has memory beside it that only another needed. It returns
    the bytes that are taken then, on the device that `costs` are about; None where nobody can say.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        optimizers: Mapping[OptimizerName, AnyOptimizer],
        report: Callable[[EngineEvent], None],
        clock: Callable[[], float] = time.monotonic,
        costs: CostModel | None = None,
        max_batch: int = MAX_BATCH,
        checkpoints: Checkpoints | None = None,
        checkpoint_s: float = 10.0,
        resident_bytes: Callable[[], int | None] = lambda: None,
        give_back: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._evaluator = evaluator
        self._optimizers = optimizers
        self._report = report
        self._clock = clock
        self._costs = costs
        self._scheduler = Scheduler(max_batch)
        self._chronicle = Chronicle(checkpoints, checkpoint_s, report, clock)
        self._ledger = Ledger(report, clock, resident_bytes)
        self._give_back = give_back
        self._is_settled = True
        self._previews = Previews(report)
        self._preparing = Preparing(
            evaluator, costs, report, clock, self._announce, self._ledger.note_targets, give_back
        )
        self._waiting: list[JobSpecification] = []
        self._jobs: list[Job] = []
        self._num_steps = 0
        self._pace = Pace(clock)
        self._deadlines = Deadlines(self._pace, self._scheduler, clock)

    def accept(self, command: Command) -> None:
        """Take a command; a new job is begun by one of the next steps."""
        match command:
            case JobSpecification():
                self._waiting.append(command)
            case Cancel(job_id):
                self._cancel(job_id)
            case Preview():
                self._previews.order(command, self._jobs, self._waiting)
            case Prepare():
                self._preparing.accept(command)

    def step(self) -> bool:
        """Begin jobs that wait, then choose, evaluate and advance; False when there was nothing to do."""
        self._begin_waiting()
        is_busy = bool(self._jobs or self._waiting)
        if batch := self._choose():
            self._serve(batch)
        for job in [job for job in self._jobs if job.is_ready_to_climb(self._clock())]:
            self._climb(job)
        if is_busy:
            self._chronicle.write_due(self._jobs)
        else:
            self._settle()
            is_busy = self._preparing.step()
        self._ledger.tell(is_idle=not is_busy, slowness=self._pace.slowness)
        return is_busy

    def close(self) -> None:
        """Write every job down and drop it; for the end of the process."""
        self._chronicle.write_all(self._jobs)
        for job in self._jobs:
            job.run.close()
        self._jobs.clear()
        self._waiting.clear()

    def _settle(self) -> None:
        """When no job is left, give back what they needed and plan by what is taken still.

        Some of what the first of a kind needed is there for good. Its picture is on its way by now, and counts no more.
        """
        if self._is_settled:
            return
        self._is_settled = True
        base_bytes = self._give_back()
        if base_bytes is not None and self._costs is not None:
            self._costs = self._costs.based_on(base_bytes)
            self._report(Settled(base_bytes))

    def _begin_waiting(self) -> None:
        """Begin jobs that wait, until that took as long as a step of the largest that runs.

        Each may need a look at its content: for all of many at once, those that run would have to wait too long; with
        a step after each, the last of many would.
        """
        begun = self._clock()
        while specification := self._next_waiting():
            self._waiting.remove(specification)
            self._begin(_begun_at(specification, self._clock()))
            longest_s = max((job.step_s for job in self._jobs), default=0.0)
            if self._clock() - begun >= self._pace.slowness * longest_s:
                return

    def _next_waiting(self) -> JobSpecification | None:
        """The first of those that wait whose beginning makes nobody late who still has a step to make."""

        for specification in self._waiting:
            forecast = Forecast(specification, self._evaluator, self._costs)
            if not self._deadlines.puts_off(specification.job_id, self._beginning(forecast), self._jobs):
                return specification
        return None

    def _beginning(self, forecast: Forecast) -> Coming:
        return self._pace.coming_other(forecast.calibration_s())

    def _begin(self, specification: JobSpecification) -> None:
        forecast = Forecast(specification, self._evaluator, self._costs)
        checkpoint = self._chronicle.find(specification)
        self._deadlines.forget(specification.job_id)
        beginning = self._beginning(forecast)
        self._end(self._deadlines.late(self._jobs, beginning))
        self._report(Started(specification.job_id))
        self._announce(beginning.most_s)
        self._is_settled = False
        begun = self._clock()
        try:
            optimizer = self._optimizers[specification.recipe.optimizer]
            slowness = self._pace.slowness * (1 + len(self._jobs))
            job = begin(forecast, optimizer, self._evaluator, self._clock, slowness, checkpoint)
        except Exception:
            logger.exception("%s cannot be begun", specification.job_id, extra=specification.log_fields)
            self._previews.forget(specification.job_id)
            self._report(Failed(specification.job_id, EngineError(), network_passes=0, engine_s=0.0))
            return
        earlier_passes = 0
        if checkpoint is not None and job.judged is not None:
            earlier_passes = checkpoint.network_passes
            self._report(Resumed(job.job_id, job.judged.iteration, job.engine_s))
        if job.judged is None:
            self._report(Planned(job.job_id, job.so_far(self._clock())))
        self._ledger.note_targets(job.network_passes - earlier_passes)
        begin_s = self._clock() - begun
        job.engine_s += begin_s
        self._previews.begin(job)
        # It came during the last step, so it has waited longer than whom that step served, and no longer than others.
        job.last_served = self._num_steps - 1
        self._jobs.append(job)
        self._scheduler.charge(job.batch_key, begin_s)
        if self._costs is not None:
            self._costs = self._costs.after(specification.recipe)

    def _choose(self) -> list[Job]:
        """The next batch, after the end of every job that would be late for it; empty when none has a step to make."""
        batch, late = self._deadlines.choose(self._jobs)
        while late:
            self._end(late)
            batch, late = self._deadlines.choose(self._jobs)
        return batch

    def _serve(self, batch: list[Job]) -> None:
        """Step the batch and record what came of it; a fault of the batch ends its jobs and no other."""
        self._num_steps += 1
        group, expected = batch[0].batch_key, Expectation.of(batch)
        is_look = batch[0].is_looking
        self._announce(self._pace.likely_s(expected))
        begun = self._clock()
        try:
            judged = self._work(batch)
        except Exception:
            for job in batch:
                logger.exception("a step failed for %s", job.job_id, extra=job.specification.log_fields)
                self._fail(job, EngineError())
            return
        now = self._clock()
        self._scheduler.record(group, len(batch), now - begun)
        if not is_look:  # after which the next style may be decoded, and that says nothing about the network
            self._pace.record(expected, now - begun)
        for job in batch:
            job.last_served = self._num_steps
            job.engine_s += (now - begun) / len(batch)
        for job in judged:
            job.network_passes += 1
            self._advance(job, now)

    def _announce(self, likely_s: float) -> None:
        """Tell of what may keep the engine from hearing of anything for a while."""
        if likely_s > LONG_STEP_S:
            self._report(Busy(likely_s))

    def _work(self, batch: Sequence[Job]) -> list[Job]:
        """Judge a batch, or compute a piece of the targets that one job lacks; returns those that were judged."""
        job, begun = batch[0], self._clock()
        if job.is_looking:
            self._look(job)
            return []
        evaluations = [job.run.evaluations for job in batch]
        job.optimizer.step([job.run for job in batch])
        each_s = (self._clock() - begun) / len(batch)
        for job in batch:
            job.unjudged_s += each_s
        judged = [job for job, before in zip(batch, evaluations, strict=True) if job.run.evaluations > before]
        if judged:
            self._ledger.note_step(len(judged), judged[0].num_pixels, sum(job.unjudged_s for job in judged))
        for job in judged:
            job.unjudged_s = 0.0
        return judged

    def _look(self, job: Job) -> None:
        objective = job.run.objective
        passes = objective.network_passes
        objective.look()
        job.network_passes += objective.network_passes - passes
        self._ledger.note_targets(objective.network_passes - passes)
        now = self._clock()
        if objective.is_ready:
            job.note_ready(now)
        self._report(Looked(job.job_id, job.so_far(now)))

    def _advance(self, job: Job, now: float) -> None:
        """Tell how far the job is; end it when it is done, or cannot go on."""
        if job.run.failure is not None:
            logger.error("%s cannot go on", job.job_id, exc_info=job.run.failure, extra=job.specification.log_fields)
            self._fail(job, EngineError())
            return
        losses = job.run.losses
        assert losses is not None
        if not losses.is_finite:
            self._fail(job, DivergedError(job.progress(losses, now).iteration, job.specification.recipe.to_json()))
            return
        job.judged, job.has_news = job.progress(losses, now), True
        self._report(Progressed(job.job_id, job.judged, job.engine_s))
        self._previews.send(job, now)
        if job.run.ended is not None and not job.has_next_scale:
            self._finish(job, job.run.ended)

    def _climb(self, job: Job) -> None:
        """Carry a job to its next scale, whose targets come with the next steps."""
        begun, passes = self._clock(), job.network_passes
        job.forecast = dataclasses.replace(job.forecast, costs=self._costs)  # by which its steps are traced by now
        self._give_back()
        try:
            job.climb(self._evaluator, self._clock, self._pace.slowness * len(self._jobs))
        except Exception:
            logger.exception("%s cannot go on at its next scale", job.job_id, extra=job.specification.log_fields)
            self._fail(job, EngineError())
            return
        climb_s = self._clock() - begun
        job.engine_s += climb_s
        self._scheduler.charge(job.batch_key, climb_s)
        self._ledger.note_targets(job.network_passes - passes)

    def _end(self, late: Sequence[Job]) -> None:
        """End jobs at their deadlines, or as soon as they cannot keep them, with what they have painted."""
        for job in late:
            if job.specification.fails_at_deadline or not job.has_painted:
                self._fail(job, RunTimeoutError(job.has_painted, self._deadlines.left_s(job)))
            else:
                self._finish(job, "deadline")

    def _finish(self, job: Job, stop_reason: StopReason) -> None:
        assert job.judged is not None
        ended = self._clock()
        progress = dataclasses.replace(job.judged, elapsed_s=ended - job.started, eta_s=0.0)
        try:
            picture, is_whole = job.picture(), job.is_whole
        except Exception:
            logger.exception("the picture of %s cannot be made", job.job_id, extra=job.specification.log_fields)
            self._fail(job, EngineError())
            return
        self._forget(job)
        self._tell_end(
            Finished(
                job.job_id,
                picture,
                stop_reason,
                progress,
                job.network_passes,
                job.engine_s,
                job.specification.recipe,
                ended,
                is_whole,
            )
        )

    def _fail(self, job: Job, error: RequestError) -> None:
        self._forget(job)
        self._tell_end(Failed(job.job_id, error, job.network_passes, job.engine_s))

    def _cancel(self, job_id: str) -> None:
        for specification in self._waiting:
            if specification.job_id == job_id:
                self._waiting.remove(specification)
                self._deadlines.forget(job_id)
                self._previews.forget(job_id)
                self._report(Cancelled(job_id, network_passes=0, engine_s=0.0))
                return
        for job in self._jobs:
            if job.job_id == job_id:
                self._forget(job)
                self._tell_end(Cancelled(job_id, job.network_passes, job.engine_s))
                return

    def _forget(self, job: Job) -> None:
        self._chronicle.forget(job)
        self._deadlines.forget(job.job_id)
        job.run.close()
        self._jobs.remove(job)

    def _tell_end(self, end: Finished | Failed | Cancelled) -> None:
        """Tell of a job's end before its memory is given back, which takes time that its deadline may not have."""
        self._report(end)
        if self._jobs or self._waiting:
            self._give_back()


def _begun_at(specification: JobSpecification, now: float) -> JobSpecification:
    """The job with the deadline that it has when it is begun now.

    A little earlier than what limits it, where a picture is to be there by then.
    """
    timeout_s = specification.run_timeout_s
    limits = (specification.deadline, None if timeout_s is None else now + timeout_s)
    deadline = min((limit for limit in limits if limit is not None), default=None)
    if deadline is not None and not specification.fails_at_deadline:
        deadline -= planning.reserve_s(deadline - now)
    return dataclasses.replace(specification, deadline=deadline, run_timeout_s=None)
