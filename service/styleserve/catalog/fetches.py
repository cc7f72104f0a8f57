"""Fetches: downloads that callers wait for: a few at a time, and each once, whoever else asks for it meanwhile.

None of the event loop's threads waits for a distant server: in those requests are read and pictures delivered.
"""

import asyncio
import functools
from collections.abc import Callable, Hashable

from styleserve import detached

_AT_ONCE = 4


class Fetches:
    """What is on its way, by the file that it is of; used on an event loop."""

    def __init__(self) -> None:
        self._on_their_way: dict[Hashable, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, file: Hashable, download: Callable[[], object]) -> None:
        """Wait for `download`, or for the one of this file that is on its way; raises what it raises.

        It goes on when its callers leave, for those who come next.
        """
        task = self._on_their_way.get(file)
        if task is None:
            task = self._on_their_way[file] = asyncio.create_task(self._take_turn(download))
            task.add_done_callback(functools.partial(self._forget, file))
        await asyncio.shield(task)

    def _forget(self, file: Hashable, task: asyncio.Task[None]) -> None:
        del self._on_their_way[file]
        if not task.cancelled():
            task.exception()  # looked at, since nobody may be left who hears of it

    async def _take_turn(self, download: Callable[[], object]) -> None:
        async with self._turns:
            await detached.do("style-image", download)
