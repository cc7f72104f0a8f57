"""What an engine tells about its jobs: values that travel up from its process, each told once."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from styleserve.costs import CostModel, Estimate
from styleserve.errors import ConfigurationError, RequestError
from styleserve.evaluation import Losses, Pixels
from styleserve.recipes import Recipe

StopReason: TypeAlias = Literal["completed", "converged", "deadline"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    `losses` are those of the canvas after `iteration` moves, at `width` x `height` pixels, None while no canvas was
    judged; `iteration` counts over all scales. `evaluations` counts losses with their gradient. `elapsed_s` and `eta_s`
    are seconds spent and left. `estimate` is what was expected before the job began.
    """

    iteration: int
    total_iterations: int
    evaluations: int
    losses: Losses | None
    width: int
    height: int
    elapsed_s: float
    eta_s: float
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs on, known once it is warm.

    `weights`, `device` and `precision` read as in the contract's Provenance. `costs` predicts jobs on it.
    """

    weights: str
    weights_trained: bool
    device: str
    precision: str
    costs: CostModel

    def precision_for(self, recipe: Recipe) -> str:
        """The arithmetic in which the network works for a recipe."""
        return "float32" if recipe.needs_float32 else self.precision


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is warm and takes jobs."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Lost:
    """The engine is gone, with every job it had; `description` is for the log.

    `error` is there when starting it again would end alike: what the operator has to mend.
    """

    description: str
    error: ConfigurationError | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The targets of the style image with this SHA-256 are on disk."""

    style_key: str


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The targets of the style image with this SHA-256 cannot be computed; the log says why."""

    style_key: str


@dataclass(frozen=True, slots=True)
class Started:
    """The engine took the job up."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The job was begun anew, and what it will take is known: `progress` is that of a canvas yet to be judged."""

    job_id: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Looked:
    """A piece of the job's targets was computed: `progress` is that of the last canvas, or of one yet to be judged."""

    job_id: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Resumed:
    """The job goes on from a checkpoint, at this iteration; what was done after it is done again.

    `engine_s` are the seconds that were worked for it by then, which those told from now on contain.
    """

    job_id: str
    iteration: int
    engine_s: float


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The job was written down at this iteration; the engine waited so long for it. Not kept: the disk took none."""

    job_id: str
    iteration: int
    seconds: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Progressed:
    """A canvas was judged; the first is the canvas that the job starts from.

    `engine_s` here and below are seconds that engines worked for the job: of a step that it shared, its part.
    """

    job_id: str
    progress: Progress
    engine_s: float


@dataclass(frozen=True, slots=True)
class Previewed:
    """A small picture of the canvas, uint8 RGB [h, w, 3], as large as the largest that was asked for."""

    job_id: str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Finished:
    """The job's result, [H, W, 3] of the specification's content, and what it cost.

    `recipe` is what it was painted with, as its content calibrated it. `ended` is when the engine was done with it, by
    `time.monotonic()`. `is_whole` when it ran all of its recipe, so that this is its picture whatever its deadline was.
    """

    job_id: str
    pixels: Pixels
    stop_reason: StopReason
    progress: Progress
    network_passes: int
    engine_s: float
    recipe: Recipe
    ended: float
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a picture."""

    job_id: str
    error: RequestError
    network_passes: int
    engine_s: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled and computes no more."""

    job_id: str
    network_passes: int
    engine_s: float


@dataclass(frozen=True, slots=True)
class Busy:
    """The engine begins a step of about so many seconds, and hears nothing meanwhile; told of long steps only."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """So many canvases, of so many pixels each, were evaluated together in so many seconds."""

    num_canvases: int
    num_pixels: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Worked:
    """What the engine did since it last said so.

    `target_passes` are passes of the network beside those of the steps, one a canvas. `resident_bytes` is the memory of
    the engine's process; None where that cannot be read. `slowness` is how many times as long as predicted its steps
    took of late.
    """

    steps: tuple[Step, ...]
    target_passes: int
    resident_bytes: int | None
    slowness: float = 1.0


@dataclass(frozen=True, slots=True)
class Settled:
    """No job is left, and the engine takes `base_bytes`: what the next job needs comes beside these."""

    base_bytes: int


JobEvent: TypeAlias = (
    Started | Planned | Looked | Resumed | Checkpointed | Progressed | Previewed | Finished | Failed | Cancelled
)
EngineEvent: TypeAlias = Ready | Lost | Prepared | Unprepared | Busy | Worked | Settled | JobEvent
