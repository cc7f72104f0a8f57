"""Observer: whoever wants to know what goes on in a server; the default wants nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from styleserve.observing.happenings import Happening

#: The method of calls of what the server does not have, whatever they named.
UNKNOWN_METHOD = "unknown"


@dataclass(frozen=True, slots=True)
class Load:
    """How many jobs wait and how many run, at one moment."""

    num_waiting: int
    num_running: int


class Observer(Protocol):
    """Is told on the server's event loop, so that it returns at once; it raises nothing."""

    def attend(self, read_load: Callable[[], Load]) -> None:
        """A server begins; `read_load` may be called from any thread, whenever it is wanted."""
        ...

    def open_call(self, method: str, trace: str) -> str:
        """A call begins in a trace, or in none where that is empty; returns the trace of what it will cause.

        A trace is a W3C traceparent and, if there is a tracestate, a space and that.
        """
        ...

    def hear(self, happening: Happening) -> None:
        """Something happened."""
        ...


class Silence:
    """Observes nothing."""

    def attend(self, read_load: Callable[[], Load]) -> None:
        """Take no note."""

    def open_call(self, method: str, trace: str) -> str:  # noqa: ARG002 (the protocol's)
        """Leave the trace as it is."""
        return trace

    def hear(self, happening: Happening) -> None:
        """Take no note."""


SILENCE: Observer = Silence()


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def attend(self, read_load: Callable[[], Load]) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.attend(read_load)

    def open_call(self, method: str, trace: str) -> str:
        """Tell each; what one returns the next one gets."""
        for observer in self._observers:
            trace = observer.open_call(method, trace)
        return trace

    def hear(self, happening: Happening) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.hear(happening)
