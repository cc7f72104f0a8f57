"""A crowd that watches one job, in a process of its own: `python -m support.crowd ADDRESS JOB READING SILENT`.

It has the lowest priority, since what clients do with what they hear is not the server's. Some read all that comes. The
silent ask for large previews and read nothing until the others have seen the end: what is sent to one stays with the
server, but for a small window. It prints a line when all watch, and what they saw, as JSON, when all have seen the end.
"""

import asyncio
import collections
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc
from google.protobuf import duration_pb2

from styleserve.v1 import job_pb2, style_transfer_pb2, style_transfer_pb2_grpc

Call: TypeAlias = "grpc.aio.UnaryStreamCall"
#: What came of a crowd: how often each last state was seen, and what the silent ones found in the end.
Seen: TypeAlias = dict[str, object]

_PREVIEW = style_transfer_pb2.PreviewOptions(max_side=512, min_interval=duration_pb2.Duration(nanos=1))
_STREAMS_A_CONNECTION = 25
#: Until all watch, and from the job's end until all have seen it.
_LONGEST_S = 60.0
_LOWEST_PRIORITY = 19
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
#: What is sent on such a channel to one who does not read; by default it is megabytes where data flows fast.
WINDOW_BYTES = 1024
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", WINDOW_BYTES), ("grpc.http2.bdp_probe", 0)]


@contextlib.asynccontextmanager
async def watching(address: str, job: str, reading: int, silent: int) -> AsyncIterator[Callable[[], Awaitable[Seen]]]:
    """While this lasts a crowd watches the job, all there from the beginning; yields what waits for what they saw."""
    command = [sys.executable, "-m", "support.crowd", address, job, str(reading), str(silent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout

    async def line() -> bytes:
        async with asyncio.timeout(_LONGEST_S):
            return await output.readline()

    async def seen() -> Seen:
        return json.loads(await line())

    try:
        assert await line() == b"watching\n"
        yield seen
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def watch(address: str, job: str, reading: int, silent: int) -> None:
    """Watch until the end."""
    os.nice(_LOWEST_PRIORITY)
    asked = style_transfer_pb2.StreamProgressRequest(job=job)
    readers = _calls(address, asked, reading, _OWN_CONNECTION)
    asked.preview.CopyFrom(_PREVIEW)
    silent_ones = _calls(address, asked, silent, [*_OWN_CONNECTION, *SMALL_WINDOW])
    for call in (*readers, *silent_ones):
        await call.initial_metadata()
    print("watching", flush=True)
    heard = await asyncio.gather(*(_read(call) for call in readers))
    heard_late = await asyncio.gather(*(_read(call) for call in silent_ones))
    newest = _newest_progress(heard)
    seen = {
        "ends seen by readers": collections.Counter(_end(messages) for messages in heard),
        "ends seen by silent ones": collections.Counter(_end(messages) for messages in heard_late),
        "what silent ones found": collections.Counter(_kinds(messages) for messages in heard_late),
        "silent ones who lack what was newest": sum(messages[-2].sequence < newest for messages in heard_late),
        "most bytes before a preview": max(_bytes_before_a_preview(messages) for messages in heard_late),
    }
    print(json.dumps(seen), flush=True)


def _calls(
    address: str, asked: style_transfer_pb2.StreamProgressRequest, count: int, options: list[tuple[str, int]]
) -> list[Call]:
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(-(-count // _STREAMS_A_CONNECTION))]
    stubs = [style_transfer_pb2_grpc.StyleTransferServiceStub(channel) for channel in channels]
    return [stubs[index % len(stubs)].StreamProgress(asked) for index in range(count)]


async def _read(call: Call) -> list[style_transfer_pb2.StreamProgressResponse]:
    return [message async for message in call]


def _kinds(messages: list[style_transfer_pb2.StreamProgressResponse]) -> str:
    return ", ".join(message.WhichOneof("event") for message in messages)


def _newest_progress(heard: list[list[style_transfer_pb2.StreamProgressResponse]]) -> int:
    """The number of the newest that any of those who read was told."""
    return max(message.sequence for messages in heard for message in messages if message.HasField("progress"))


def _bytes_before_a_preview(messages: list[style_transfer_pb2.StreamProgressResponse]) -> int:
    before = itertools.takewhile(lambda message: not message.HasField("preview"), messages)
    return sum(message.ByteSize() for message in before)


def _end(messages: list[style_transfer_pb2.StreamProgressResponse]) -> str:
    return job_pb2.JobState.Name(messages[-1].job.state)


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
