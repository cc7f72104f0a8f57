"""Inspections: the images that requests bring or name are looked at, of each caller those of two at a time.

To measure an image it has to be decoded, which takes up to seconds, whatever becomes of the request. A few bytes can
name nine of the largest, so that one caller could keep all threads busy with calls that cost it nothing.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from styleserve.rpc.threads import Threads

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")

_NUM_THREADS = 8
_MOST_OF_CALLER = 2


class Inspections:
    """Callers' turns in threads that nothing else needs."""

    def __init__(self) -> None:
        self._threads = Threads("inspections", _NUM_THREADS)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def do(self, caller: str, work: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
        """Do it in a thread, when it is the caller's turn; callers wait for themselves before they wait for others."""
        async with self._turns.setdefault(caller, asyncio.Semaphore(_MOST_OF_CALLER)):
            return await self._threads.do(work, *arguments)
