"""What a server's processes take, looked at now and then from outside, and whether that has grown."""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from support.processes import Process, processes

#: Of the time watched, the part at its beginning that is compared with as much at its end.
SHARE = 0.2
#: What has grown by more than this share, and by more than the amount of its kind, has grown.
MOST_GROWTH = 0.05
#: Bytes, handles, threads and processes that come and go with what happens to be under way.
LEEWAY: Mapping[str, float] = {"memory_bytes": 4e6, "handles": 3, "threads": 3, "processes": 0.5}


@dataclass(frozen=True)
class Sample:
    """What was taken at a time, in seconds, by names such as `front memory_bytes`."""

    at_s: float
    taken: Mapping[str, float]


@dataclass(frozen=True)
class Growth:
    """The median of something at the beginning and at the end of the time watched."""

    name: str
    early: float
    late: float

    @property
    def is_one(self) -> bool:
        """Whether it is more than noise: what leaks 10 % over the time watched shows as 8 % here."""
        kind = self.name.split()[-1]
        return self.late - self.early > max(LEEWAY[kind], 0.0 if kind == "processes" else MOST_GROWTH * self.early)


async def keep_looking(mark: str, samples: list[Sample], interval_s: float) -> None:
    """Add a sample of the server with this mark now and then, until this is cancelled."""
    while True:
        samples.append(Sample(time.monotonic(), _sum_up(await asyncio.to_thread(processes, mark))))
        await asyncio.sleep(interval_s)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """How everything that is in the samples changed."""
    first_s, last_s = samples[0].at_s, samples[-1].at_s
    part_s = SHARE * (last_s - first_s)
    early = [sample.taken for sample in samples if sample.at_s <= first_s + part_s]
    late = [sample.taken for sample in samples if sample.at_s >= last_s - part_s]
    names = sorted({name for taken in early for name in taken} & {name for taken in late for name in taken})
    return [Growth(name, _median(early, name), _median(late, name)) for name in names]


def _median(several: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(taken[name] for taken in several if name in taken)


def _sum_up(found: Sequence[Process]) -> dict[str, float]:
    taken: dict[str, float] = {"processes": len(found)}
    for process in found:
        for kind in ("memory_bytes", "handles", "threads"):
            name = f"{process.role} {kind}"
            taken[name] = taken.get(name, 0) + getattr(process, kind)
    return taken
