"""Returners: requests that were refused because the queue was full, in a line, and when each was told to come back.

Each is told to come when its turn should be: once there is room, and those before it in the line have had theirs. It
keeps its place in the line when it comes and is refused once more. Not all who are told come back; how many do is
learnt, so that a flood that never returns makes nobody wait.
"""

import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from styleserve.jobs.room import Room

#: A request as it is known again: the caller, and the request ID or fingerprint.
Request: TypeAlias = tuple[str, str]

#: Requests that are remembered, those that came last.
MAX_REQUESTS = 10_000
#: How late one may come back: so many seconds, and this share of what it was told to wait.
LATEST_S = 10.0
_LATEST_SHARE = 0.5
#: Clocks and networks differ: how much too early still counts as having waited.
_TOLERANCE_S = 0.1
#: Weight of the newest one who came back or did not.
_NEWEST = 1 / 16


@dataclass(slots=True)
class _Ticket:
    """A place in the line, and from when until when it may be used."""

    number: int
    due: float = 0.0
    lapses: float = 0.0


class Returners:
    """Knows who waited as long as it was told, so that a place kept for such is no prize for calling without pause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._line: OrderedDict[Request, _Ticket] = OrderedDict()
        self._numbers: list[int] = []
        self._last_number = 0
        self._share_returning = 1.0

    def refuse(self, request: Request, room: Room) -> float:
        """Seconds after which a request should come back, by the room there will be."""
        if self.has_waited(request):
            self._learn(1.0)
        ticket = self._ticket(request)
        num_before = self._share_returning * bisect_left(self._numbers, ticket.number)
        retry_after_s = room.first_s + num_before * room.next_s
        ticket.due = self._clock() + retry_after_s
        ticket.lapses = ticket.due + LATEST_S + _LATEST_SHARE * retry_after_s
        return retry_after_s

    def has_waited(self, request: Request) -> bool:
        """Whether a request was refused before and comes back when it was told to."""
        ticket = self._line.get(request)
        return ticket is not None and ticket.due - _TOLERANCE_S <= self._clock() <= ticket.lapses

    def admit(self, request: Request) -> None:
        """Forget a request that got its place."""
        if request in self._line:
            self._learn(1.0)
            self._forget(request)

    def _ticket(self, request: Request) -> _Ticket:
        """The request's place in the line: the one that it has, or the last."""
        self._forget_lapsed(request)
        ticket = self._line.get(request)
        if ticket is None:
            self._last_number += 1
            ticket = self._line[request] = _Ticket(self._last_number)
            self._numbers.append(ticket.number)
            if len(self._line) > MAX_REQUESTS:
                self._forget(next(iter(self._line)))
        return ticket

    def _forget_lapsed(self, request: Request) -> None:
        """Forget a request that comes too late, and those at the head of the line that did not come at all."""
        now = self._clock()
        while self._line and self._line[first := next(iter(self._line))].lapses < now:
            self._learn(0.0)
            self._forget(first)
        if request in self._line and self._line[request].lapses < now:
            self._forget(request)

    def _forget(self, request: Request) -> None:
        number = self._line.pop(request).number
        del self._numbers[bisect_left(self._numbers, number)]

    def _learn(self, has_returned: float) -> None:
        self._share_returning += (has_returned - self._share_returning) * _NEWEST
