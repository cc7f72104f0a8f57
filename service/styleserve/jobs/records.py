"""Records: jobs as the store writes them, in JSON; what of a job is worth keeping when the process ends."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cattrs.preconf.json import make_converter

from styleserve.errors import RequestError
from styleserve.jobs.job import Job
from styleserve.jobs.journal import Journal, LogLine
from styleserve.jobs.status import JobStatus
from styleserve.jobs.submission import Submission


@dataclass(frozen=True, slots=True)
class _Record:
    """A job as it is kept; the deadline in its submission is in seconds since the epoch."""

    job_id: str
    number: int
    submission: Submission
    status: JobStatus
    last_sequence: int
    num_losses: int
    lost_at: int
    is_cancel_wanted: bool
    journal: tuple[LogLine, ...] = ()


class Records:
    """Writes and reads records.

    A deadline is a reading of a clock that another process may not share, so that it is kept as a time of day.
    """

    def __init__(self) -> None:
        self._converter = make_converter()
        self._converter.register_unstructure_hook(RequestError, _describe)
        self._converter.register_structure_hook(RequestError, _recall)

    def write(self, job: Job) -> str:
        """The record of a job."""
        return self._converter.dumps(
            _Record(
                job_id=job.job_id,
                number=job.number,
                submission=_with_deadline(job.submission, time.time() - time.monotonic()),
                status=job.status,
                last_sequence=job.feed.last_sequence,
                num_losses=job.num_losses,
                lost_at=job.lost_at,
                is_cancel_wanted=job.is_cancel_wanted,
                journal=job.journal.lines,
            )
        )

    def read(self, text: str, retention_s: float) -> Job:
        """The job of a record; raises an exception of whatever kind when it is none."""
        record = self._converter.loads(text, _Record)
        submission = _with_deadline(record.submission, time.monotonic() - time.time())
        job = Job.restore(record.job_id, record.number, submission, record.status, record.last_sequence, retention_s)
        job.num_losses = record.num_losses
        job.lost_at = record.lost_at
        job.is_cancel_wanted = record.is_cancel_wanted
        job.journal = Journal(record.journal)
        return job


def _with_deadline(submission: Submission, offset_s: float) -> Submission:
    """The submission with its deadline by another clock."""
    if submission.deadline is None:
        return submission
    return dataclasses.replace(submission, deadline=submission.deadline + offset_s)


def _describe(error: RequestError) -> dict[str, object]:
    return {"reason": error.reason, "arguments": list(error.args)}


def _recall(description: Any, _: type[RequestError]) -> RequestError:
    kinds = {kind.reason: kind for kind in _leaves(RequestError)}
    return kinds[description["reason"]](*description["arguments"])


def _leaves(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    """The errors that a caller is told, which all have a reason of their own."""
    if kind.reason:
        yield kind
    for narrower in kind.__subclasses__():
        yield from _leaves(narrower)
