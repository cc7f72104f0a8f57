"""Detached work: what may take minutes, or for ever, done in a thread of its own that no end of the process waits for.

Threads of an executor are joined when the event loop or the process ends: a download, or a disk that does not answer,
would keep a server from stopping. What is detached ends where it is when the process does.
"""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, TypeVarTuple

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")


def begin(name: str, work: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> Future[ResultT]:
    """Begin work in a thread of this name; the future has what it returns or raises. Begun, it is never cancelled."""
    outcome: Future[ResultT] = Future()
    outcome.set_running_or_notify_cancel()
    bound = functools.partial(contextvars.copy_context().run, work, *arguments)
    threading.Thread(target=_run, args=(bound, outcome), name=name, daemon=True).start()
    return outcome


async def do(name: str, work: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
    """Begin work in a thread of this name, and wait for it on the event loop; who leaves leaves it to itself."""
    return await asyncio.wrap_future(begin(name, work, *arguments))


def _run(work: Callable[[], ResultT], outcome: Future[ResultT]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(error)
        del outcome  # which the error's traceback would keep, and so itself, with the connection that it is about
