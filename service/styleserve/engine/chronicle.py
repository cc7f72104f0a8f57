"""The chronicle: writes the engine's jobs down, each now and then, on the engine's own thread and between its steps."""

import math
from collections.abc import Callable, Sequence

from styleserve.engine.allowance import Allowance
from styleserve.engine.checkpoints import Checkpoint, Checkpoints
from styleserve.engine.job import Job
from styleserve.events import Checkpointed, EngineEvent

#: A write is left out when a deadline is nearer than this many times what it may take.
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

    def find(self, job_id: str) -> Checkpoint | None:
        """What was written down of a job by whatever engine had it last."""
        return self._checkpoints.read(job_id) if self._checkpoints is not None else None

    def write_due(self, jobs: Sequence[Job]) -> None:
        """Write down the job whose turn it is, if it is any's: of those with news, the one not written for longest."""
        untold = [job for job in jobs if job.has_news]
        if not untold:
            return
        job = min(untold, key=lambda job: job.written)
        now = self._clock()
        if self._allowance.is_time(job.written, now) and not self._endangers_deadline(jobs, now):
            self._write(job)

    def write_all(self, jobs: Sequence[Job]) -> None:
        """Write down every job with news, whatever time it takes: there will be no other."""
        for job in sorted(jobs, key=lambda job: job.written):
            if job.has_news:
                self._write(job)

    def _endangers_deadline(self, jobs: Sequence[Job], now: float) -> bool:
        deadlines = [job.specification.deadline for job in jobs if job.specification.deadline is not None]
        return min(deadlines, default=math.inf) < now + _DEADLINE_MARGIN * self._allowance.most_s

    def _write(self, job: Job) -> None:
        if self._checkpoints is None:
            return
        begun = self._clock()
        assert job.judged is not None
        is_kept = self._checkpoints.write(job.job_id, job.checkpoint(begun))
        job.written, job.has_news = self._clock(), False
        self._allowance.spend(job.written - begun, job.written)
        self._report(Checkpointed(job.job_id, job.judged.iteration, job.written - begun, is_kept))
