"""Long under callers of every kind, and under kills: nothing is lost, and nothing grows."""

import asyncio
import os
import random
import subprocess
import sys

import pytest

from support.processes import marked_environment
from support.soaking import Soaked, describe, real_server, soak, table, toy_server
from support.watching import Growth, Sample, growths, keep_looking

#: A process that holds ever more memory, files and threads.
LEAKING = """
import threading, time
kept = []
print(flush=True)
for _ in range(600):
    kept.append((b"x" * 1_000_000, open("/dev/null")))
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.02)
"""


async def test_a_soak_of_seconds_loses_nothing(tmp_path, report):
    servers = [toy_server(tmp_path, "toy", killed_every_s=4.0, has_adam=False)]
    await soak(servers, 8.0)
    judge(servers, 8.0, report)
    assert servers[0].kills.total() > 0


@pytest.mark.torture
@pytest.mark.timeout(4 * 3600)
async def test_a_long_soak_loses_nothing_and_nothing_grows(tmp_path, report, request):
    duration_s = request.config.getoption("--soak-s")
    servers = [
        toy_server(tmp_path, "toy, killed", 30.0),
        toy_server(tmp_path, "toy"),
        real_server(tmp_path, "network, engine killed", 300.0),
    ]
    await soak(servers, duration_s)
    judge(servers, duration_s, report)
    assert all(server.victim.num_starts == 1 for server in servers[1:])
    assert [each for server in servers for each in server.grown() if each.is_one] == []


def judge(servers: list[Soaked], duration_s: float, report) -> None:
    """Tell the figures, and insist on what holds however long a soak takes."""
    figures = {server.name: describe(server, duration_s) for server in servers}
    report("soak", figures, table(servers, duration_s))
    for server in servers:
        assert server.ledger.complaints == []
        assert server.left_over == []
        assert server.ledger.ended["failed"] == 0
        assert server.ledger.ended["succeeded"] > 0


def samples(leak: float, name: str, level: float, noise: float) -> list[Sample]:
    """An hour of something that grows by the share `leak`, and jumps about."""
    dice = random.Random(3)
    values = [level * (1 + leak * second / 3600 + dice.gauss(0, noise)) for second in range(3600)]
    spiked = [3 * value if dice.random() < 0.05 else value for value in values]
    return [Sample(float(second), {name: value}) for second, value in enumerate(spiked)]


@pytest.mark.parametrize("level", [200e6, 1.5e9])
def test_a_leak_of_a_tenth_is_seen_through_the_noise_and_noise_is_none(level):
    assert [growth.is_one for growth in growths(samples(0.1, "front memory_bytes", level, 0.03))] == [True]
    assert [growth.is_one for growth in growths(samples(0.0, "front memory_bytes", level, 0.03))] == [False]
    assert [growth.is_one for growth in growths(samples(-0.3, "front memory_bytes", level, 0.03))] == [False]


def test_one_process_more_is_seen_and_so_are_handles():
    assert Growth("processes", 3, 4).is_one
    assert Growth("front handles", 40, 50).is_one
    assert not Growth("front handles", 40, 42).is_one


async def test_a_process_that_leaks_is_found_out_from_outside(tmp_path):
    mark, seen = str(tmp_path), []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LEAKING), env=marked_environment(mark, os.environ), stdout=subprocess.PIPE
    )
    try:
        await process.stdout.readline()
        looking = asyncio.create_task(keep_looking(mark, seen, 0.05))
        await asyncio.sleep(3)
        looking.cancel()
    finally:
        process.kill()
        await process.communicate()
    leaks = {growth.name for growth in growths(seen) if growth.is_one}
    assert leaks == {"front memory_bytes", "front handles", "front threads"}
