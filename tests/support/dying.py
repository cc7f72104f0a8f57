"""Moments of a front's life at which a test has it end: chance would hit them too seldom."""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from styleserve.jobs.image_store import Incoming
from styleserve.jobs.job import Job
from styleserve.jobs.pictures import Pictures
from styleserve.jobs.store import JobStore


@dataclass(frozen=True)
class Moment:
    """The beginning or the end of a method, when its arguments are of the kind that is waited for."""

    owner: type
    method: str
    is_after: bool
    is_due: Callable[..., bool] = lambda *_: True


MOMENTS = {
    "before the job is on the disk": Moment(JobStore, "add", is_after=False),
    "before the job is answered for": Moment(JobStore, "add", is_after=True),
    "before the picture is encoded": Moment(Pictures, "deliver", is_after=False),
    # A result carries who made it; what callers upload does not.
    "before the picture has its name": Moment(Incoming, "write", True, lambda _, data: b"StyleServe" in data),
    "before the job knows of its picture": Moment(Pictures, "deliver", is_after=True),
    "before the end is on the disk": Moment(Job, "succeed", is_after=True),
    "before the end is told to all": Moment(JobStore, "save", True, lambda _, job: job.has_ended),
}


def die_once(mark: Path, name: str) -> None:
    """Let this process end without a word when it comes to the moment, unless `mark` says that another did."""
    moment = MOMENTS[name]
    method = getattr(moment.owner, moment.method)

    def die_if_due(*arguments: object) -> None:
        if not mark.exists() and moment.is_due(*arguments):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(method)
    def dying(*arguments):
        if not moment.is_after:
            die_if_due(*arguments)
        result = method(*arguments)
        if moment.is_after:
            die_if_due(*arguments)
        return result

    setattr(moment.owner, moment.method, dying)
