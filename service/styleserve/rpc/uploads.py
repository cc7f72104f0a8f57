"""Uploads: what a header and the chunks after it must be, how long they may take, and how many may come at once."""

import asyncio
from collections.abc import AsyncIterator

from styleserve import images
from styleserve.digests import is_sha256
from styleserve.errors import UploadIdleError, violation
from styleserve.images import ImageLimits
from styleserve.jobs.image_store import Incoming
from styleserve.v1 import style_transfer_pb2

MAX_CHUNK_BYTES = 1024 * 1024
#: The longest pause of an upload; whoever makes a longer one is taken for gone.
IDLE_S = 30.0
#: What comes more slowly than this over the whole, beside one pause, is taken for no upload: each holds an open file.
LEAST_BYTES_PER_S = 10_000
#: Uploads at once, of one caller and of all, whose files stay well within the 1024 that a process may usually open; and
#: downloads, each of which holds a chunk until it is read.
MOST_OF_CALLER, MOST_OF_ALL = 64, 256


async def arriving(
    requests: AsyncIterator[style_transfer_pb2.UploadImageRequest],
) -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
    """The messages as they come; raises UploadIdleError when none does for too long, or too little in all."""
    source, clock = aiter(requests), asyncio.get_running_loop().time
    begun, num_bytes = clock(), 0
    while True:
        latest = begun + IDLE_S + num_bytes / LEAST_BYTES_PER_S
        try:
            async with asyncio.timeout_at(min(clock() + IDLE_S, latest)):
                request = await anext(source, None)
        except TimeoutError:
            raise UploadIdleError(IDLE_S, LEAST_BYTES_PER_S) from None
        if request is None:
            return
        num_bytes += len(request.chunk)
        yield request


async def read_header(
    requests: AsyncIterator[style_transfer_pb2.UploadImageRequest], limits: ImageLimits
) -> style_transfer_pb2.UploadHeader:
    """The header, which comes first; raises InvalidRequestError."""
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("part") != "header":
        raise violation("header", "got none; send it first, before the chunks", "REQUIRED")
    header = first.header
    if not 0 < header.size_bytes <= limits.max_bytes:
        allowed = f"1 to {limits.max_bytes}"
        raise violation("header.size_bytes", f"got {header.size_bytes}; allowed: {allowed}", "OUT_OF_RANGE")
    if header.sha256 and not is_sha256(header.sha256):
        raise violation("header.sha256", f"got {header.sha256!r}; allowed: 64 lower-case hex digits", "BAD_FORMAT")
    return header


def check_chunk(
    request: style_transfer_pb2.UploadImageRequest, incoming: Incoming, header: style_transfer_pb2.UploadHeader
) -> None:
    """Raise InvalidRequestError unless this is a chunk and stays within the size that was announced."""
    part = request.WhichOneof("part")
    if part is None:
        raise violation("part", "got an empty message; set `chunk`", "REQUIRED")
    if part != "chunk":
        raise violation("part", "got a second header; allowed: chunks after the first message", "REPEATED")
    if not request.chunk:
        raise violation("chunk", f"got an empty one; allowed: 1 to {MAX_CHUNK_BYTES} bytes", "REQUIRED")
    if len(request.chunk) > MAX_CHUNK_BYTES:
        raise violation("chunk", f"got {len(request.chunk)} bytes; allowed: up to {MAX_CHUNK_BYTES}", "TOO_LONG")
    if incoming.num_bytes + len(request.chunk) > header.size_bytes:
        raise violation("chunk", f"got more than the {header.size_bytes} bytes of the header", "TOO_LONG")


def check_whole(incoming: Incoming, header: style_transfer_pb2.UploadHeader) -> None:
    """Raise InvalidRequestError unless what came is what was announced, and an image by its first bytes."""
    if incoming.num_bytes != header.size_bytes:
        raise violation(
            "chunk", f"got {incoming.num_bytes} bytes; the header promised {header.size_bytes}", "TRUNCATED"
        )
    if header.sha256 and incoming.digest != header.sha256:
        raise violation("header.sha256", f"got bytes whose SHA-256 is {incoming.digest}", "MISMATCH")
    if images.sniff(incoming.first_bytes) is None:
        allowed = ", ".join(name.upper() for name in images.FORMATS)
        raise violation("chunk", f"the first bytes are those of no image; allowed: {allowed}", "IMAGE_UNKNOWN_FORMAT")
