"""Whatever is killed, and whenever: every job that was answered for ends, once, with the picture it would have had."""

import asyncio
import collections
import contextlib
import io
import itertools
import random
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from styleserve.v1 import job_pb2, style_transfer_pb2
from support.damage import DAMAGES
from support.dying import MOMENTS
from support.killing import (
    ITERATIONS,
    Account,
    Kill,
    Victim,
    free_address,
    kill_at_random,
    large_png,
    living,
    slow_parts,
    stylize,
    toy_victim,
    until,
    until_answered,
    until_ready,
)
from support.toy_process import CHECKPOINT_S, STEP_S

NUM_CALLERS = 3
#: Jobs made again undisturbed side by side, which the queue has room for.
NUM_TWINS = 16
#: Iterations between two checkpoints of a job: in the interval, and on a busy machine as long again until its turn has
#: come, and until its file is written.
MOST_REPEATED = round(3 * CHECKPOINT_S / STEP_S)
SOME_MOMENTS = ("before the job knows of its picture",)


def torture(*values: str):
    """A case for `make torture` alone."""
    return pytest.param(*values, marks=pytest.mark.torture)


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])])
async def test_jobs_survive_kills_of_front_and_engine_at_random_moments(tmp_path, report, rounds):
    begun, accounts, colours = time.monotonic(), [], (number / 10_000 for number in itertools.count(1))
    victim, address = start(tmp_path)
    async with living(victim, address) as stub:
        killing = asyncio.create_task(kill_at_random(victim, stub, rounds, random.Random(rounds), accounts))
        await asyncio.gather(*(call_until(killing, stub, colours, accounts) for _ in range(NUM_CALLERS)))
        disturbed = [account for account in accounts if account.num_watches > 1]
        undisturbed = [Account(account.colour) for account in disturbed]
        for begin in range(0, len(undisturbed), NUM_TWINS):
            await asyncio.gather(*(stylize(stub, account) for account in undisturbed[begin : begin + NUM_TWINS]))
        names = await all_names(stub)
    differences = [
        np.abs(pixels(account) - pixels(twin)).mean() for account, twin in zip(disturbed, undisturbed, strict=True)
    ]
    repeated = [iterations for account in accounts for iterations in account.repeated]
    report("kills", figures(await killing, accounts, differences, time.monotonic() - begun))
    assert victim.num_starts > 1
    assert disturbed
    assert {account.end.state for account in accounts} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert {account.end.progress.iteration for account in accounts} == {ITERATIONS}
    assert sorted(names) == sorted(account.name for account in (*accounts, *undisturbed))
    assert max(repeated, default=0) <= MOST_REPEATED
    assert max(differences) < 1
    assert_nothing_is_left_over(tmp_path)


@pytest.mark.parametrize(
    "moment", [*SOME_MOMENTS, *(torture(moment) for moment in MOMENTS if moment not in SOME_MOMENTS)]
)
async def test_jobs_survive_the_end_of_the_front_at_the_moments_when_something_is_stored(tmp_path, moment):
    victim, address = start(tmp_path, moment)
    async with living(victim, address) as stub:
        account = await stylize(stub, Account(0.3))
        undisturbed = await stylize(stub, Account(0.3))
        names = await all_names(stub)
    assert (tmp_path / "died").exists()
    assert victim.num_starts == 2
    assert account.end.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(names) == sorted((account.name, undisturbed.name))
    np.testing.assert_array_equal(pixels(account), pixels(undisturbed))
    assert_nothing_is_left_over(tmp_path)


async def test_on_sigterm_twenty_watchers_of_twenty_jobs_come_back_and_see_each_job_end(tmp_path):
    address = free_address()
    victim = toy_victim(tmp_path, address, max_running=20, drain_s=0.5)
    async with living(victim, address) as stub:
        watching = [asyncio.create_task(stylize(stub, Account(number / 100))) for number in range(1, 21)]
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


async def test_an_upload_that_a_kill_broke_off_leaves_nothing_behind_and_is_made_again(tmp_path):
    victim, address = start(tmp_path)
    data = large_png(0.4)
    async with living(victim, address) as stub:
        await until_ready(stub)
        upload = asyncio.ensure_future(stub.UploadImage(slow_parts(data)))
        await until(lambda: bool(half_received(tmp_path)))
        victim.kill("front")
        await asyncio.gather(upload, return_exceptions=True)
        assert half_received(tmp_path)
        await until_ready(stub)
        assert not half_received(tmp_path)
        image = (await until_answered(lambda: stub.UploadImage(slow_parts(data)))).image
        download = stub.DownloadImage(style_transfer_pb2.DownloadImageRequest(image=image))
        assert b"".join([part.chunk async for part in download]) == data


@pytest.mark.parametrize(
    ("damage", "whom"),
    [("cut in half", "engine"), torture("random bytes", "engine"), torture("cut in half", "both")],
)
async def test_a_job_whose_checkpoint_was_damaged_begins_anew_and_the_log_says_so(tmp_path, damage, whom):
    victim, address = start(tmp_path)
    async with living(victim, address) as stub:
        account = Account(0.3)
        job = asyncio.create_task(stylize(stub, account))
        await until(lambda: account.iteration >= 0.75 * ITERATIONS)
        victim.kill(whom)
        (checkpoint,) = (tmp_path / "data" / "checkpoints").glob("*.npz")
        checkpoint.write_bytes(DAMAGES[damage](checkpoint.read_bytes()))
        await job
    assert account.end.state == job_pb2.JOB_STATE_SUCCEEDED
    assert max(account.repeated) > MOST_REPEATED
    assert f"{account.name.removeprefix('jobs/')}: its checkpoint cannot be used" in victim.log.read_text()
    assert_nothing_is_left_over(tmp_path)


def start(folder: Path, *moment: str) -> tuple[Victim, str]:
    """A server to be killed, and its address."""
    address = free_address()
    return toy_victim(folder, address, *moment), address


async def call_until(ended: "asyncio.Task[list[Kill]]", stub, colours, accounts: list[Account]) -> None:
    """One picture after the other, each of a colour of its own, until the task has ended."""
    while not ended.done():
        accounts.append(Account(next(colours)))
        await stylize(stub, accounts[-1])


async def all_names(stub) -> list[str]:
    """The jobs that callers answer for, by what the server knows."""
    listed = await stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))
    return [job.name for job in listed.jobs if job.progress.total_iterations == ITERATIONS]


def figures(kills: list[Kill], accounts: list[Account], differences: list[float], seconds: float) -> dict[str, object]:
    """What a person wants to know of the rounds."""
    repeated = [iterations for account in accounts for iterations in account.repeated]
    return {
        "kills": len(kills),
        "seconds": round(seconds),
        "killed": collections.Counter(kill.whom for kill in kills),
        "callers_at_kills": collections.Counter(doing for kill in kills for doing in kill.doing),
        "jobs": len(accounts),
        "jobs_disturbed": len(differences),
        "most_iterations_repeated": max(repeated, default=0),
        "largest_mean_difference_of_255": round(float(max(differences)), 4),
    }


def pixels(account: Account) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(account.picture)), np.float32)


def half_received(folder: Path) -> list[Path]:
    """Images that came in part."""
    return list((folder / "data" / "images").glob("*/.*"))


def assert_nothing_is_left_over(folder: Path) -> None:
    assert not half_received(folder)
    assert not list((folder / "data" / "checkpoints").iterdir())
