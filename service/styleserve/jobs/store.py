"""JobStore: where jobs are kept until they expire; in memory for now, behind what a durable store has to do."""

from collections.abc import Sequence
from typing import Protocol

from styleserve.jobs.job import Job


class JobStore(Protocol):
    """Keeps jobs by ID and by request ID."""

    def add(self, job: Job) -> None:
        """Keep a new job; its ID and request ID are free."""
        ...

    def save(self, job: Job) -> None:
        """Keep how the job stands now; called at every change of its state."""
        ...

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        ...

    def find_request(self, request_id: str) -> Job | None:
        """The job that this request ID made, or None."""
        ...

    def all(self) -> Sequence[Job]:
        """Every job, the newest first."""
        ...

    def remove(self, job: Job) -> None:
        """Forget the job."""
        ...


class MemoryJobStore:
    """Jobs in this process's memory, gone when it ends."""

    def __init__(self) -> None:
        self._by_id: dict[str, Job] = {}
        self._by_request: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        """Keep a new job."""
        assert job.job_id not in self._by_id
        self._by_id[job.job_id] = job
        if job.submission.request_id:
            self._by_request[job.submission.request_id] = job

    def save(self, job: Job) -> None:
        """Memory holds the job itself, so there is nothing to write."""

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return self._by_id.get(job_id)

    def find_request(self, request_id: str) -> Job | None:
        """The job that this request ID made, or None."""
        return self._by_request.get(request_id)

    def all(self) -> Sequence[Job]:
        """Every job, the newest first."""
        return sorted(self._by_id.values(), key=lambda job: job.number, reverse=True)

    def remove(self, job: Job) -> None:
        """Forget the job."""
        del self._by_id[job.job_id]
        self._by_request.pop(job.submission.request_id, None)
