"""A server with the toy engine on an event loop of its own thread, for tests that block."""

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from support.service import running


@contextlib.contextmanager
def serve_in_process(folder: Path, step_s: float = 0.01) -> Iterator[str]:
    """Serve while the context lasts; yields the address."""
    ready, ended = threading.Event(), threading.Event()
    addresses: list[str] = []

    async def serve() -> None:
        async with running(folder, functools.partial(time.sleep, step_s)) as service:
            addresses.append(service.address)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield addresses[0]
    finally:
        ended.set()
        thread.join()
