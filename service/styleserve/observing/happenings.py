"""Happenings: what goes on in a server as values, each told once; beside what the engine itself tells."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from styleserve.evaluation import Losses
from styleserve.events import Checkpointed, Lost, Planned, Ready, Resumed, StopReason, Worked

EndState: TypeAlias = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over.

    `method` is `<package>.<service>/<method>`, or UNKNOWN_METHOD; `code` is the name of its status; `trace` is what
    `open_call` returned for it; `job` is the name of the job that it was about, as far as its answer told one.
    """

    method: str
    code: str
    seconds: float
    trace: str
    job: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job was taken in."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Inherited:
    """A job of an earlier server goes on at this one."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Waits:
    """A job waits at `position` of the queue, from 1; `trace` is the one that it belongs to, or empty."""

    job_id: str
    trace: str
    position: int


@dataclass(frozen=True, slots=True)
class TakenUp:
    """An engine began with a job that had waited so long."""

    job_id: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class BegunAnew:
    """A job that an engine had before begins from the start: there is no checkpoint that this one can go on from."""

    job_id: str


@dataclass(frozen=True, slots=True)
class FirstJudged:
    """A job's first canvas was judged, so many seconds after the job was submitted."""

    job_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Climbed:
    """A job works on a canvas of another size than before, from `iteration` on."""

    job_id: str
    iteration: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """A job came to another tenth of its iterations: `losses` are those of its canvas after `iteration` of them.

    Until then its canvases were judged `evaluations` times, and engines worked for it for `engine_s`.
    """

    job_id: str
    iteration: int
    evaluations: int
    losses: Losses
    engine_s: float


@dataclass(frozen=True, slots=True)
class LostEngine:
    """The engine that had a job was lost."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Computed:
    """The engine is done with a job, whose picture is yet to be finished and stored."""

    job_id: str
    iterations: int
    network_passes: int
    stop_reason: StopReason


@dataclass(frozen=True, slots=True)
class Reused:
    """A picture that was kept answers for the job."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more will happen to a job.

    `seconds` went by since it was submitted; the engine worked for it for `engine_s`. `reason` names the error of one
    that failed, and is empty otherwise.
    """

    job_id: str
    state: EndState
    seconds: float
    engine_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class PreviewSent:
    """A preview went to a watcher."""


@dataclass(frozen=True, slots=True)
class PreviewDropped:
    """A preview that a watcher should have had gave way to a newer one, or came too late."""


JobHappening: TypeAlias = (
    Admitted
    | Inherited
    | Waits
    | TakenUp
    | Planned
    | Resumed
    | BegunAnew
    | FirstJudged
    | Climbed
    | Advanced
    | Checkpointed
    | LostEngine
    | Computed
    | Reused
    | Ended
)
Happening: TypeAlias = CallEnded | JobHappening | PreviewSent | PreviewDropped | Ready | Lost | Worked
