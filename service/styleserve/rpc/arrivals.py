"""Arrivals: bounds the memory of requests that are on their way in.

What a request takes is known when it is whole, and gRPC makes room for all of it as soon as somebody receives it: of
many that began and went no further, that would be all of the memory. So a few are received at a time, and none for
long; of those that wait for their turn, no more than a small window is here.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

from styleserve.errors import violation

#: Received at a time, of one caller and of all: 2 GiB if every one of them were as large as a message may be.
MOST_OF_CALLER, MOST_OF_ALL = 16, 64
#: What takes longer is no request: 32 MiB at 600 kB/s.
LONGEST_S = 60.0


class Arrivals:
    """The requests that are being received now."""

    def __init__(self) -> None:
        self._of_all = asyncio.Semaphore(MOST_OF_ALL)
        self._of_caller: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def receive(self, caller: str, requests: AsyncIterator[Any]) -> Any:
        """The request of a call that has one; raises InvalidRequestError when it ends without, or takes too long."""
        of_caller = self._of_caller.setdefault(caller, asyncio.Semaphore(MOST_OF_CALLER))
        async with of_caller, self._of_all:
            try:
                async with asyncio.timeout(LONGEST_S):
                    return await single(requests)
            except TimeoutError:
                allowed = f"up to {LONGEST_S:.0f} s from its first byte to its last"
                explanation = f"did not come whole in that time; allowed: {allowed} (UploadImage takes images in parts)"
                raise violation("request", explanation, "TOO_SLOW") from None


async def single(requests: AsyncIterator[Any]) -> Any:
    """The request of a call that has one; raises InvalidRequestError when it ends without."""
    async for request in requests:
        return request
    raise violation("request", "got none; allowed: one message", "REQUIRED")
