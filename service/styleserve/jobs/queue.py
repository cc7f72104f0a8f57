"""JobQueue: jobs that wait for an engine, the highest priority first, then the longest waiting; bounded. Pure."""

from styleserve.jobs.job import Job


class JobQueue:
    """At most `max_jobs` jobs; those that an engine lost come back to the front, beyond the bound if need be."""

    def __init__(self, max_jobs: int) -> None:
        self.max_jobs = max_jobs
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return job in self._jobs

    @property
    def is_full(self) -> bool:
        """Whether nobody else may wait."""
        return len(self._jobs) >= self.max_jobs

    @property
    def first(self) -> Job:
        """The next job to run, while there is one."""
        return self._jobs[0]

    def push(self, job: Job) -> None:
        """Let a job wait; those of one priority go by their number, so a job that was lost goes first."""
        self._jobs.append(job)
        self._jobs.sort(key=lambda waiting: (-waiting.submission.priority, waiting.number))
        self._tell_positions()

    def pop(self) -> Job:
        """Take out the next job to run."""
        job = self._jobs.pop(0)
        job.leave_queue()
        self._tell_positions()
        return job

    def remove(self, job: Job) -> None:
        """Take out a job that waits no more."""
        self._jobs.remove(job)
        self._tell_positions()

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._jobs, start=1):
            job.wait_at(position)
