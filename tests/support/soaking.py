"""A soak: servers under callers of every kind for a long time, some killed now and then, all of them watched."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.killing import (
    Victim,
    Whom,
    free_address,
    living,
    network_victim,
    toy_victim,
    until,
    until_answered,
)
from support.service import GREY, request
from support.soak_callers import DEEDS, Ledger, World, call_until, make_all_kinds
from support.watching import Growth, Sample, growths, keep_looking

#: From the beginning until memory and all else may not grow any more: a sixth of the time, and what retention takes to
#: forget the first jobs.
SETTLING_SHARE, SETTLING_S = 1 / 6, 150.0
#: Ended jobs are forgotten soon, so that their number stays the same; where kills keep callers away, later.
_RETENTION_S, _RETENTION_OF_KILLED_S = 60.0, 600.0
_NUM_CALLERS = 4
_MOST_SAMPLES_TOLD = 60


@dataclass
class Soaked:
    """A server of a soak and what became of it; every `killed_every_s` seconds or so one of `killed` is, if any."""

    name: str
    victim: Victim
    address: str
    style: str
    iterations: int
    killed_every_s: float | None = None
    killed: tuple[Whom, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    samples: list[Sample] = field(default_factory=list)
    kills: Counter[Whom] = field(default_factory=Counter)
    left_over: list[str] = field(default_factory=list)

    def grown(self) -> list[Growth]:
        """What changed once it had settled; of what is killed nothing says anything, of the rest all."""
        begin_s, end_s = self.samples[0].at_s, self.samples[-1].at_s
        settled_s = begin_s + max(SETTLING_SHARE * (end_s - begin_s), SETTLING_S)
        settled = [sample for sample in self.samples if sample.at_s >= settled_s]
        if not settled:
            return []
        mortal = {"front", "engine"} if "both" in self.killed else set(self.killed)
        return [each for each in growths(settled) if each.name.split()[0] not in mortal]


def toy_server(folder: Path, name: str, killed_every_s: float | None = None, has_adam: bool = True) -> Soaked:
    """A server with the toy engine, in a folder of its own; without Adam it is sooner back after a kill."""
    place, address = _place(folder, name)
    retention_s = _RETENTION_S if killed_every_s is None else _RETENTION_OF_KILLED_S
    victim = toy_victim(place, address, retention_s=retention_s, has_adam=has_adam)
    killed: tuple[Whom, ...] = () if killed_every_s is None else ("front", "engine", "both")
    return Soaked(name, victim, address, GREY, 40, killed_every_s, killed)


def real_server(folder: Path, name: str, engine_killed_every_s: float) -> Soaked:
    """`styleserve serve` with the network itself, untrained, whose engine is killed and whose front lives."""
    place, address = _place(folder, name)
    victim = network_victim(place, address, retention_s=_RETENTION_S)
    return Soaked(name, victim, address, "styles/mosaic", 10, engine_killed_every_s, ("engine",))


async def soak(servers: list[Soaked], duration_s: float, seed: int = 0) -> None:
    """Put all servers under their callers for this long, from when they are ready; each takes note of what came."""
    await asyncio.gather(*(_soak(server, duration_s, random.Random(seed)) for server in servers))


async def _soak(server: Soaked, duration_s: float, dice: random.Random) -> None:
    async with living(server.victim, server.address) as stub:
        ready = request(0)
        ready.styles[0].style = server.style
        await until_answered(lambda: stub.Stylize(ready, timeout=60))
        world = World(stub, server.address, server.style, dice, server.ledger, server.iterations)
        if duration_s >= SETTLING_S:
            await make_all_kinds(world, _NUM_CALLERS)
        end_s = time.monotonic() + duration_s
        looking = asyncio.create_task(keep_looking(server.victim.mark, server.samples, min(2.0, duration_s / 50)))
        killing = asyncio.create_task(_kill_now_and_then(server, end_s, dice))
        await asyncio.gather(
            *(call_until(world, DEEDS, lambda: time.monotonic() >= end_s) for _ in range(_NUM_CALLERS)), killing
        )
        looking.cancel()
        await _look_for_left_overs(server)


async def _kill_now_and_then(server: Soaked, end_s: float, dice: random.Random) -> None:
    if server.killed_every_s is None:
        return
    while (pause_s := dice.uniform(0.5, 1.5) * server.killed_every_s) < end_s - time.monotonic():
        await asyncio.sleep(pause_s)
        whom = dice.choice(server.killed)
        server.victim.kill(whom)
        server.kills[whom] += 1


async def _look_for_left_overs(server: Soaked) -> None:
    """All jobs have ended: there are neither checkpoints nor images that came in part; callers may still be leaving."""
    data = Path(server.victim.mark) / "data"

    def found() -> Iterator[Path]:
        yield from (data / "checkpoints").glob("*")
        yield from (data / "images").glob("*/.*")

    with contextlib.suppress(AssertionError):
        await until(lambda: not any(found()))
    server.left_over += [path.name for path in found()]


def _place(folder: Path, name: str) -> tuple[Path, str]:
    place = folder / name.replace(" ", "-")
    place.mkdir()
    return place, free_address()


def describe(server: Soaked, duration_s: float) -> dict[str, object]:
    """The figures of one server."""
    return {
        "seconds": round(duration_s),
        "calls": dict(server.ledger.done),
        "jobs_ended": dict(server.ledger.ended),
        "kills": dict(server.kills),
        "fronts_started": server.victim.num_starts,
        "complaints": server.ledger.complaints,
        "left_over": server.left_over,
        "memory_mb_over_time": _over_time(server.samples),
        "taken": {
            growth.name: {"early": growth.early, "late": growth.late, "has_grown": growth.is_one}
            for growth in server.grown()
        },
    }


def _over_time(samples: list[Sample]) -> list[dict[str, float]]:
    """Memory by the second, so seldom that a person can read it."""
    return [
        {"second": round(sample.at_s - samples[0].at_s)}
        | {name.split()[0]: round(taken / 1e6) for name, taken in sample.taken.items() if name.endswith("bytes")}
        for sample in samples[:: max(1, len(samples) // _MOST_SAMPLES_TOLD)]
    ]


def table(servers: list[Soaked], duration_s: float) -> str:
    """The figures as a table in Markdown."""
    rows = [
        ("seconds", *(f"{duration_s:.0f}" for _ in servers)),
        ("calls", *(str(server.ledger.done.total()) for server in servers)),
        ("jobs that ended", *(str(server.ledger.ended.total()) for server in servers)),
        ("kills", *(str(server.kills.total()) for server in servers)),
        ("lost or wrong", *(str(len(server.ledger.complaints)) for server in servers)),
        ("left over", *(str(len(server.left_over)) for server in servers)),
    ]
    taken = [{growth.name: growth for growth in server.grown()} for server in servers]
    names = sorted({name for each in taken for name in each})
    rows += [(name.replace("memory_bytes", "MB"), *(_from_to(each.get(name)) for each in taken)) for name in names]
    header = ("", *(server.name for server in servers))
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _from_to(growth: Growth | None) -> str:
    if growth is None:
        return ""
    unit = 1e6 if growth.name.endswith("bytes") else 1
    return f"{growth.early / unit:.0f} → {growth.late / unit:.0f}"
