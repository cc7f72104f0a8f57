"""What every worker does with its engine: take the commands that came, step, and wait when there is nothing to do."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from styleserve.engine.engine import Engine
from styleserve.engine.specification import Command
from styleserve.events import EngineEvent, EngineInfo

Report: TypeAlias = Callable[[EngineEvent], None]
#: Builds an engine that reports to the function given, and says what it runs on; picklable where a process needs it.
EngineFactory: TypeAlias = Callable[[Report], tuple[Engine, EngineInfo]]
#: Commands on their way to the engine; None asks it to stop.
Inbox: TypeAlias = SimpleQueue[Command | None]


def drive(engine: Engine, inbox: Inbox) -> None:
    """Run the engine until None comes in; a command is taken before the next step, so within one evaluation."""
    is_busy = False
    try:
        while True:
            while not (is_busy and inbox.empty()):
                command = inbox.get()
                if command is None:
                    return
                engine.accept(command)
                is_busy = True
            is_busy = engine.step()
    finally:
        engine.close()
