"""An engine in a spawned process: what it computes never stalls the front, and what kills it kills nothing else.

The parent has two threads for it: one writes commands, so that `send` never blocks on a full pipe, one reads events.
The child has one that reads commands while the engine computes.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue

from styleserve.engine.specification import Command
from styleserve.errors import ConfigurationError
from styleserve.events import EngineEvent, Lost, Ready
from styleserve.workers import Listener
from styleserve.workers.loop import EngineFactory, Inbox, drive

logger = logging.getLogger(__name__)

#: How long a stopping engine may take for its last evaluation before it is killed.
STOP_TIMEOUT_S = 10.0
#: How long a killed engine may take until it is gone. One that a device or a disk holds in the kernel never is, and is
#: left behind.
KILL_TIMEOUT_S = 10.0
_IGNORED = (signal.SIGINT, signal.SIGTERM)


class ProcessWorker:
    """A worker whose engine is built and driven by a process of its own, spawned and never forked.

    The process calls `initialize` first, which is picklable: to set up its log as the parent's is.
    """

    def __init__(self, factory: EngineFactory, initialize: Callable[[], None]) -> None:
        self._factory = factory
        self._initialize = initialize
        self._outbox: Inbox = SimpleQueue()
        self._process: BaseProcess | None = None
        self._reading: threading.Thread | None = None
        self._is_stopping = False
        self._is_ready = False

    @property
    def pid(self) -> int | None:
        """The process's ID, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self, listener: Listener) -> None:
        """Spawn the process; the listener hears `Ready`, or `Lost` when it ends or cannot be spawned."""
        self._leave_behind()
        self._is_stopping = self._is_ready = False
        self._outbox = SimpleQueue()
        self._process = self._reading = None
        try:
            self._spawn(listener)
        except (OSError, RuntimeError) as error:  # no memory, handles, processes or (RuntimeError) threads are left
            listener(Lost(f"the engine's process cannot be started: {error}"))

    def _spawn(self, listener: Listener) -> None:
        """Start the process and its threads; when one of them cannot be, nothing of it stays."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with contextlib.ExitStack() as undoing, theirs:
            undoing.callback(ours.close)  # which the process takes for its end
            process = context.Process(
                target=_live, args=(theirs, self._factory, self._initialize), name="engine", daemon=True
            )
            with _signals_held():
                process.start()
            end_writing = self._start_writing(ours, process)
            undoing.callback(end_writing)
            reading = threading.Thread(
                target=self._read, args=(ours, process, end_writing, listener), name="engine-events", daemon=True
            )
            reading.start()
            undoing.pop_all()
        self._process, self._reading = process, reading

    def _start_writing(self, connection: Connection, process: BaseProcess) -> Callable[[], None]:
        """Send what comes to the outbox from now on; returns what ends that, before the connection may be closed."""
        outbox = self._outbox
        writing = threading.Thread(
            target=_write, args=(connection, process, outbox), name="engine-commands", daemon=True
        )
        writing.start()

        def end() -> None:
            outbox.put(None)
            writing.join()

        return end

    def send(self, command: Command) -> None:
        """Hand the engine a command."""
        self._outbox.put(command)

    def kill(self) -> None:
        """Kill the process; `Lost` follows when its end of the pipe closes."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """Ask the engine to end after its current evaluation; kill it when that takes too long, or when it has none."""
        self._is_stopping = True
        self._outbox.put(None)
        if self._process is None:
            return
        if self._is_ready:
            self._process.join(STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(KILL_TIMEOUT_S)
        if not self._leave_behind() and self._reading is not None:
            self._reading.join()
        self._process = None

    def _leave_behind(self) -> bool:
        """Forget a process that still lives, though it was killed; returns whether there was one."""
        if self._process is None or not self._process.is_alive():
            return False
        logger.error("the engine's process %d was killed and does not end: it is left behind", self._process.pid)
        # The interpreter's end would wait for it, and there is no other way to keep it from that.
        multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]
        return True

    def _read(
        self, connection: Connection, process: BaseProcess, end_writing: Callable[[], None], listener: Listener
    ) -> None:
        """Pass the events on until the process's end of the pipe closes; the last word is that it is lost."""
        lost: Lost | None = None
        try:
            while True:
                event: EngineEvent = connection.recv()
                if isinstance(event, Lost):
                    lost = event
                    continue
                self._is_ready = self._is_ready or isinstance(event, Ready)
                if not self._is_stopping:
                    listener(event)
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("what the engine tells cannot be passed on: it is killed")
            process.kill()
        if not self._is_stopping:  # else `stop` joins it: of two threads that do, one is told that it lives
            process.join(KILL_TIMEOUT_S)
        end_writing()
        connection.close()
        if not self._is_stopping:
            code = process.exitcode
            how = "hung up and does not end" if code is None else f"ended with exit code {code}"
            listener(lost or Lost(f"the engine's process {how}"))


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """What is started meanwhile gets no signal before it has said that it ignores them."""
    resource_tracker.ensure_running()  # which would let signals through when it is started meanwhile
    held_before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_before)


def _write(connection: Connection, process: BaseProcess, outbox: Inbox) -> None:
    """Send what is in the outbox until None, which is sent too; a process that cannot be told any more is killed."""
    try:
        while True:
            command = outbox.get()
            connection.send(command)
            if command is None:
                return
    except OSError:
        return
    except Exception:
        logger.exception("the engine cannot be told what to do: it is killed")
        process.kill()


def _live(connection: Connection, factory: EngineFactory, initialize: Callable[[], None]) -> None:
    """The child's life. Signals for the group are the parent's business: it drains first, then says stop."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    initialize()
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), name="commands", daemon=True).start()
    try:
        engine, info = factory(connection.send)
    except ConfigurationError as error:
        connection.send(Lost("the engine cannot be built", error))
        return
    connection.send(Ready(info))
    drive(engine, inbox)


def _receive(connection: Connection, inbox: Inbox) -> None:
    """Pass commands on; when the parent is gone, or cannot be understood, go too: nobody can want what is computed."""
    try:
        while True:
            command: Command | None = connection.recv()
            inbox.put(command)
            if command is None:
                return
    except (EOFError, OSError):
        pass
    except Exception:
        logger.exception("a command cannot be read: the engine ends")
    os._exit(1)
