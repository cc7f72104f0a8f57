"""PictureIndex: which picture was made already, by all that determines it, so that none is made twice."""

import hashlib
import json
from collections.abc import Iterable

from styleserve.events import EngineInfo
from styleserve.jobs.job import Job
from styleserve.jobs.submission import Submission
from styleserve.version import version


class PictureIndex:
    """Jobs whose pictures may answer for others: those that ran their whole recipe, by what they were asked and with.

    One that had a smaller plan to meet a deadline is none of them, even when it completed that; one that was answered
    by another's picture is. Of alike jobs the one that ended last answers, since it is kept longest.

    Two jobs are alike when caller, content, styles, recipe, output, network, precision, device and version are.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_request: dict[tuple[str, str], Job] = {}
        for job in sorted(jobs, key=lambda job: job.status.end_time or 0.0):
            self.note(job)

    def find(self, submission: Submission, engine: EngineInfo) -> Job | None:
        """A job that has the picture which this engine would make for the submission."""
        precision = engine.precision_for(submission.recipe)
        return self._jobs.get(_key(submission, version(), engine.weights, precision, engine.device))

    def knows(self, caller: str, fingerprint: str) -> bool:
        """Whether the same request of a caller made a picture before, most likely the one that it would make now."""
        return (caller, fingerprint) in self._by_request

    def note(self, job: Job) -> None:
        """Take note of a job that has ended, if its picture is that of its whole recipe."""
        if (key := _key_of(job)) is not None:
            self._jobs[key] = self._by_request[_request(job)] = job

    def forget(self, job: Job) -> None:
        """The job or its picture is there no more."""
        key = _key_of(job)
        if key is not None and self._jobs.get(key) is job:
            del self._jobs[key]
        if self._by_request.get(_request(job)) is job:
            del self._by_request[_request(job)]


def _request(job: Job) -> tuple[str, str]:
    return job.submission.caller, job.submission.fingerprint


def _key_of(job: Job) -> str | None:
    status, made = job.status, job.status.provenance
    if status.state != "succeeded" or made is None or not made.is_whole:
        return None
    return _key(job.submission, made.server_version, made.weights, made.precision, made.device)


def _key(submission: Submission, *maker: str) -> str:
    output = submission.output
    determining = [
        submission.caller,
        submission.content_digest,
        [[chosen.digest, chosen.name, chosen.weight, chosen.scale] for chosen in submission.styles],
        submission.recipe.to_json(),
        [output.height, output.width, output.image_format, output.quality, output.carries_provenance],
        maker,
    ]
    return hashlib.sha256(json.dumps(determining).encode()).hexdigest()
