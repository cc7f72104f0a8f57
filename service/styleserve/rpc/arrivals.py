"""Arrivals: bounds the memory of requests that are on their way in.

What a request takes is known when it is whole, and gRPC makes room for all of it as soon as somebody receives it: of
many that began and went no further, that would be all of the memory. So of each caller a few are received at a time,
and none for long; of those that wait for their turn, no more than a small window is here. Callers are in nobody's way
but their own, and requests with images inside not in that of the others.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakValueDictionary

from styleserve.errors import RequestLateError, violation

#: Methods whose requests may have images inside.
WITH_IMAGES = frozenset(
    {
        "/styleserve.v1.StyleTransferService/Stylize",
        "/styleserve.v1.StyleTransferService/StreamProgress",
        "/styleserve.v1.StyleAdminService/CreateStyle",
    }
)
#: Received of a caller at a time, with images and without: 512 MiB of each, if all were as large as a message may be.
MOST_OF_CALLER = 16
#: How long a request with images may take, which are 3 MB at the least pace of an upload; and any other.
LONGEST_S, LONGEST_WITHOUT_IMAGES_S = 300.0, 5.0
_RETRY_S = 1.0


class Arrivals:
    """The requests that are being received now."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[tuple[str, bool], asyncio.Semaphore] = WeakValueDictionary()

    async def receive(self, caller: str, method: str, requests: AsyncIterator[Any]) -> Any:
        """The request of a call that has one; raises RequestLateError when it takes too long, or as `single`."""
        has_images = method in WITH_IMAGES
        longest_s = LONGEST_S if has_images else LONGEST_WITHOUT_IMAGES_S
        async with self._turns.setdefault((caller, has_images), asyncio.Semaphore(MOST_OF_CALLER)):
            try:
                async with asyncio.timeout(longest_s):
                    return await single(requests)
            except TimeoutError:
                raise RequestLateError(_RETRY_S, longest_s) from None


async def single(requests: AsyncIterator[Any]) -> Any:
    """The request of a call that has one; raises InvalidRequestError when it ends without."""
    async for request in requests:
        return request
    raise violation("request", "got none; allowed: one message", "REQUIRED")
