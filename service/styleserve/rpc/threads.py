"""Disk: what reads and writes files for calls, off the event loop.

It has threads of its own: in those of the event loop images are decoded, and a few that wait for their turn there would
keep every upload and download waiting too.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")

_NUM_THREADS = 4


class Disk:
    """A few threads that wait for the disk."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="disk")

    async def do(self, work: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
        """Do it in a thread. A call that is cancelled meanwhile waits, lest it close a file that is written to."""
        doing = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await asyncio.wait([doing])
            raise
