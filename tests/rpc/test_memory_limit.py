"""The memory's limit over a real server: estimates, refusals, and jobs that wait for room."""

import asyncio
import dataclasses
import functools
import time

import grpc
import pytest

from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from styleserve_client import AsyncClient, ImageTooLargeError
from support.rich_errors import details
from support.service import GREY, png, request, running
from support.toy import TOY_COSTS, ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)
LARGE = image_pb2.ImageSource(inline=png(0.2, 600, 1000))


def worker(budget_bytes: float, before_step=lambda: None) -> ThreadWorker:
    costs = dataclasses.replace(TOY_COSTS, budget_bytes=int(budget_bytes))
    return ThreadWorker(ToyEngineFactory(before_step, costs=costs))


def large(iterations: int = 1) -> style_transfer_pb2.StylizeRequest:
    made = request()
    made.content.CopyFrom(LARGE)
    made.recipe.iterations = iterations
    return made


async def progress_of(service, made) -> list[job_pb2.Progress]:
    stream = service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(start=made))
    return [response.progress async for response in stream if response.WhichOneof("event") == "progress"]


async def test_the_first_progress_says_what_the_job_will_take(tmp_path):
    async with running(tmp_path, worker=worker(2e9)) as service:
        progress = await progress_of(service, large(iterations=3))
    estimate = progress[0].estimate
    # 88 bytes a pixel kept and 1000 worked with; 4 evaluations of 10 ns a pixel.
    assert estimate.peak_memory_bytes == 1088 * 600_000
    assert estimate.duration.ToTimedelta().total_seconds() == pytest.approx(4 * 0.6 * 0.01, abs=1e-6)
    assert estimate.tile_side == 0


async def test_what_does_not_fit_whole_is_made_in_tiles(tmp_path):
    async with running(tmp_path, worker=worker(0.2e9)) as service:
        progress = await progress_of(service, large())
        response = await service.transfer.Stylize(large())
    assert 0 < progress[0].estimate.tile_side < 600
    assert progress[0].estimate.peak_memory_bytes <= 0.2e9
    assert (response.result.width, response.result.height) == (1000, 600)


async def test_what_does_not_even_fit_in_tiles_is_refused_with_what_does(tmp_path):
    async with running(tmp_path, worker=worker(0.05e9)) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.transfer.Stylize(large())
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        info, others = details(caught.value)
        assert (info.reason, others) == ("IMAGE_TOO_LARGE_FOR_DEVICE", [])
        side = int(info.metadata["largest_side"])
        assert 128 < side < 1000
        assert f"output.max_side of up to {side}" in caught.value.details()
        smaller = large()
        smaller.output.max_side = side
        assert (await service.transfer.Stylize(smaller)).result.width == side


async def test_the_client_has_an_error_for_it_and_does_not_try_again(tmp_path):
    async with running(tmp_path, worker=worker(0.05e9)) as service, AsyncClient(service.address) as client:
        begun = time.monotonic()
        with pytest.raises(ImageTooLargeError) as caught:
            await client.stylize(png(0.2, 600, 1000), GREY, preset="classic", iterations=1)
        assert 128 < caught.value.largest_side < 1000
        assert time.monotonic() - begun < 5


async def test_jobs_that_do_not_fit_side_by_side_run_one_after_the_other(tmp_path):
    async with running(tmp_path, worker=worker(1e9, SLOWLY)) as service:
        detached = [large(iterations=20) for _ in range(2)]
        for made in detached:
            made.detached = True
        first, second = [(await service.transfer.Stylize(made)).job.name for made in detached]
        await service.wait_for(first, job_pb2.JOB_STATE_RUNNING)
        waiting = (await service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=second))).job
        assert (waiting.state, waiting.queue_position) == (job_pb2.JOB_STATE_QUEUED, 1)
        done = await asyncio.gather(*(service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED) for name in (first, second)))
        assert done[1].start_time.ToNanoseconds() >= done[0].end_time.ToNanoseconds() - 5e8
        assert done[1].start_time.ToNanoseconds() > done[0].start_time.ToNanoseconds() + 2e8


async def test_jobs_that_fit_side_by_side_do(tmp_path):
    async with running(tmp_path, worker=worker(3e9, SLOWLY)) as service:
        names = []
        for _ in range(2):
            made = large(iterations=200)
            made.detached = True
            names.append((await service.transfer.Stylize(made)).job.name)
        for name in names:
            await service.wait_for(name, job_pb2.JOB_STATE_RUNNING)
        for name in names:
            await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
