"""A crowd watches one job, and some of it never read: the engine keeps its pace, and the front its memory."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pytest

from styleserve import images
from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from support.crowd import WINDOW_BYTES, Seen, watching
from support.killing import Stub, Victim, free_address, living, toy_victim, until_ready
from support.processes import processes
from support.service import request
from support.tables import two_columns
from support.watching import Sample, keep_looking

#: Black and white at random: a preview of it fills what the server buffers for one stream.
SIDE = 320
#: So slow that it is noise to the end, and so long that it ends when it is told to.
PULL, ITERATIONS = 1e-3, 10_000
MOST_GROWTH_MB = 100.0
LEAST_PACE = 0.95
#: What is kept for a silent one behind the preview that filled what may be sent to it: what is newest when all is over.
KEPT = ("job", "progress, job")


@dataclass
class Turn:
    """Evaluations a second alone and watched, bytes of the front at these times, and what the crowd saw."""

    alone_per_s: float
    watched_per_s: float
    alone_bytes: float
    watched_bytes: float
    seen: Seen


@pytest.mark.parametrize(
    ("reading", "silent", "turns", "seconds"),
    [(40, 5, 1, 3.0), pytest.param(500, 50, 7, 10.0, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])],
)
async def test_a_crowd_and_those_who_never_read_slow_nothing_down(tmp_path, report, reading, silent, turns, seconds):
    address = free_address()
    victim = toy_victim(tmp_path, address, pull=PULL)
    async with living(victim, address) as stub:
        await until_ready(stub)
        taken = [await take_turn(stub, victim, address, reading, silent, seconds) for _ in range(turns)]
    told = figures(taken, reading, silent)
    report("watchers", told, two_columns(told))
    for turn in taken:
        assert turn.seen["ends seen by readers"] == {"JOB_STATE_CANCELLED": reading}
        assert turn.seen["ends seen by silent ones"] == {"JOB_STATE_CANCELLED": silent}
        assert {found.partition("preview, ")[2] for found in turn.seen["what silent ones found"]} <= set(KEPT)
        assert turn.seen["silent ones who lack what was newest"] == 0
        assert turn.seen["most bytes before a preview"] <= WINDOW_BYTES
    assert growth_mb(taken) < MOST_GROWTH_MB
    if turns > 1:
        assert pace(taken) >= LEAST_PACE


async def take_turn(stub: Stub, victim: Victim, address: str, reading: int, silent: int, seconds: float) -> Turn:
    """A job alone, then watched, and ended."""
    name = (await stub.Stylize(asked())).job.name
    alone = await evaluations_per_s(stub, name, seconds)
    alone_bytes = bytes_of_front(victim)
    samples: list[Sample] = []
    async with watching(address, name, reading, silent) as seen:
        looking = asyncio.create_task(keep_looking(victim.mark, samples, 0.5))
        watched = await evaluations_per_s(stub, name, seconds)
        await stub.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
        ends = await seen()
        looking.cancel()
    return Turn(alone, watched, alone_bytes, max(sample.taken["front memory_bytes"] for sample in samples), ends)


def asked() -> style_transfer_pb2.StylizeRequest:
    noise = np.random.default_rng(1).integers(0, 2, (SIDE, SIDE, 3)).astype(np.float32)
    content = image_pb2.ImageSource(inline=images.encode(images.Picture(noise), "png").data)
    return request(ITERATIONS, content=content, detached=True)


async def evaluations_per_s(stub: Stub, name: str, seconds: float) -> float:
    """The engine's pace, once what came before has settled."""
    await asyncio.sleep(seconds / 3)
    begun, before = time.monotonic(), await num_evaluations(stub, name)
    await asyncio.sleep(seconds)
    return (await num_evaluations(stub, name) - before) / (time.monotonic() - begun)


async def num_evaluations(stub: Stub, name: str) -> int:
    """Of a job that runs."""
    job = (await stub.GetJob(style_transfer_pb2.GetJobRequest(name=name))).job
    assert job.state == job_pb2.JOB_STATE_RUNNING
    return job.progress.evaluations


def bytes_of_front(victim: Victim) -> int:
    return sum(process.memory_bytes for process in processes(victim.mark) if process.role == "front")


def pace(taken: list[Turn]) -> float:
    """The share of its pace that the engine has while it is watched."""
    return statistics.median(turn.watched_per_s for turn in taken) / statistics.median(
        turn.alone_per_s for turn in taken
    )


def growth_mb(taken: list[Turn]) -> float:
    """From before anybody had watched."""
    return (max(turn.watched_bytes for turn in taken) - taken[0].alone_bytes) / 1e6


def figures(taken: list[Turn], reading: int, silent: int) -> dict[str, object]:
    return {
        "watchers that read": reading,
        "watchers that never read": silent,
        "evaluations a second, alone": [turn.alone_per_s for turn in taken],
        "evaluations a second, watched": [turn.watched_per_s for turn in taken],
        "pace watched, as a share of that alone": pace(taken),
        "memory of the front before, MB": taken[0].alone_bytes / 1e6,
        "growth of the front's memory, MB": growth_mb(taken),
        "what the last crowd saw": taken[-1].seen,
    }
