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

from styleserve import images
from styleserve.colors import transfer_luminance
from styleserve.presets import PRESETS
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2
from support.damage import DAMAGES
from support.dying import MOMENTS
from support.killing import (
    ITERATIONS,
    Account,
    Broken,
    Kill,
    Victim,
    follow,
    free_address,
    kill_at_random,
    large_png,
    living,
    network_victim,
    opposite,
    slow_parts,
    stylize,
    toy_victim,
    until,
    until_answered,
    until_ready,
)
from support.service import GREY, colour_of, request
from support.tables import two_columns
from support.toy_process import CHECKPOINT_S, STEP_S

NUM_CALLERS = 3
#: Between two looks of one who only looks.
LOOK_S = 0.05
#: Jobs made again undisturbed side by side, which the queue has room for.
NUM_TWINS = 16
#: Iterations between two checkpoints of a job: in the interval, and on a busy machine as long again until its turn has
#: come, and until its file is written.
MOST_REPEATED = round(3 * CHECKPOINT_S / STEP_S)
VICTIMS = {"toy": toy_victim, "network": network_victim}
SOME_MOMENTS = ("before the job knows of its picture",)


def torture(*values: str):
    """A case for `make torture` alone."""
    return pytest.param(*values, marks=pytest.mark.torture)


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [(2, 2), pytest.param(100, 100, marks=[pytest.mark.torture, pytest.mark.timeout(7200)])],
)
async def test_jobs_survive_kills_of_front_and_engine_at_random_moments(tmp_path, report, rounds, seed):
    begun, accounts, colours = time.monotonic(), [], map(colour_of, itertools.count(1))
    victim, address = start(tmp_path)
    looks: list[Broken] = []
    async with living(victim, address) as stub:
        await until_ready(stub)
        killing = asyncio.create_task(kill_at_random(victim, stub, rounds, random.Random(seed), accounts))
        await asyncio.gather(
            *(call_until(killing, stub, colours, accounts) for _ in range(NUM_CALLERS)),
            look_until(killing, stub, looks),
        )
        disturbed = [account for account in accounts if account.num_watches > 1]
        undisturbed = [Account(account.colour) for account in disturbed]
        for begin in range(0, len(undisturbed), NUM_TWINS):
            await asyncio.gather(*(stylize(stub, account) for account in undisturbed[begin : begin + NUM_TWINS]))
        names = await all_names(stub)
    kills = await killing
    broken = [*looks, *(each for account in (*accounts, *undisturbed) for each in account.broken)]
    differences = [
        np.abs(pixels(account) - pixels(twin)).mean() for account, twin in zip(disturbed, undisturbed, strict=True)
    ]
    repeated = [iterations for account in accounts for iterations in account.repeated]
    told = figures(kills, accounts, differences, broken, time.monotonic() - begun)
    report("kills", told, two_columns(told))
    assert victim.num_starts > 1
    assert disturbed
    assert {account.end.state for account in accounts} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert {account.end.progress.iteration for account in accounts} == {ITERATIONS}
    assert sorted(names) == sorted(account.name for account in (*accounts, *undisturbed))
    assert max(repeated, default=0) <= MOST_REPEATED
    assert max(differences) < 1
    assert max(np.abs(pixels(account) - due(account.colour)).max() for account in accounts) <= 1
    assert unexcused(broken, kills) == []
    assert_nothing_is_left_over(tmp_path)


def test_pictures_that_are_due_are_told_apart():
    pictures = [due(colour_of(number)) for number in range(1, 130)]
    assert min(np.abs(one - other).max() for one, other in itertools.combinations(pictures, 2)) > 2


def test_only_what_a_front_was_away_for_is_an_excuse():
    kills = [Kill("front", (), 10.0, 12.0), Kill("engine", (), 20.0, 22.0)]
    broken = [Broken(at_s, grpc.StatusCode.UNAVAILABLE) for at_s in (9.9, 10.1, 12.1, 21.0)]
    assert unexcused(broken, kills) == [broken[0], *broken[2:]]


@pytest.mark.parametrize(
    "moment", [*SOME_MOMENTS, *(torture(moment) for moment in MOMENTS if moment not in SOME_MOMENTS)]
)
async def test_jobs_survive_the_end_of_the_front_at_the_moments_when_something_is_stored(tmp_path, moment):
    victim, address = start(tmp_path, moment)
    async with living(victim, address) as stub:
        account = await stylize(stub, Account(colour_of(1)))
        undisturbed = await stylize(stub, Account(colour_of(1)))
        names = await all_names(stub)
    assert (tmp_path / "died").exists()
    assert victim.num_starts == 2
    assert account.end.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(names) == sorted((account.name, undisturbed.name))
    np.testing.assert_array_equal(pixels(account), pixels(undisturbed))
    assert_nothing_is_left_over(tmp_path)


@pytest.mark.parametrize(
    ("engine", "style", "iterations"),
    [
        ("toy", GREY, ITERATIONS),
        pytest.param("network", "styles/mosaic", 2000, marks=[pytest.mark.torture, pytest.mark.timeout(1800)]),
    ],
)
async def test_a_picture_is_the_one_it_would_have_been_though_its_engine_was_killed_half_way(
    tmp_path, report, engine, style, iterations
):
    address = free_address()
    victim = VICTIMS[engine](tmp_path, address, no_cache=True)
    pixels_64 = np.clip(images.resize(np.random.default_rng(1).random((8, 8, 3), np.float32), 64, 64), 0, 1)
    content = image_pb2.ImageSource(inline=images.encode(images.Picture(pixels_64), "png").data)
    asked = request(iterations, content=content, detached=True)
    asked.styles[0].style = style
    asked.recipe.optimizer = recipe_pb2.OPTIMIZER_ADAM
    disturbed, undisturbed = Account(0.0), Account(0.0)
    async with living(victim, address) as stub:
        await until_ready(stub, style, timeout_s=60)
        disturbed.name = (await stub.Stylize(asked)).job.name
        watching = asyncio.create_task(follow(stub, disturbed))
        checkpoints = tmp_path / "data" / "checkpoints"
        await until(lambda: disturbed.iteration >= iterations / 2 and any(checkpoints.glob("*.npz")), longest_s=900)
        victim.kill("engine")
        await watching
        log = (await stub.GetJobLog(style_transfer_pb2.GetJobLogRequest(name=disturbed.name))).lines
        undisturbed.name = (await stub.Stylize(asked)).job.name
        await follow(stub, undisturbed)
    difference = float(np.abs(pixels(disturbed) - pixels(undisturbed)).mean())
    told = {"iterations": iterations, "repeated": disturbed.repeated, "mean difference of 255": difference}
    report(f"killed-half-way-{engine}", told, two_columns(told))
    assert victim.num_starts == 1
    assert any("goes on from its checkpoint" in line.text for line in log)
    assert {account.end.state for account in (disturbed, undisturbed)} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert not undisturbed.end.provenance.reused_from
    assert difference < 1


async def test_on_sigterm_watchers_of_many_jobs_come_back_and_each_sees_its_job_end(tmp_path):
    address = free_address()
    victim = toy_victim(tmp_path, address, max_running=8, drain_s=0.5)
    async with living(victim, address) as stub:
        watching = [asyncio.create_task(stylize(stub, Account(colour_of(number)))) for number in range(1, 9)]
        await all_running(stub, len(watching))
        victim.stop_front()
        accounts = await asyncio.gather(*watching)
        listed = await stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))
    assert (victim.num_starts, victim.exit_codes[0]) == (2, 0)
    assert {account.num_watches > 1 for account in accounts} == {True}
    assert {account.end.state for account in accounts} == {job_pb2.JOB_STATE_SUCCEEDED}
    assert {account.end.progress.iteration for account in accounts} == {ITERATIONS}
    assert max(np.abs(pixels(account) - due(account.colour)).max() for account in accounts) <= 1
    # A server that is told to stop writes every job down: nothing that a watcher saw is done again.
    assert [account.repeated for account in accounts] == [[]] * 8
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
    victim, address = start(tmp_path, has_adam=False)
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
    victim, address = start(tmp_path, has_adam=False)
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


def start(folder: Path, *moment: str, **settings: object) -> tuple[Victim, str]:
    """A server to be killed, and its address."""
    address = free_address()
    return toy_victim(folder, address, *moment, **settings), address


async def call_until(ended: "asyncio.Task[list[Kill]]", stub, colours, accounts: list[Account]) -> None:
    """One picture after the other, each of a colour of its own, until the task has ended."""
    while not ended.done():
        accounts.append(Account(next(colours)))
        await stylize(stub, accounts[-1])


async def look_until(ended: "asyncio.Task[list[Kill]]", stub, broken: list[Broken]) -> None:
    """One look at the newest job after the other, until the task has ended."""
    while not ended.done():
        await until_answered(lambda: stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1)), broken)
        await asyncio.sleep(LOOK_S)


def unexcused(broken: list[Broken], kills: list[Kill]) -> list[Broken]:
    """The calls that had no answer though their front was there."""
    return [each for each in broken if not any(kill.excuses(each) for kill in kills)]


async def all_names(stub) -> list[str]:
    """The jobs that callers answer for, by what the server knows."""
    listed = await stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))
    return [job.name for job in listed.jobs if job.progress.total_iterations == ITERATIONS]


def figures(
    kills: list[Kill], accounts: list[Account], differences: list[float], broken: list[Broken], seconds: float
) -> dict[str, object]:
    """What a person wants to know of the rounds."""
    repeated = [iterations for account in accounts for iterations in account.repeated]
    return {
        "kills": len(kills),
        "seconds": round(seconds),
        "killed": collections.Counter(kill.whom for kill in kills),
        "callers_at_kills": collections.Counter(doing for kill in kills for doing in kill.doing),
        "jobs": len(accounts),
        "jobs_disturbed": len(differences),
        "calls_without_an_answer": len(broken),
        "of_these_while_the_front_was_there": len(unexcused(broken, kills)),
        "most_iterations_repeated": max(repeated, default=0),
        "largest_mean_difference_of_255": round(float(max(differences)), 4),
    }


def due(colour: tuple[float, float, float]) -> np.ndarray:
    """The colour, of 255, of the picture that `stylize` asks for, by the arithmetic of Adam and of the luminance.

    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  x <- x - a sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)
    with the toy's gradient g = x - style, and x within [0, 1]; the picture has x's luminance and the content's colour.
    """
    adam, content, style = PRESETS["classic"].adam, np.float64(colour), np.float64(opposite(colour))
    x, m, v = content, np.zeros(3), np.zeros(3)
    for t in range(1, ITERATIONS + 1):
        m = adam.beta_1 * m + (1 - adam.beta_1) * (x - style)
        v = adam.beta_2 * v + (1 - adam.beta_2) * (x - style) ** 2
        rate = adam.learning_rate * np.sqrt(1 - adam.beta_2**t) / (1 - adam.beta_1**t)
        x = np.clip(x - rate * m / (np.sqrt(v) + adam.epsilon), 0, 1)
    return 255 * transfer_luminance(x.reshape(1, 1, 3), content.reshape(1, 1, 3))


def pixels(account: Account) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(account.picture)), np.float32)


def half_received(folder: Path) -> list[Path]:
    """Images that came in part."""
    return list((folder / "data" / "images").glob("*/.*"))


def assert_nothing_is_left_over(folder: Path) -> None:
    assert not half_received(folder)
    assert not list((folder / "data" / "checkpoints").iterdir())
