"""What there is to know of a job: values that its callers read."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from styleserve import events
from styleserve.errors import RequestError
from styleserve.jobs.image_store import PREFIX as IMAGE_PREFIX

State: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
StopReason: TypeAlias = events.StopReason | Literal["cancelled"]

#: The contract's resource names of jobs begin so.
PREFIX = "jobs/"
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that the server made and keeps: `digest` is its SHA-256, the size is in pixels."""

    digest: str
    mime_type: str
    width: int
    height: int
    num_bytes: int

    @property
    def name(self) -> str:
        """`images/{sha256}`."""
        return IMAGE_PREFIX + self.digest


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a picture was made, as the contract has it; `reused_from` names the job that made it for another one.

    `is_whole` is no caller's business: all of the recipe was run, so that the picture may answer for other requests.
    """

    server_version: str
    weights: str
    device: str
    precision: str
    recipe_json: str
    styles: tuple[str, ...]
    network_passes: int
    reused_from: str = ""
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What there is to know of a job at one moment; times are seconds since the epoch."""

    name: str
    state: State
    create_time: float
    labels: tuple[tuple[str, str], ...]
    queue_position: int = 0
    progress: events.Progress | None = None
    error: RequestError | None = None
    result: StoredImage | None = None
    stop_reason: StopReason | None = None
    provenance: Provenance | None = None
    start_time: float | None = None
    end_time: float | None = None
    expire_time: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED
