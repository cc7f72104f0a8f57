"""Requests with images inside are held while calls wait, and no more of them than there is memory for."""

import functools
import time

import grpc
import pytest

from styleserve.rpc import held
from styleserve.rpc.requests import fingerprint
from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from support.rich_errors import refused
from support.service import png, request, running

SLOWLY = functools.partial(time.sleep, 0.02)
PICTURE = png(0.3).ljust(30_000, b"\0")
REQUEST_ID = "0f4b8a1e-6d2c-4c1f-9a59-0c7f4d1f2b11"


@pytest.fixture
async def service(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "MOST_BYTES", 70_000)
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


async def test_whoever_goes_makes_room(service):
    for _ in range(5):
        assert (await service.transfer.Stylize(large(1))).job.state == job_pb2.JOB_STATE_SUCCEEDED
        detached = (await service.transfer.Stylize(large(1, detached=True))).job
        watching = service.transfer.StreamProgress(start(large()))
        await watching.read()
        watching.cancel()
        await service.wait_for(detached.name, job_pb2.JOB_STATE_SUCCEEDED)


def test_the_same_request_has_one_fingerprint_whatever_its_id_and_stays_as_it_is():
    asked = large(request_id=REQUEST_ID)
    assert fingerprint(asked) == fingerprint(large()) != fingerprint(large(401))
    assert asked == large(request_id=REQUEST_ID)
