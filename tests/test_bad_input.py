"""Bad input, in one place: each gives the right result or its error, all violations at once, and the server goes on."""

import asyncio
import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf import duration_pb2
from PIL import ExifTags, Image

from styleserve import images
from styleserve.v1 import image_pb2, recipe_pb2, style_transfer_pb2, style_transfer_pb2_grpc
from support.rich_errors import details
from support.service import GREY, Service, png, request, running

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PHOTOGRAPH = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """50,000 x 50,000 pixels in a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def animation(image_format: str) -> bytes:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ((51, 51, 51), (255, 0, 0))]
    return encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(PHOTOGRAPH, "JPEG", exif=exif)


def with_alpha() -> bytes:
    image = PHOTOGRAPH.convert("RGBA")
    image.putalpha(128)
    return encoded(image, "PNG")


def content(data: bytes) -> style_transfer_pb2.StylizeRequest:
    return request(iterations=1, content=image_pb2.ImageSource(inline=data))


def changed(change: Callable[[style_transfer_pb2.StylizeRequest], object]) -> style_transfer_pb2.StylizeRequest:
    made = request(iterations=1)
    change(made)
    return made


def two_styles_on_the_wire() -> style_transfer_pb2.StylizeRequest:
    """Both arms of a oneof, as only a hand-made message has them: protobuf lets the last one stand."""
    image = recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png(0.9)))
    named = recipe_pb2.StyleInput(style=GREY)
    both = recipe_pb2.StyleInput.FromString(image.SerializeToString() + named.SerializeToString())
    return changed(lambda made: made.styles[0].CopyFrom(both))


@dataclass
class Case:
    """A request, and what has to come of it: a result of a size, or an error with its violations (field, reason)."""

    name: str
    request: style_transfer_pb2.StylizeRequest
    size: tuple[int, int] | None = None
    code: grpc.StatusCode = INVALID
    reason: str = "INVALID_REQUEST"
    violations: set[tuple[str, str]] = field(default_factory=set)


def refused(name: str, made: style_transfer_pb2.StylizeRequest, *violations: tuple[str, str]) -> Case:
    return Case(name, made, violations=set(violations))


def accepted(name: str, made: style_transfer_pb2.StylizeRequest, width: int, height: int) -> Case:
    return Case(name, made, size=(width, height))


def everything_wrong(made: style_transfer_pb2.StylizeRequest) -> None:
    made.content.inline = b""
    made.styles[0].weight = -1
    made.styles[0].scale = 100
    made.recipe.iterations = 10_000_000
    made.recipe.strength = math.nan
    made.recipe.preset = "classik"
    made.recipe.optimizer = 77
    made.output.max_side = 5
    made.output.quality = 101
    made.request_id = "me"
    made.job_id = "A"
    made.priority = 11
    made.run_timeout.CopyFrom(duration_pb2.Duration(seconds=-1))


CASES = [
    refused("a text file named .png", content(b"not an image at all"), ("content", "IMAGE_UNKNOWN_FORMAT")),
    refused("an empty file", content(b""), ("content", "IMAGE_EMPTY")),
    refused("no content", changed(lambda made: made.ClearField("content")), ("content", "REQUIRED")),
    refused("a truncated JPEG", content(encoded(PHOTOGRAPH, "JPEG")[:-500]), ("content", "IMAGE_TRUNCATED")),
    refused("a bomb", content(bomb()), ("content", "IMAGE_TOO_LARGE")),
    refused("one pixel", content(encoded(Image.new("RGB", (1, 1)), "PNG")), ("content", "IMAGE_TOO_SMALL")),
    refused("an animated GIF", content(animation("GIF")), ("content", "IMAGE_UNKNOWN_FORMAT")),
    accepted("an animated WebP", content(animation("WEBP")), 32, 24),
    accepted("CMYK", content(encoded(PHOTOGRAPH.convert("CMYK"), "JPEG")), 64, 48),
    accepted("16-bit grey", content(encoded(Image.fromarray(np.full((20, 24), 999, np.uint16)), "PNG")), 24, 20),
    accepted("RGBA", content(with_alpha()), 64, 48),
    accepted("EXIF-rotated", content(rotated()), 48, 64),
    Case(
        "a wrong style name",
        changed(lambda made: setattr(made.styles[0], "style", "styles/plain-gray")),
        code=grpc.StatusCode.NOT_FOUND,
        reason="STYLE_NOT_FOUND",
    ),
    refused("no style", changed(lambda made: made.ClearField("styles")), ("styles", "REQUIRED")),
    refused("an empty style", changed(lambda made: made.styles.add()), ("styles[1]", "REQUIRED")),
    refused("a bad style image", changed(lambda made: made.styles.add().image.MergeFrom(
        image_pb2.ImageSource(inline=b"x"))), ("styles[1].image", "IMAGE_UNKNOWN_FORMAT")),
    refused("a weight of -1", changed(lambda made: setattr(made.styles[0], "weight", -1.0)),
            ("styles[0].weight", "OUT_OF_RANGE")),
    refused("a weight of NaN", changed(lambda made: setattr(made.styles[0], "weight", math.nan)),
            ("styles[0].weight", "OUT_OF_RANGE")),
    refused("a weight of infinity", changed(lambda made: setattr(made.styles[0], "weight", math.inf)),
            ("styles[0].weight", "OUT_OF_RANGE")),
    refused("a loss weight of NaN", changed(lambda made: setattr(made.recipe.weights, "content", math.nan)),
            ("recipe.weights.content", "OUT_OF_RANGE")),
    refused("10 million iterations", request(iterations=10_000_000), ("recipe.iterations", "OUT_OF_RANGE")),
    refused("a result of 4 pixels", changed(lambda made: setattr(made.output, "max_side", 4)),
            ("output.max_side", "OUT_OF_RANGE")),
    refused("strength beside weights", changed(lambda made: made.recipe.MergeFrom(recipe_pb2.Recipe(
        strength=0.5, weights=recipe_pb2.LossWeights(style=1)))), ("recipe.strength", "CONFLICT")),
    refused("too many labels", request(labels={str(n): "x" for n in range(17)}), ("labels", "TOO_MANY")),
    refused("a label with a long key", request(labels={"k" * 64: "x"}), ("labels", "TOO_LONG")),
    refused("a label with a long value", request(labels={"k": "x" * 256}), ("labels", "TOO_LONG")),
    accepted("the longest label", request(labels={"k" * 63: "x" * 255}), 32, 24),
    refused("too many styles", changed(lambda made: made.styles.extend([made.styles[0]] * 8)), ("styles", "TOO_MANY")),
    accepted("two targets in a oneof", two_styles_on_the_wire(), 32, 24),
    refused(
        "everything wrong at once",
        changed(everything_wrong),
        ("content", "IMAGE_EMPTY"), ("styles[0].weight", "OUT_OF_RANGE"), ("styles[0].scale", "OUT_OF_RANGE"),
        ("recipe.iterations", "OUT_OF_RANGE"), ("recipe.strength", "OUT_OF_RANGE"), ("recipe.preset", "UNKNOWN_VALUE"),
        ("recipe.optimizer", "UNKNOWN_VALUE"), ("output.max_side", "OUT_OF_RANGE"), ("output.quality", "OUT_OF_RANGE"),
        ("request_id", "BAD_FORMAT"), ("job_id", "BAD_FORMAT"), ("priority", "OUT_OF_RANGE"),
        ("run_timeout", "OUT_OF_RANGE"),
    ),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory):
    """One server for all cases, and where it keeps its images: what a case left behind the next ones would meet."""
    folder = tmp_path_factory.mktemp("server")
    async with running(folder) as service:
        yield service, folder / "data" / "images"


async def traces(service: Service, kept: Path) -> tuple[set[str], dict[str, int]]:
    """All jobs by their names, and all images with the time when each was used last, which keeping it again moves."""
    jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=1000))).jobs
    return {job.name for job in jobs}, {path.name: path.stat().st_mtime_ns for path in kept.glob("*/*")}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_gets_its_due_and_the_server_goes_on(server, case):
    service, kept = server
    before = await traces(service, kept)
    call = service.transfer.Stylize(case.request, timeout=20)
    if case.size is not None:
        result = (await call).result
        assert (result.width, result.height) == case.size
        assert images.decode(result.inline, images.ImageLimits()).pixels.shape == (case.size[1], case.size[0], 3)
    else:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        info, others = details(caught.value)
        assert (caught.value.code(), info.reason) == (case.code, case.reason)
        if case.violations:
            found = {(violation.field, violation.reason) for violation in others[0].field_violations}
            assert found == case.violations
        assert await traces(service, kept) == before, "a refused request leaves nothing behind"
    assert (await service.transfer.Stylize(request(iterations=1))).result.inline


async def test_an_expired_deadline_comes_to_no_job_and_the_server_goes_on(tmp_path):
    """In a server of its own, as the next: nobody knows what it still stores of a request that has lost its caller."""
    async with running(tmp_path) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.transfer.Stylize(request(), timeout=0)
        # The server's refusal and the client's own clock race for the answer.
        assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION)
        assert not (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
        assert (await service.transfer.Stylize(request(iterations=1))).result.inline


async def test_a_client_who_vanishes_while_the_request_is_read_does_the_server_no_harm(tmp_path):
    async with running(tmp_path) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            stub = style_transfer_pb2_grpc.StyleTransferServiceStub(channel)
            calls = [asyncio.ensure_future(stub.Stylize(content(png(0.5, 900, 900)))) for _ in range(4)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await service.transfer.Stylize(request(iterations=1))).result.inline
