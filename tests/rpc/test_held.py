"""Requests with images inside are held while calls wait, and no more of them than there is memory for."""

import asyncio
import functools
import os
import time
import tracemalloc
from collections.abc import Callable

import grpc
import pytest

from styleserve import images
from styleserve.callers import ANONYMOUS, token_sha256
from styleserve.decoding import Decoder
from styleserve.rpc import held
from styleserve.rpc.requests import fingerprint
from styleserve.rpc.uploads import MAX_CHUNK_BYTES
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2
from support.crowd import SMALL_WINDOW
from support.killing import Stub
from support.rich_errors import refused
from support.service import png, request, running

SLOWLY = functools.partial(time.sleep, 0.02)
PICTURE = png(0.3).ljust(30_000, b"\0")
REQUEST_ID = "0f4b8a1e-6d2c-4c1f-9a59-0c7f4d1f2b11"


@pytest.fixture
async def service(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "MOST_BYTES", 140_000)  # of which half may be one caller's
    async with running(tmp_path, SLOWLY) as service:
        yield service


def large(iterations: int = 400, **fields: object) -> style_transfer_pb2.StylizeRequest:
    return request(iterations, content=image_pb2.ImageSource(inline=PICTURE), **fields)


def start(asked: style_transfer_pb2.StylizeRequest) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(start=asked)


async def test_what_there_is_no_room_for_is_told_to_be_uploaded_and_that_is_taken(service):
    """All of them join one job, which no queue bounds."""
    asked = large(request_id=REQUEST_ID)
    watching = [service.transfer.StreamProgress(start(asked)) for _ in range(2)]
    for call in watching:
        await call.read()
    code, reason, (failure, retry) = await refused(service.transfer.Stylize(asked))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert "UploadImage" in failure.violations[0].description
    assert retry.retry_delay.seconds == 5

    chunks = [
        style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(size_bytes=len(PICTURE))),
        style_transfer_pb2.UploadImageRequest(chunk=PICTURE),
    ]
    image = (await service.transfer.UploadImage(iter(chunks))).image
    named = request(3, content=image_pb2.ImageSource(image=image))
    assert (await service.transfer.Stylize(named)).job.state == job_pb2.JOB_STATE_SUCCEEDED
    for call in watching:
        call.cancel()


async def test_no_caller_takes_the_room_of_the_others_and_who_finds_none_is_told_whose_it_is(tmp_path, monkeypatch):
    names = ["one", "two", "three"]
    entries = [f"  {name}: {{token_sha256: [{token_sha256(name)}], scopes: [stylize, read]}}" for name in names]
    (tmp_path / "callers.yaml").write_text("\n".join(["callers:", *entries]))
    monkeypatch.setattr(held, "MOST_BYTES", 70_000)
    async with running(tmp_path, SLOWLY, callers=tmp_path / "callers.yaml") as service:

        def begin(name: str) -> grpc.aio.UnaryStreamCall:
            return service.transfer.StreamProgress(start(large()), metadata=[("authorization", f"Bearer {name}")])

        first = begin("one")
        await first.read()
        _, _, (of_caller, _) = await refused(begin("one").read())
        second = begin("two")
        await second.read()
        _, _, (of_all, _) = await refused(begin("three").read())
        told = [(each.violations[0].subject, each.violations[0].description) for each in (of_caller, of_all)]
        assert [subject for subject, _ in told] == ["caller:one", "all callers"]
        assert [description.partition(" ")[0] for _, description in told] == ["35000", "70000"]
        for call in (first, second):
            call.cancel()


async def test_whoever_goes_makes_room(service):
    for _ in range(5):
        assert (await service.transfer.Stylize(large(1))).job.state == job_pb2.JOB_STATE_SUCCEEDED
        detached = (await service.transfer.Stylize(large(1, detached=True))).job
        watching = service.transfer.StreamProgress(start(large()))
        await watching.read()
        watching.cancel()
        await service.wait_for(detached.name, job_pb2.JOB_STATE_SUCCEEDED)


async def test_pictures_that_there_is_no_room_for_in_answers_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "MOST_RESULT_BYTES", 15_000)
    noise = images.encode(images.Picture(images.noise(48, 48, seed=0)), "png").data  # a picture of 7 kB
    asked = request(1, content=image_pb2.ImageSource(inline=noise), request_id=REQUEST_ID)
    async with running(tmp_path) as service, grpc.aio.insecure_channel(service.address, SMALL_WINDOW) as channel:
        assert (await service.transfer.Stylize(asked)).result.inline
        watch = start(asked)
        watch.include_result = True
        silent = [Stub(channel).StreamProgress(watch) for _ in range(3)]
        for call in silent:
            await call.initial_metadata()
        named = await service.transfer.Stylize(asked)
        assert (named.result.inline, named.result.image[:7]) == (b"", "images/")
        for call in silent:
            call.cancel()
        async with asyncio.timeout(20):
            while not (await service.transfer.Stylize(asked)).result.inline:
                pass


async def upload(service, data: bytes) -> image_pb2.ImageSource:
    chunks = [
        style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(size_bytes=len(data))),
        *(
            style_transfer_pb2.UploadImageRequest(chunk=data[begin : begin + MAX_CHUNK_BYTES])
            for begin in range(0, len(data), MAX_CHUNK_BYTES)
        ),
    ]
    return image_pb2.ImageSource(image=(await service.transfer.UploadImage(iter(chunks))).image)


@pytest.mark.parametrize("num_images", [1, 9])
async def test_of_the_images_that_a_request_names_one_at_a_time_is_in_memory(service, num_images):
    num_bytes = 8 * 1024 * 1024
    named = [await upload(service, png(0.3).ljust(num_bytes + index, b"\0")) for index in range(num_images)]
    content, *others = (named * 9)[:9]
    styles = [recipe_pb2.StyleInput(image=source) for source in others]
    asked = style_transfer_pb2.StylizeRequest(content=content, styles=styles, priority=99)
    tracemalloc.start()
    try:
        _, reason, (violations,) = await refused(service.transfer.Stylize(asked))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reason, [each.field for each in violations.field_violations]) == ("INVALID_REQUEST", ["priority"])
    assert num_bytes < peak < 3 * num_bytes


async def test_a_named_image_is_used_when_its_job_is_admitted_and_one_that_is_gone_by_then_is_told(
    tmp_path, monkeypatch
):
    """Reading a request may take minutes, as when a style's image has to be fetched."""
    measure = Decoder.measure

    def measure_then(change: Callable[[], None]) -> None:
        monkeypatch.setattr(Decoder, "measure", lambda *arguments: (measure(*arguments), change())[0])

    async with running(tmp_path, SLOWLY, max_running=1) as service:
        await service.transfer.Stylize(request(5000, detached=True))  # so that the next one only waits
        source = await upload(service, png(0.4))
        path = tmp_path / "data" / "images" / ANONYMOUS.name / source.image.removeprefix("images/")
        measure_then(lambda: os.utime(path, (1, 1)))
        await service.transfer.Stylize(request(content=source, detached=True))
        assert path.stat().st_mtime > 1
        measure_then(path.unlink)
        _, reason, (resource,) = await refused(service.transfer.Stylize(request(4, content=source, detached=True)))
        assert (reason, resource.resource_name) == ("IMAGE_NOT_FOUND", source.image)


def test_the_same_request_has_one_fingerprint_whatever_its_id_and_stays_as_it_is():
    asked = large(request_id=REQUEST_ID)
    assert fingerprint(asked) == fingerprint(large()) != fingerprint(large(401))
    assert asked == large(request_id=REQUEST_ID)
