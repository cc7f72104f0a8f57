"""Where an engine lives: in a spawned process, in a thread of this one for tests, elsewhere one day."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from styleserve.engine.specification import Command
from styleserve.events import EngineEvent

#: Called once for each event, from a thread of the worker's or within its `start`.
Listener: TypeAlias = Callable[[EngineEvent], None]


class Worker(Protocol):
    """An engine that runs beside its owner.

    After `start` the listener hears `Ready` once the engine is warm, or `Lost`. After `Lost` the worker is as before
    its start: the owner may start it again and give it its jobs again.
    """

    def start(self, listener: Listener) -> None:
        """Begin; returns at once. What keeps it from that the listener hears as `Lost`."""
        ...

    def send(self, command: Command) -> None:
        """Hand the engine a command; never blocks."""
        ...

    def kill(self) -> None:
        """End an engine that does not do so by itself; the listener hears `Lost` once it is gone, if it ever is."""
        ...

    def stop(self) -> None:
        """End the engine and whatever it runs, and wait for that, if it can end; the listener hears nothing more."""
        ...
