"""Deadlines: whose picture would be late for what the engine does next, and who goes first for that.

A job whose deadline would pass during a step of others is not ended for it while a step of its own still fits: it goes
first. So small canvases beside a large one use their time to the end. The large one waits, but its group is owed what
the others have had, and once they lead by as much as its step takes, it goes, whoever is late for it: else a line of
small jobs with near deadlines would hold it up for ever.
"""

from collections.abc import Callable, Sequence

from styleserve.engine.job import Job
from styleserve.engine.pace import Coming, Pace
from styleserve.engine.scheduler import Scheduler


class Deadlines:
    """Compares deadlines, readings of `clock`, with what steps take by `pace` and have taken by `scheduler`."""

    def __init__(self, pace: Pace, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._pace = pace
        self._scheduler = scheduler
        self._clock = clock
        self._put_off: dict[str, float] = {}

    def late(self, jobs: Sequence[Job], coming: Coming) -> list[Job]:
        """Those whose deadline would pass during what comes, if it takes the most that it may.

        A job that has nothing to return yet is worth the hope that nothing holds it up: it has nothing to lose.
        """
        now = self._clock()
        return [
            job
            for job in jobs
            if (deadline := job.specification.deadline) is not None
            and now + (coming.most_s if job.has_painted else coming.hoped_s) > deadline
        ]

    def left_s(self, job: Job) -> float:
        """Seconds until a job's deadline; 0 after it."""
        assert job.specification.deadline is not None
        return max(0.0, job.specification.deadline - self._clock())

    def choose(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """The batch to serve next, and the jobs that would be late for it: they have to end before."""
        self._scheduler.gather(jobs)
        candidates = list(jobs)
        while candidates:
            batch = self._scheduler.choose(candidates)
            step = self._pace.coming(batch)
            late = self.late(jobs, step)
            sooner = [job for job in self._still_fitting(late) if job in candidates and self._may_go(job, batch, step)]
            if not sooner:
                return batch, late
            # A whole batch whose jobs fit one by one is no smaller yet: whoever has the least time goes alone.
            candidates = sooner if len(sooner) < len(candidates) else [min(sooner, key=self.left_s)]
        return [], []

    def _may_go(self, job: Job, batch: Sequence[Job], step: Coming) -> bool:
        """Whether a job may go in the place of a batch, or alone out of it, for which it would be late."""
        is_alone = job in batch and len(batch) == 1
        return not is_alone and self._scheduler.lead_s(job, batch[0]) < step.most_s

    def puts_off(self, job_id: str, coming: Coming, running: Sequence[Job]) -> bool:
        """Whether a job's beginning waits for those that would be late for it.

        It waits for as long as it takes at most.
        """
        if not self._still_fitting(self.late(running, coming)):
            self.forget(job_id)
            return False
        now = self._clock()
        return now - self._put_off.setdefault(job_id, now) < coming.most_s

    def forget(self, job_id: str) -> None:
        """The job is begun, or gone."""
        self._put_off.pop(job_id, None)

    def _still_fitting(self, jobs: Sequence[Job]) -> list[Job]:
        """Those whose next step would not make them late."""
        return [job for job in jobs if not self.late([job], self._pace.coming([job]))]
