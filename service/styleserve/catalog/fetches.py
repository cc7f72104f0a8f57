"""Fetches: downloads that callers wait for: a few at a time, and each once, whoever else asks for it meanwhile.

None of the event loop's threads waits for a distant server: in those requests are read and pictures delivered.
"""

import asyncio
import functools
from collections.abc import Callable

from styleserve import detached

_AT_ONCE = 4


class Fetches:
    """What is on its way, by its digest; used on an event loop."""

    def __init__(self) -> None:
        self._on_their_way: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, digest: str, download: Callable[[], object]) -> None:
        """Wait for `download`, or for the one of this digest that is on its way; raises what it raises.

        It goes on when its callers leave, for those who come next.
        """
        task = self._on_their_way.get(digest)
        if task is None:
            task = self._on_their_way[digest] = asyncio.create_task(self._take_turn(download))
            task.add_done_callback(functools.partial(self._forget, digest))
        await asyncio.shield(task)

    def _forget(self, digest: str, task: asyncio.Task[None]) -> None:
        del self._on_their_way[digest]
        if not task.cancelled():
            task.exception()  # looked at, since nobody may be left who hears of it

    async def _take_turn(self, download: Callable[[], object]) -> None:
        async with self._turns:
            await asyncio.wrap_future(detached.begin("style-image", download))
