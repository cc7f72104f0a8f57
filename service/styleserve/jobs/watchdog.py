"""Watchdog: notices an engine that lives but does nothing any more, as when a driver or a device hangs.

An engine with jobs tells of every evaluation, so that its silence means something; how long it may last is for the
owner to say. Time is counted in looks, not read from a clock: while the machine or the front was suspended, nobody
listened.
"""

import asyncio
from collections.abc import Callable

LOOK_S = 5.0


class Watchdog:
    """Calls `bite` when nothing was heard for longer than `longest_silence_s` allows; None there allows any silence."""

    def __init__(self, longest_silence_s: Callable[[], float | None], bite: Callable[[float], None]) -> None:
        self._longest_silence_s = longest_silence_s
        self._bite = bite
        self._silence_s = 0.0

    def hear(self) -> None:
        """The engine told something."""
        self._silence_s = 0.0

    async def watch(self) -> None:
        """Look now and then, without end."""
        while True:
            await asyncio.sleep(LOOK_S)
            longest_s = self._longest_silence_s()
            self._silence_s = 0.0 if longest_s is None else self._silence_s + LOOK_S
            if longest_s is not None and self._silence_s > longest_s:
                self._bite(self._silence_s)
                self._silence_s = 0.0
