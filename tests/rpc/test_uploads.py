"""Uploads that do not end: they are given up, they are few at once, and nobody else waits for them."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from styleserve.jobs.image_store import Incoming
from styleserve.rpc import uploads
from styleserve.v1 import style_transfer_pb2
from support.killing import until
from support.rich_errors import refused
from support.service import png, request, running

LARGE = 60_000_000


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path) as service:
        yield service


def header(num_bytes: int = LARGE) -> style_transfer_pb2.UploadImageRequest:
    return style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(size_bytes=num_bytes))


def chunk(data: bytes) -> style_transfer_pb2.UploadImageRequest:
    return style_transfer_pb2.UploadImageRequest(chunk=data)


async def trickling(pause_s: float) -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
    """One byte after the other, as long as anybody takes them."""
    yield header()
    while True:
        yield chunk(b"x")
        await asyncio.sleep(pause_s)


async def stalled() -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
    """A beginning and nothing more."""
    yield header()
    yield chunk(b"x")
    await asyncio.Event().wait()


async def silent() -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
    """Not even a header."""
    await asyncio.Event().wait()
    yield header()


def under_way(folder: Path) -> int:
    return len(list((folder / "data" / "images").glob("*/.*")))


@pytest.mark.parametrize("messages", [lambda: trickling(0.05), stalled, silent], ids=["trickling", "stalled", "silent"])
async def test_an_upload_that_does_not_come_forward_is_given_up_and_leaves_nothing(
    service, tmp_path, monkeypatch, messages
):
    monkeypatch.setattr(uploads, "IDLE_S", 0.4)
    async with asyncio.timeout(30):
        code, reason, _ = await refused(service.transfer.UploadImage(messages()))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_IDLE")
    assert under_way(tmp_path) == 0


async def test_a_slow_upload_that_does_come_forward_is_taken(service, monkeypatch):
    monkeypatch.setattr(uploads, "IDLE_S", 1.5)
    monkeypatch.setattr(uploads, "LEAST_BYTES_PER_S", 10)
    data = png(0.3)

    async def slowly() -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
        yield header(len(data))
        for begin in range(0, len(data), 20):
            yield chunk(data[begin : begin + 20])
            await asyncio.sleep(0.5)

    assert len(data) / 20 * 0.5 > uploads.IDLE_S
    image = (await service.transfer.UploadImage(slowly())).image
    assert image == f"images/{hashlib.sha256(data).hexdigest()}"


async def test_an_empty_chunk_is_refused(service):
    code, reason, others = await refused(service.transfer.UploadImage(iter([header(), chunk(b"")])))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert others[0].field_violations[0].description == "got an empty one; allowed: 1 to 1048576 bytes"


@pytest.mark.parametrize("limit", ["MOST_OF_CALLER", "MOST_OF_ALL"])
async def test_more_uploads_at_once_than_may_be_are_told_when_to_come_back(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(uploads, limit, 3)
    async with running(tmp_path) as service:
        calls = [service.transfer.UploadImage(stalled()) for _ in range(3)]
        waiting = [asyncio.ensure_future(call) for call in calls]
        await until(lambda: under_way(tmp_path) == 3)
        code, reason, (failure, retry) = await refused(service.transfer.UploadImage(iter([header()])))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert failure.violations[0].description.startswith("3 uploads at once")
        assert retry.retry_delay.seconds == 1
        calls[0].cancel()
        await until(lambda: under_way(tmp_path) == 2)
        data = png(0.3)
        await service.transfer.UploadImage(iter([header(len(data)), chunk(data)]))
        for call in calls:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("work", ["write", "keep"])
async def test_others_are_answered_while_the_disk_is_slow_to_take_an_upload(service, monkeypatch, work):
    told_to_go_on, data = threading.Event(), png(0.3)
    do = getattr(Incoming, work)

    def slowly(incoming: Incoming, *arguments: bytes) -> object:
        assert told_to_go_on.wait(30)
        return do(incoming, *arguments)

    monkeypatch.setattr(Incoming, work, slowly)
    waiting = asyncio.ensure_future(service.transfer.UploadImage(iter([header(len(data)), chunk(data)])))
    try:
        async with asyncio.timeout(10):
            await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())
        assert not waiting.done()
    finally:
        told_to_go_on.set()
    assert (await waiting).image.startswith("images/")


async def test_an_upload_that_is_cancelled_while_it_is_kept_leaves_nothing_open(service, tmp_path, monkeypatch):
    is_keeping, told_to_go_on, data = threading.Event(), threading.Event(), png(0.3)
    keep = Incoming.keep

    def slowly(incoming: Incoming) -> str:
        is_keeping.set()
        assert told_to_go_on.wait(30)
        return keep(incoming)

    monkeypatch.setattr(Incoming, "keep", slowly)
    call = service.transfer.UploadImage(iter([header(len(data)), chunk(data)]))
    waiting = asyncio.ensure_future(call)
    await until(is_keeping.is_set)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await waiting
    told_to_go_on.set()
    await until(lambda: under_way(tmp_path) == 0)
    assert (await service.transfer.Stylize(request())).job.name
