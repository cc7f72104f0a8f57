"""Processes that take turns: each keeps its framework warm, and only the one that was asked computes.

Two frameworks in one process fight over the threads; in two processes that run at once over the cores.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeAlias

#: What a process can be asked, by name.
Answers: TypeAlias = Mapping[str, Callable[..., Any]]


class Contestant:
    """A spawned process that answers one question at a time; a context."""

    def __init__(self, build: Callable[..., Answers], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, build, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, name: str, *arguments: object) -> Any:
        """Ask and wait for the answer; raises EOFError when the process failed, whose own words are on stderr."""
        self._connection.send((name, arguments))
        return self._connection.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join()


def seconds_per(step: Callable[[], object], steps: int) -> float:
    """Seconds of one of `steps` calls."""
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - begun) / steps


def _live(connection: Connection, build: Callable[..., Answers], arguments: tuple[object, ...]) -> None:
    """Answer until the other end of the pipe closes."""
    answers = build(*arguments)
    while True:
        try:
            name, details = connection.recv()
        except EOFError:
            return
        connection.send(answers[name](*details))
