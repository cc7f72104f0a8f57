"""A relay before a server, whose connections can be cut."""

import asyncio
import contextlib
import math
from typing import Self


class Relay:
    """Passes bytes on between those who connect to `address` and the server; an asynchronous context manager.

    Of each connection the server gets `most_bytes`, and of what comes after them nothing; it gets them at
    `bytes_per_s`.
    """

    def __init__(self, server: str, most_bytes: float = math.inf, bytes_per_s: float = math.inf) -> None:
        self._most_bytes = most_bytes
        self._bytes_per_s = bytes_per_s
        self._host, _, self._port = server.rpartition(":")
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.address = ""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Break every connection; new ones may be made."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        except OSError:  # the server is away
            writer.close()
            return
        self._writers += [writer, far_writer]
        for passing in (
            _pass_on(reader, far_writer, self._most_bytes, self._bytes_per_s),
            _pass_on(far_reader, writer, math.inf, math.inf),
        ):
            self._tasks.append(asyncio.create_task(passing))


async def _pass_on(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, most_bytes: float, bytes_per_s: float
) -> None:
    num_bytes = 0
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            num_bytes += len(data)
            await asyncio.sleep(len(data) / bytes_per_s)
            if num_bytes <= most_bytes:
                sink.write(data)
                await sink.drain()
    sink.close()
