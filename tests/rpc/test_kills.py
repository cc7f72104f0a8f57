"""Whatever is killed, and whenever: every job that was answered for ends, once, with the picture it would have had."""

import asyncio
import contextlib
import io
import itertools
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from styleserve.v1 import job_pb2, style_transfer_pb2, style_transfer_pb2_grpc
from support.killing import ITERATIONS, Account, Victim, kill_at_random, stylize
from support.toy_process import CHECKPOINT_S, STEP_S

NUM_CALLERS = 3
#: Iterations between two checkpoints of a job: in the interval, and while writing rests to take 1 % of the time.
MOST_REPEATED = round(3 * CHECKPOINT_S / STEP_S)


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])])
async def test_jobs_survive_kills_of_front_and_engine_at_random_moments(tmp_path, rounds):
    async with killable(tmp_path) as (victim, stub):
        killing = asyncio.create_task(kill_at_random(victim, stub, rounds, random.Random(rounds)))
        colours = (number / 10_000 for number in itertools.count(1))
        callers = [call_until(killing, stub, colours) for _ in range(NUM_CALLERS)]
        accounts = [account for of_caller in await asyncio.gather(*callers) for account in of_caller]
        await killing
        disturbed = [account for account in accounts if account.num_watches > 1]
        undisturbed = await asyncio.gather(*(stylize(stub, account.colour) for account in disturbed))
        listed = await stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))
    repeated = [iterations for account in accounts for iterations in account.repeated]
    print(f"{len(accounts)} jobs, {victim.num_starts} fronts, {len(disturbed)} disturbed, repeated: {repeated}")
    assert victim.num_starts > 1
    assert disturbed
    assert {account.end.state for account in accounts} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert {account.end.progress.iteration for account in accounts} == {ITERATIONS}
    names = [account.name for account in (*accounts, *undisturbed)]
    assert sorted(names) == sorted(job.name for job in listed.jobs if job.progress.total_iterations == ITERATIONS)
    assert max(repeated, default=0) <= MOST_REPEATED
    for account, twin in zip(disturbed, undisturbed, strict=True):
        assert np.abs(pixels(account) - pixels(twin)).mean() < 1


async def test_on_sigterm_twenty_watchers_of_twenty_jobs_come_back_and_see_each_job_end(tmp_path):
    async with killable(tmp_path, max_running=20, drain_s=0.5) as (victim, stub):
        watching = [asyncio.create_task(stylize(stub, number / 100)) for number in range(1, 21)]
        await all_running(stub, len(watching))
        victim.stop_front()
        accounts = await asyncio.gather(*watching)
        listed = await stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))
    assert (victim.num_starts, victim.exit_codes[0]) == (2, 0)
    assert {account.num_watches > 1 for account in accounts} == {True}
    assert {account.end.state for account in accounts} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert {account.end.progress.iteration for account in accounts} == {ITERATIONS}
    assert all(account.picture for account in accounts)
    # A server that is told to stop writes every job down: nothing that a watcher saw is done again.
    assert [account.repeated for account in accounts] == [[]] * 20
    assert sorted(job.name for job in listed.jobs) == sorted(account.name for account in accounts)


async def all_running(stub, num_jobs: int) -> None:
    """Wait until so many jobs run and have come further than their start."""
    running = style_transfer_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_RUNNING])
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                jobs = (await stub.ListJobs(running)).jobs
                if sum(job.progress.iteration > 0 for job in jobs) == num_jobs:
                    return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def killable(
    folder: Path, **settings: object
) -> AsyncIterator[tuple[Victim, style_transfer_pb2_grpc.StyleTransferServiceStub]]:
    """A server that comes back whenever it is killed, and a stub that reconnects soon."""
    address = f"127.0.0.1:{free_port()}"
    victim = Victim(folder, address, **settings)
    living = asyncio.create_task(victim.live())
    try:
        async with grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 500)]) as channel:
            yield victim, style_transfer_pb2_grpc.StyleTransferServiceStub(channel)
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def call_until(ended: asyncio.Task[None], stub, colours) -> list[Account]:
    """One picture after the other, each of a colour of its own, until the task has ended."""
    accounts = []
    while not ended.done():
        accounts.append(await stylize(stub, next(colours)))
    return accounts


def pixels(account: Account) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(account.picture)), np.float32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
