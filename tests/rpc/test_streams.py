"""StreamProgress: the whole job first and last, previews as wished, watchers that leave and come back."""

import asyncio
import functools
import time

import grpc
import pytest
from google.protobuf import duration_pb2

from styleserve import images
from styleserve.engine.specification import Command, Preview
from styleserve.images import ImageLimits
from styleserve.jobs import frames
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from support.gate import Gate
from support.rich_errors import details
from support.service import png, request, running
from support.toy import ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path, SLOWLY, max_running=1) as service:
        yield service


def start(iterations: int = 20, **fields: object) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(start=request(iterations=iterations, **fields), include_result=True)


def watch(name: str, **fields: object) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(job=name, include_result=True, **fields)


async def read(call) -> list[style_transfer_pb2.StreamProgressResponse]:
    return [message async for message in call]


def kinds(messages: list[style_transfer_pb2.StreamProgressResponse]) -> list[str]:
    return [message.WhichOneof("event") for message in messages]


async def test_a_stream_begins_and_ends_with_the_whole_job_and_grows_in_between(service):
    messages = await read(service.transfer.StreamProgress(start()))
    assert kinds(messages)[0] == kinds(messages)[-1] == "job"
    assert kinds(messages)[-2] == "result"
    states = [message.job.state for message in messages if message.HasField("job")]
    assert states == [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED]
    sequences = [message.sequence for message in messages]
    assert sequences == sorted(set(sequences))
    progress = [message.progress for message in messages if message.HasField("progress")]
    iterations = [told.iteration for told in progress]
    assert iterations == sorted(iterations)
    assert iterations[-1] == 20
    losses = [told.losses.total for told in progress if told.HasField("losses")]
    assert losses[-1] < losses[0]


async def test_who_attaches_to_a_job_that_runs_is_told_first_how_far_it_is(service):
    name = (await service.transfer.Stylize(request(iterations=5000, detached=True))).job.name
    known = await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=5)
    call = service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(job=name))
    first = (await call.read()).job
    await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
    assert first.progress.iteration >= known.progress.iteration
    assert first.progress.HasField("estimate") == known.progress.HasField("estimate")


async def test_the_result_comes_inline_only_when_asked(service):
    asked = start(iterations=1)
    asked.include_result = False
    messages = await read(service.transfer.StreamProgress(asked))
    assert "result" not in kinds(messages)
    assert messages[-1].job.result.size_bytes > 0


async def test_previews_have_the_size_and_pace_asked_for_within_the_servers_limits(service):
    asked = start(iterations=120)
    asked.preview.CopyFrom(style_transfer_pb2.PreviewOptions(max_side=16, min_interval=duration_pb2.Duration(nanos=1)))
    begun = time.monotonic()
    messages = await read(service.transfer.StreamProgress(asked))
    elapsed_s = time.monotonic() - begun
    previews = [message.preview for message in messages if message.HasField("preview")]
    assert 2 <= len(previews) <= elapsed_s / frames.MIN_PREVIEW_INTERVAL_S + 1
    assert {(preview.width, preview.height) for preview in previews} == {(16, 12)}
    assert images.sniff(previews[0].inline) == "jpeg"


async def test_previews_wear_the_colours_that_the_picture_wears(service):
    # The toy engine moves a green content towards grey, all of it alike.
    asked = start(iterations=120, content=image_pb2.ImageSource(inline=png((0.2, 0.5, 0.2), 600, 800)))
    asked.start.recipe.color = recipe_pb2.COLOR_MODE_CONTENT_LUMINANCE
    asked.preview.max_side = 64
    messages = await read(service.transfer.StreamProgress(asked))
    shown = [message.preview.inline for message in messages if message.HasField("preview")]
    made = [message.result.inline for message in messages if message.HasField("result")]
    assert shown
    for data in (*shown, *made):
        red, green, blue = images.decode(data, ImageLimits()).pixels.mean(axis=(0, 1))
        assert green - red == pytest.approx(0.3, abs=0.03)
        assert green - blue == pytest.approx(0.3, abs=0.03)


async def test_no_preview_is_larger_than_512_pixels_whatever_was_asked_for(service):
    asked = start(iterations=1, content=image_pb2.ImageSource(inline=png(0.2, 600, 800)))
    asked.preview.CopyFrom(style_transfer_pb2.PreviewOptions(max_side=4096))
    previews = [
        message.preview for message in await read(service.transfer.StreamProgress(asked)) if message.HasField("preview")
    ]
    assert {(preview.width, preview.height) for preview in previews} == {(512, 384)}


async def test_no_more_previews_come_than_asked_for(service):
    asked = start(iterations=100)
    asked.preview.CopyFrom(style_transfer_pb2.PreviewOptions(max_count=1, min_interval=duration_pb2.Duration(nanos=1)))
    assert kinds(await read(service.transfer.StreamProgress(asked))).count("preview") == 1


class Overheard(ThreadWorker):
    """A worker that takes note of the previews that its engine is asked for."""

    def __init__(self) -> None:
        super().__init__(ToyEngineFactory(SLOWLY))
        self.orders: list[Preview] = []

    def send(self, command: Command) -> None:
        if isinstance(command, Preview):
            self.orders.append(command)
        super().send(command)


async def test_the_engine_makes_no_more_previews_than_anybody_wants(tmp_path):
    worker = Overheard()
    async with running(tmp_path, worker=worker) as service:
        asked = start(iterations=80)
        asked.preview.CopyFrom(style_transfer_pb2.PreviewOptions(max_count=1))
        asked.preview.min_interval.FromMilliseconds(500)
        assert kinds(await read(service.transfer.StreamProgress(asked))).count("preview") == 1
    assert [order.max_side > 0 for order in worker.orders] == [True, False]


async def test_previews_are_off_unless_asked(service):
    assert "preview" not in kinds(await read(service.transfer.StreamProgress(start(iterations=60))))


async def test_a_watcher_can_attach_to_a_running_job_and_leave_without_harm(service):
    detached = await service.transfer.Stylize(request(iterations=40, detached=True))
    call = service.transfer.StreamProgress(watch(detached.job.name))
    seen = [await call.read() for _ in range(4)]
    assert seen[0].HasField("job")
    call.cancel()
    messages = await read(service.transfer.StreamProgress(watch(detached.job.name, after_sequence=seen[-1].sequence)))
    assert messages[0].HasField("job")
    assert messages[0].sequence > seen[-1].sequence
    assert messages[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_an_ended_job_is_told_whole_with_its_result(service):
    response = await service.transfer.Stylize(request())
    messages = await read(service.transfer.StreamProgress(watch(response.job.name)))
    assert kinds(messages) == ["job", "result", "job"]
    assert messages[1].result.inline == response.result.inline
    assert messages[-1].job == response.job


async def test_who_saw_the_last_event_is_told_nothing_more(service):
    response = await service.transfer.Stylize(request())
    messages = await read(service.transfer.StreamProgress(watch(response.job.name)))
    again = watch(response.job.name, after_sequence=messages[-1].sequence)
    assert await read(service.transfer.StreamProgress(again)) == []


@pytest.mark.parametrize("after_sequence", [-5, 10**9, 2**62])
async def test_who_claims_to_have_seen_what_never_was_is_told_all_that_was(service, after_sequence):
    response = await service.transfer.Stylize(request(iterations=1))
    messages = await read(service.transfer.StreamProgress(watch(response.job.name, after_sequence=after_sequence)))
    assert kinds(messages) == ["job", "result", "job"]


async def test_a_failed_job_is_data_and_the_stream_ends_well(service):
    made = start(
        iterations=5000,
        run_timeout=duration_pb2.Duration(nanos=300_000_000),
        deadline_policy=style_transfer_pb2.DEADLINE_POLICY_FAIL,
    )
    call = service.transfer.StreamProgress(made)
    messages = await read(call)
    assert await call.code() == grpc.StatusCode.OK
    assert messages[-1].job.state == job_pb2.JOB_STATE_FAILED
    assert messages[-1].job.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_the_last_watcher_leaving_cancels_the_job_it_started(service):
    call = service.transfer.StreamProgress(start(iterations=5000, job_id="watched"))
    for _ in range(4):
        await call.read()
    call.cancel()
    job = await service.wait_for("jobs/watched", job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_SUCCEEDED)
    assert job.state == job_pb2.JOB_STATE_CANCELLED


async def test_a_vanished_client_cancels_its_job_and_the_server_goes_on(service):
    async with grpc.aio.insecure_channel(service.address) as channel:
        other = type(service)(service.server, service.address, channel)
        call = other.transfer.StreamProgress(start(iterations=5000, job_id="vanished"))
        await call.read()
    job = await service.wait_for("jobs/vanished", job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_SUCCEEDED)
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert (await service.transfer.Stylize(request(iterations=1))).result.inline


async def test_places_in_the_queue_are_told_as_they_change(tmp_path):
    gate = Gate()
    gate.shut()
    async with running(tmp_path, gate, max_running=1) as service:
        await service.transfer.Stylize(request(detached=True))
        second = (await service.transfer.Stylize(request(detached=True))).job.name
        third = aiter(service.transfer.StreamProgress(start(iterations=1)))
        positions = [(await anext(third)).job.queue_position]
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=second))
        positions.append((await anext(third)).job.queue_position)
        gate.opened.set()
        positions += [message.job.queue_position async for message in third if message.HasField("job")]
    assert list(dict.fromkeys(positions)) == [2, 1, 0]
    assert positions == sorted(positions, reverse=True)


async def test_nothing_to_watch_and_unknown_jobs_are_errors_of_the_stream(service):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest()))
    assert details(caught.value)[0].reason == "INVALID_REQUEST"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(service.transfer.StreamProgress(watch("jobs/unknown")))
    assert details(caught.value)[0].reason == "JOB_NOT_FOUND"


async def test_two_watchers_see_the_same_end(service):
    detached = await service.transfer.Stylize(request(iterations=30, detached=True))
    streams = [read(service.transfer.StreamProgress(watch(detached.job.name))) for _ in range(2)]
    first, second = await asyncio.gather(*streams)
    assert first[-1] == second[-1]
    assert first[-2].result.inline == second[-2].result.inline
