"""An engine in a thread of this process: for tests and scripts; beside a server its optimizers would hold the GIL."""

import logging
import threading
from queue import SimpleQueue

from styleserve.engine.specification import Command
from styleserve.errors import ConfigurationError
from styleserve.events import EngineEvent, Lost, Ready
from styleserve.workers import Listener
from styleserve.workers.loop import EngineFactory, Inbox, drive

logger = logging.getLogger(__name__)


class ThreadWorker:
    """A worker whose engine is built and driven by a thread of its own."""

    def __init__(self, factory: EngineFactory) -> None:
        self._factory = factory
        self._inbox: Inbox = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def start(self, listener: Listener) -> None:
        """Begin; the listener hears `Ready`, or `Lost` when the engine cannot be built."""
        self._is_stopping = False
        self._inbox = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(listener, self._inbox), name="engine", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """Hand the engine a command."""
        self._inbox.put(command)

    def kill(self) -> None:
        """Nothing: a thread cannot be killed."""

    def stop(self) -> None:
        """Drop the engine's jobs and wait for the thread."""
        self._is_stopping = True
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self, listener: Listener, inbox: Inbox) -> None:
        def report(event: EngineEvent) -> None:
            if not self._is_stopping:
                listener(event)

        try:
            engine, info = self._factory(report)
            report(Ready(info))
            drive(engine, inbox)
        except ConfigurationError as error:
            report(Lost("the engine cannot be built", error))
        except Exception as failure:
            logger.exception("the engine's thread failed")
            report(Lost(f"the engine's thread failed: {type(failure).__name__}"))
