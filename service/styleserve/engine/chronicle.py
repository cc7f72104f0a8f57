"""The chronicle: has the engine's jobs written down, each now and then, one at a time and beside the engine's steps.

The engine waits while a job's arrays are copied, and no longer: the copy is written while it goes on. What is too large
to be kept twice is written as it is, and the engine waits for it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from styleserve.costs import MOST_COPIED_BYTES
from styleserve.engine.allowance import Allowance
from styleserve.engine.checkpoints import Checkpoint, Checkpoints
from styleserve.engine.job import Job
from styleserve.engine.specification import JobSpecification
from styleserve.engine.writing import Writing
from styleserve.events import Checkpointed, EngineEvent

#: Nothing is written when a deadline is nearer than this many times what the engine may have to wait for it.
_DEADLINE_MARGIN = 2.0


class Chronicle:
    """Keeps `checkpoints` of jobs, none when there is no place for them, and reports each."""

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        interval_s: float,
        report: Callable[[EngineEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self._checkpoints = checkpoints
        self._report = report
        self._allowance = Allowance(interval_s)
        self._clock = clock
        self._under_way: _UnderWay | None = None

    def find(self, specification: JobSpecification) -> Checkpoint | None:
        """What was written down of a job by whatever engine had it last."""
        if self._checkpoints is None:
            return None
        return self._checkpoints.read(specification.job_id, specification.log_fields)

    def write_due(self, jobs: Sequence[Job]) -> None:
        """Write down the job whose turn it is, if it is any's: of those with news, the one not written for longest."""
        if self._under_way is not None and not self._under_way.writing.has_ended:
            return
        self._settle()
        untold = [job for job in jobs if job.has_news]
        if not untold:
            return
        job = min(untold, key=lambda job: job.written)
        now = self._clock()
        if self._allowance.is_time(job.written, now) and not self._endangers_deadline(jobs, now):
            self._begin(job)

    def write_all(self, jobs: Sequence[Job]) -> None:
        """Write down every job with news, whatever time it takes: there will be no other."""
        for job in sorted(jobs, key=lambda job: job.written):
            self._settle()
            if job.has_news:
                self._begin(job)
        self._settle()

    def forget(self, job: Job) -> None:
        """The job is over: its checkpoint is about to be removed, and must not come to its place after that."""
        if self._under_way is not None and self._under_way.job_id == job.job_id:
            self._under_way.writing.abandon()

    def _endangers_deadline(self, jobs: Sequence[Job], now: float) -> bool:
        deadlines = [job.specification.deadline for job in jobs if job.specification.deadline is not None]
        return min(deadlines, default=math.inf) < now + _DEADLINE_MARGIN * self._allowance.most_s

    def _begin(self, job: Job) -> None:
        if self._checkpoints is None:
            return
        begun = self._clock()
        assert job.judged is not None
        checkpoint = job.checkpoint(begun)
        if checkpoint.snapshot.num_bytes <= MOST_COPIED_BYTES:
            copied = dataclasses.replace(checkpoint, snapshot=checkpoint.snapshot.copy())
            writing = Writing(self._checkpoints, job.specification, copied)
        else:
            writing = Writing(self._checkpoints, job.specification, checkpoint)
            writing.wait()
        job.written, job.has_news = self._clock(), False
        self._allowance.spend(job.written - begun, job.written)
        self._under_way = _UnderWay(job.job_id, writing, job.judged.iteration, job.written - begun)

    def _settle(self) -> None:
        """Wait for what is being written, and report it."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        under_way.writing.wait()
        if not under_way.writing.is_abandoned:
            self._report(
                Checkpointed(under_way.job_id, under_way.iteration, under_way.delay_s, under_way.writing.is_kept)
            )


@dataclasses.dataclass(frozen=True, slots=True)
class _UnderWay:
    """What is being written of a job: as it was at an iteration, after the engine waited for `delay_s` seconds.

    The job itself may be over by the time this is looked at, and is as large as its canvas.
    """

    job_id: str
    writing: Writing
    iteration: int
    delay_s: float
