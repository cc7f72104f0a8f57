"""Images go up and down in chunks, once each, and nothing is stored that is not what it claims."""

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import grpc
import pytest

from styleserve import images
from styleserve.rpc import uploads
from styleserve.v1 import image_pb2, style_transfer_pb2
from support.killing import until
from support.rich_errors import refused
from support.service import png, request, running

IMAGE = images.encode(images.Picture(images.noise(400, 600, seed=0)), "png").data
#: More than a stream holds that nobody reads.
LARGE = png(0.5).ljust(16 * 1024 * 1024, b"\0")
CHUNK = 1024 * 1024 // 4


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path) as service:
        yield service


def parts(data: bytes, **header: object):
    header = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **header}
    yield style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(**header))
    for begin in range(0, len(data), CHUNK):
        yield style_transfer_pb2.UploadImageRequest(chunk=data[begin : begin + CHUNK])


async def download(service, image: str, offset: int = 0) -> bytes:
    asked = style_transfer_pb2.DownloadImageRequest(image=image, offset=offset)
    received = bytearray()
    async for part in service.transfer.DownloadImage(asked):
        assert part.offset == offset + len(received)
        assert len(part.chunk) <= 1024 * 1024
        received.extend(part.chunk)
    return bytes(received)


async def test_an_uploaded_image_is_painted_and_downloaded(service):
    image = (await service.transfer.UploadImage(parts(IMAGE))).image
    assert image == f"images/{hashlib.sha256(IMAGE).hexdigest()}"
    assert await download(service, image) == IMAGE
    assert await download(service, image, offset=1000) == IMAGE[1000:]
    assert await download(service, image, offset=len(IMAGE)) == b""
    made = request(iterations=1, content=image_pb2.ImageSource(image=image))
    response = await service.transfer.Stylize(made)
    assert (response.result.width, response.result.height) == (600, 400)


async def test_an_image_that_is_there_is_answered_after_the_header(service):
    await service.transfer.UploadImage(parts(IMAGE))
    header = next(parts(IMAGE))
    assert (await service.transfer.UploadImage(iter([header]))).image.startswith("images/")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "header"),
        ([style_transfer_pb2.UploadImageRequest(chunk=b"x")], "header"),
        (list(parts(IMAGE, size_bytes=0))[:1], "header.size_bytes"),
        (list(parts(IMAGE, size_bytes=2**40))[:1], "header.size_bytes"),
        (list(parts(IMAGE, sha256="xyz"))[:1], "header.sha256"),
        (list(parts(IMAGE, sha256="0" * 64)), "header.sha256"),
        (list(parts(IMAGE, size_bytes=len(IMAGE) - 1)), "chunk"),
        (list(parts(IMAGE))[:2], "chunk"),
        (list(parts(b"just text")), "chunk"),
        ([*parts(IMAGE, sha256="")][:1] * 2, "part"),
    ],
)
async def test_an_upload_that_is_not_what_it_claims_is_refused_and_not_kept(service, tmp_path, messages, field):
    code, reason, others = await refused(service.transfer.UploadImage(iter(messages)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert others[0].field_violations[0].field == field
    assert not list((tmp_path / "data" / "images").glob("*/*"))


async def test_an_empty_message_among_the_chunks_is_called_that(service):
    messages = [next(parts(IMAGE)), style_transfer_pb2.UploadImageRequest()]
    _, _, others = await refused(service.transfer.UploadImage(iter(messages)))
    assert others[0].field_violations[0].description == "got an empty message; set `chunk`"


@pytest.mark.parametrize("name", ["images/" + "0" * 64, "images/../../etc/passwd", "nonsense", ""])
async def test_an_unknown_image_is_not_found_wherever_it_is_named(service, name):
    code, reason, others = await refused(download(service, name))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")
    assert others[0].resource_name == name
    if name:
        code, reason, _ = await refused(service.transfer.Stylize(request(content=image_pb2.ImageSource(image=name))))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open."""
    names = []
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # one that was closed meanwhile
            names.append(os.readlink(f"/proc/self/fd/{handle}"))
    return [name for name in names if name.startswith(str(folder))]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_readers_who_stall_keep_no_file_open(service, tmp_path):
    image = (await service.transfer.UploadImage(parts(LARGE))).image
    asked = style_transfer_pb2.DownloadImageRequest(image=image)
    stalled = [service.transfer.DownloadImage(asked) for _ in range(5)]
    for call in stalled:
        assert (await call.read()).chunk
    await until(lambda: not open_files(tmp_path / "data" / "images"))
    for call in stalled:
        call.cancel()


async def test_more_downloads_at_once_than_may_be_are_told_when_to_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_OF_CALLER", 3)
    async with running(tmp_path) as service:
        image = (await service.transfer.UploadImage(parts(LARGE))).image
        asked = style_transfer_pb2.DownloadImageRequest(image=image)
        stalled = [service.transfer.DownloadImage(asked) for _ in range(3)]
        for call in stalled:
            assert (await call.read()).chunk
        code, reason, (failure, _) = await refused(service.transfer.DownloadImage(asked).read())
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert failure.violations[0].description == "3 downloads at once"
        for call in stalled:
            call.cancel()


async def test_an_image_that_is_forgotten_while_it_is_read_is_not_there_any_more(service, tmp_path):
    image = (await service.transfer.UploadImage(parts(LARGE))).image
    call = service.transfer.DownloadImage(style_transfer_pb2.DownloadImageRequest(image=image))
    assert (await call.read()).chunk
    for path in (tmp_path / "data" / "images").glob("*/*"):
        path.unlink()

    async def read_on() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    code, reason, others = await refused(read_on())
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")
    assert others[0].resource_name == image


async def test_an_offset_beyond_the_end_is_refused(service):
    image = (await service.transfer.UploadImage(parts(png(0.5)))).image
    _, reason, others = await refused(download(service, image, offset=10**6))
    assert reason == "INVALID_REQUEST"
    assert others[0].field_violations[0].field == "offset"
