"""Crowd: those who watch one job; the more they are, the longer each rests once it has heard what is newest.

A crowd so takes no more of the machine than a few watchers do. News that must not wait ends every rest.
"""

import asyncio
import contextlib
from collections.abc import Iterator

#: Seconds of rest for each who watches: all together wake 50 times a second at most, while they are 500 or fewer.
SECONDS_A_WATCHER = 0.02
#: No rest is longer than this, in seconds, so that it stays within the longest silence of a stream.
LONGEST_REST_S = 10.0
#: Multiples of the golden ratio's fraction spread evenly over 0 to 1, however many there are, and never bunch.
_GOLDEN = 0.6180339887498949


class Crowd:
    """Counts watchers and lets them rest."""

    def __init__(self) -> None:
        self._num_watchers = 0
        self._num_seen = 0
        self._pressing = asyncio.Event()

    @contextlib.contextmanager
    def joined(self) -> Iterator["Watcher"]:
        """One more watches while this lasts."""
        self._num_watchers += 1
        self._num_seen += 1
        try:
            yield Watcher(self, self._num_seen * _GOLDEN % 1)
        finally:
            self._num_watchers -= 1

    def press(self) -> None:
        """There is news that must not wait."""
        self._pressing.set()
        self._pressing = asyncio.Event()

    async def rest(self, share: float) -> None:
        """Wait for so much of a rest, or until there is news that must not wait."""
        rest_s = min(SECONDS_A_WATCHER * self._num_watchers, LONGEST_REST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pressing.wait(), share * rest_s)


class Watcher:
    """One of a crowd; its first rest is shorter, by a share of its own, so that not all are awake at once."""

    def __init__(self, crowd: Crowd, first_share: float) -> None:
        self._crowd = crowd
        self._share = first_share

    async def rest(self) -> None:
        """Leave the watcher alone for a while."""
        share, self._share = self._share, 1.0
        await self._crowd.rest(share)
