"""Room: when a full queue will have some, by what the engine's jobs have taken so far and what is left of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from styleserve.events import EngineInfo
from styleserve.jobs import timing
from styleserve.jobs.job import Job
from styleserve.jobs.passage import Passage

_LEAST_S = 1.0


@dataclass(frozen=True, slots=True)
class Room:
    """There is room for one in `first_s` seconds, and for another one every `next_s` seconds from then on."""

    first_s: float = _LEAST_S
    next_s: float = _LEAST_S


def foresee(inside: Iterable[Job], engine: EngineInfo | None, way_out: Passage) -> Room:
    """The room there will be as jobs leave the engine, so that others leave the queue.

    Jobs that run n side by side, each for t seconds, leave every t / n seconds on average.
    """
    times = [_spent_and_left_s(job, engine, way_out) for job in inside]
    if not times:
        return Room()
    whole_s = sum(spent_s + left_s for spent_s, left_s in times) / len(times)
    return Room(max(_LEAST_S, min(left_s for _, left_s in times)), whole_s / len(times))


def first_leaves_s(inside: Iterable[Job], engine: EngineInfo | None, way_out: Passage) -> float:
    """Seconds until one of the engine's jobs leaves it; 0 when it has none."""
    return min((_spent_and_left_s(job, engine, way_out)[1] for job in inside), default=0.0)


def _spent_and_left_s(job: Job, engine: EngineInfo | None, way_out: Passage) -> tuple[float, float]:
    progress = job.status.progress
    if progress is None or progress.losses is None:  # what was left when it was planned is less by now
        return 0.0, timing.share_s(job.submission, engine, way_out)
    return progress.elapsed_s, progress.eta_s
