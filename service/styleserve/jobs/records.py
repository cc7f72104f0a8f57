"""Records: jobs as the store writes them, in JSON; what of a job is worth keeping when the process ends."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from cattrs.preconf.json import make_converter

from styleserve.errors import RequestError, RetryLaterError
from styleserve.jobs.image_store import Owned
from styleserve.jobs.job import Job
from styleserve.jobs.journal import Journal, LogLine
from styleserve.jobs.status import ENDED, PREFIX, JobStatus
from styleserve.jobs.submission import Submission

#: Of anything that a job counts; messages have 32 bits for most of it.
_MOST_COUNTED = 2**31 - 1
#: Numbers of events have 64 bits there, since every restart leaves many of them out.
_LAST_SEQUENCE = 2**63 - 1
#: The last second that a message can tell, of the year 9999; none of a job's times or durations comes near it.
_LATEST = 253_402_300_799.0


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
    is_orphaned: bool = False


class Records:
    """Writes and reads records.

    A deadline is a reading of a clock that another process may not share, so that it is kept as a time of day.
    """

    def __init__(self) -> None:
        self._converter = make_converter()
        self._converter.register_unstructure_hook(RequestError, _describe)
        self._converter.register_structure_hook(RequestError, self._recall)

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
                is_orphaned=job.is_orphaned,
            )
        )

    def read(self, text: str, retention_s: float) -> Job:
        """The job of a record; raises an exception of whatever kind when it is none, or one that cannot be told."""
        json.dumps(json.loads(text), ensure_ascii=False).encode()  # half a character is one that no message holds
        record = self._converter.loads(text, _Record)
        _judge(record)
        submission = _with_deadline(record.submission, time.monotonic() - time.time())
        job = Job.restore(record.job_id, record.number, submission, record.status, record.last_sequence, retention_s)
        job.num_losses = record.num_losses
        job.lost_at = record.lost_at
        job.is_cancel_wanted = record.is_cancel_wanted
        job.is_orphaned = record.is_orphaned
        job.journal = Journal(record.journal)
        return job

    def _recall(self, description: Any, _: type[RequestError]) -> RequestError:
        kinds = {kind.reason: kind for kind in _leaves(RequestError)}
        kind = kinds[description["reason"]]
        hints = [hint for name, hint in get_type_hints(kind.__init__).items() if name != "return"]
        arguments = zip(description["arguments"], hints, strict=False)
        return kind(*(self._converter.structure(argument, hint) for argument, hint in arguments))


def needed_images(text: str) -> set[Owned]:
    """The images that the job of a record needs which `read` cannot read, as far as it can be told."""
    try:
        record = json.loads(text)
        submission = record["submission"]
        digests = [submission["content_digest"], *(chosen["digest"] for chosen in submission["styles"])]
        has_ended = record["status"]["state"] in ENDED
        return set() if has_ended else {(submission["caller"], digest) for digest in digests}
    except Exception:  # whatever is missing, or is something else
        return set()


def _with_deadline(submission: Submission, offset_s: float) -> Submission:
    """The submission with its deadline by another clock."""
    if submission.deadline is None:
        return submission
    return dataclasses.replace(submission, deadline=submission.deadline + offset_s)


def _describe(error: RequestError) -> dict[str, object]:
    return {"reason": error.reason, "arguments": list(error.args)}


def _judge(record: _Record) -> None:
    """Raise ValueError when a number is none that a job comes to: what was damaged in JSON may still be JSON."""
    status = record.status
    if status.name != PREFIX + record.job_id:
        raise ValueError("it has the names of two jobs")
    counts = [record.number, record.num_losses, status.queue_position]
    times = [status.create_time, status.start_time, status.end_time, status.expire_time]
    seconds: list[float] = []
    if status.progress is not None:
        made = status.progress
        counts += [made.iteration, made.total_iterations, made.evaluations, made.width, made.height]
        seconds += [made.elapsed_s, made.eta_s]
        if made.estimate is not None:
            counts += [made.estimate.tile_side or 0]
            seconds += [made.estimate.seconds, made.estimate.peak_bytes]
    if status.result is not None:
        counts += [status.result.width, status.result.height, status.result.num_bytes]
    if isinstance(status.error, RetryLaterError):
        seconds.append(status.error.retry_after_s)
    if status.provenance is not None:
        counts.append(status.provenance.network_passes)
    _judge_numbers(counts, _MOST_COUNTED)
    _judge_numbers([record.last_sequence], _LAST_SEQUENCE)
    _judge_numbers([moment for moment in times if moment is not None], _LATEST)
    _judge_numbers([line.time for line in record.journal], _LATEST)
    _judge_numbers(seconds, _LATEST)


def _judge_numbers(numbers: Sequence[float], most: float) -> None:
    if not all(0 <= number <= most for number in numbers):
        raise ValueError("one of its numbers is out of bounds")


def _leaves(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    """The errors that a caller is told, which all have a reason of their own."""
    if kind.reason:
        yield kind
    for narrower in kind.__subclasses__():
        yield from _leaves(narrower)
