"""Returners: requests that were refused because the queue was full, and when each was told to come back."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

#: A request as it is known again: the caller and the fingerprint.
Request: TypeAlias = tuple[str, str]

#: Requests that are remembered, those refused last; and how late one may come back, in seconds.
MAX_REQUESTS = 10_000
LATEST_S = 60.0
#: Clocks and networks differ: how much too early still counts as having waited.
_TOLERANCE_S = 0.1


class Returners:
    """Knows who waited as long as it was told, so that a place kept for such is no prize for calling without pause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: OrderedDict[Request, float] = OrderedDict()

    def refuse(self, request: Request, retry_after_s: float) -> None:
        """Take note of when a request was told to come back."""
        self._due[request] = self._clock() + retry_after_s
        self._due.move_to_end(request)
        while len(self._due) > MAX_REQUESTS:
            self._due.popitem(last=False)

    def has_waited(self, request: Request) -> bool:
        """Whether a request was refused before and comes back when it was told to."""
        due = self._due.get(request)
        return due is not None and -_TOLERANCE_S <= self._clock() - due <= LATEST_S

    def admit(self, request: Request) -> None:
        """Forget a request that got its place."""
        self._due.pop(request, None)
