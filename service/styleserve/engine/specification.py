"""What an engine is told: jobs to do, previews to make, targets to prepare. Values that travel down to its process."""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from styleserve import logs
from styleserve.evaluation import Pixels, StyleImage
from styleserve.recipes import Recipe


@dataclass(frozen=True, slots=True)
class JobSpecification:
    """All that the engine needs to make a picture.

    `content` has the size of the result. `deadline` is a reading of `time.monotonic()`, which processes of one machine
    share: the engine ends the job so that its result is there by then, as `Finished` with the best canvas, or as
    `Failed` with RunTimeoutError when `fails_at_deadline` or nothing is painted yet. So it does `run_timeout_s` seconds
    after it began the job: what it has to finish before does not count. `caller` and `trace`, which may be empty, are
    for the log alone.
    """

    job_id: str
    content: Pixels
    styles: tuple[StyleImage, ...]
    recipe: Recipe
    deadline: float | None = None
    run_timeout_s: float | None = None
    fails_at_deadline: bool = False
    caller: str = ""
    trace: str = ""

    @property
    def log_fields(self) -> dict[str, str]:
        """What every line of the log about the job carries."""
        return logs.job_fields(self.job_id, self.caller, self.trace)

    @property
    def identity(self) -> str:
        """SHA-256 of all that determines the picture beside the network: content, styles and recipe."""
        digest = hashlib.sha256(np.ascontiguousarray(self.content).data)
        digest.update(repr([(style.key, style.weight, style.scale) for style in self.styles]).encode())
        digest.update(self.recipe.to_json().encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the job within one evaluation; unknown and ended jobs are ignored."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Send a `Previewed` of at most `max_side` pixels now and every `interval_s` seconds; a `max_side` of 0 ends it."""

    job_id: str
    max_side: int
    interval_s: float


@dataclass(frozen=True, slots=True)
class Prepare:
    """Compute and store the targets of a style image for the default preset, whenever there is nothing else to do."""

    style: StyleImage


Command: TypeAlias = JobSpecification | Cancel | Preview | Prepare
