"""Journal: what happened to one job, in words of ours that its caller may read; bounded, and kept with the job."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from styleserve.costs import Estimate
from styleserve.events import Checkpointed, Planned, Resumed
from styleserve.observing.happenings import (
    Admitted,
    Advanced,
    BegunAnew,
    Climbed,
    Computed,
    Ended,
    FirstJudged,
    Inherited,
    JobHappening,
    LostEngine,
    Reused,
    TakenUp,
    Waits,
)

Level: TypeAlias = Literal["info", "warning", "error"]

#: Lines of a job that are kept; the oldest go first.
MAX_LINES = 64


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: `time` in seconds since the epoch, and a sentence without anything of the server's or of other jobs."""

    time: float
    level: Level
    text: str


class Journal:
    """The lines of one job, the oldest first, at most `MAX_LINES` of less than 200 characters."""

    def __init__(self, lines: Sequence[LogLine] = ()) -> None:
        self._lines = list(lines)
        self._last: JobHappening | None = None

    @property
    def lines(self) -> tuple[LogLine, ...]:
        """What happened, the oldest first."""
        return tuple(self._lines)

    def note(self, happening: JobHappening) -> None:
        """Write down what happened; one checkpoint after another takes the place of the one before."""
        words = _describe(happening)
        if words is None:
            return
        if isinstance(happening, Checkpointed) and isinstance(self._last, Checkpointed):
            self._lines.pop()
        self._last = happening
        self._lines.append(LogLine(time.time(), *words))
        del self._lines[:-MAX_LINES]


def _describe(happening: JobHappening) -> tuple[Level, str] | None:
    """Level and words; None for what is not worth a line."""
    match happening:
        case Admitted():
            return "info", "admitted"
        case Inherited():
            return "info", "goes on at the next server"
        case Reused():
            return "info", "a picture that was kept answers for it"
        case Waits(position=position):
            return "info", f"waits at place {position} of the queue"
        case TakenUp(waited_s=waited_s):
            return "info", f"taken up by an engine after {waited_s:.1f} s"
        case Planned(progress=progress):
            return None if progress.estimate is None else ("info", _expect(progress.estimate))
        case Resumed(iteration=iteration):
            return "info", f"goes on from its checkpoint at iteration {iteration}"
        case BegunAnew():
            return (
                "warning",
                "begins anew, as there is no checkpoint that this network and version can go on from",
            )
        case Climbed(iteration=iteration, width=width, height=height):
            return "info", f"works at {width} x {height} pixels from iteration {iteration} on"
        case Checkpointed(iteration=iteration, is_kept=True):
            return "info", f"written down at iteration {iteration}"
        case Checkpointed(iteration=iteration):
            return "warning", f"could not be written down at iteration {iteration}; the disk did not take it"
        case LostEngine():
            return "warning", "the engine was lost under it"
        case Computed(iterations=iterations, network_passes=passes, stop_reason=reason):
            return "info", f"computed in {iterations} iterations and {passes} passes of the network: {reason}"
        case Ended(state="failed", reason=reason):
            return "error", f"failed: {reason}"
        case Ended(state=state):
            return "info", state
        case FirstJudged() | Advanced():
            return None


def _expect(estimate: Estimate) -> str:
    tiles = "" if estimate.tile_side is None else f", in tiles of {estimate.tile_side} pixels"
    return f"expected to take {estimate.seconds:.1f} s and {estimate.peak_bytes / 1e9:.2f} GB{tiles}"
