"""The interceptor that tells an observer of every call: its method, its status, how long it took, and its trace.

It goes round all others, so that it sees the status that the caller gets.
"""

import contextlib
import functools
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import grpc

from styleserve import logs
from styleserve.observing.happenings import CallEnded
from styleserve.observing.observer import UNKNOWN_METHOD, Observer
from styleserve.rpc.handlers import Context, Continuation, Handler, Stream, Unary, wrapped

_CODES: Mapping[int, str] = MappingProxyType({code.value[0]: code.name for code in grpc.StatusCode})
#: A caller's deadline passes with it a moment earlier than here, and then it cancels the call; so near, that is why.
_DEADLINE_MARGIN_S = 0.1
#: W3C Trace Context, whose identifiers are not all zeros; versions beyond 00 may add to it, and are read as 00.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)
#: What other tracing systems add; up to 512 characters are passed on.
_TRACESTATE = re.compile(r"[ -~]{1,512}")


class ObservingInterceptor(grpc.aio.ServerInterceptor):
    """Tells `observer` when calls begin and end."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the handler of one call; what is called and is not there has one name in all."""
        handler = await continuation(handler_call_details)
        if handler is None:
            self._observer.hear(CallEnded(UNKNOWN_METHOD, grpc.StatusCode.UNIMPLEMENTED.name, 0.0, trace=""))
            return None
        method = handler_call_details.method.removeprefix("/")
        return wrapped(
            handler, functools.partial(self._observe_unary, method), functools.partial(self._observe_stream, method)
        )

    def _observe_unary(self, method: str, behaviour: Unary) -> Unary:
        async def answer(request: Any, context: Context) -> Any:
            with self._observed(method, context) as call:
                response = await behaviour(request, context)
                call.note_job(response)
                return response

        return answer

    def _observe_stream(self, method: str, behaviour: Stream) -> Stream:
        async def answer(request: Any, context: Context) -> AsyncGenerator[Any]:
            with self._observed(method, context) as call:
                async with contextlib.aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        call.note_job(response)
                        yield response

        return answer

    @contextlib.contextmanager
    def _observed(self, method: str, context: Context) -> "Iterator[_Call]":
        begun = time.monotonic()
        call = _Call()
        trace = self._observer.open_call(method, _trace(context))
        logs.call_trace.set(trace)
        code = grpc.StatusCode.CANCELLED.name
        try:
            yield call
            code = _code(context)
        except Exception:
            code = _code(context)
            raise
        except BaseException:  # cancelled: by the caller, or by its deadline
            remaining_s = context.time_remaining()
            if remaining_s is not None and remaining_s <= _DEADLINE_MARGIN_S:
                code = grpc.StatusCode.DEADLINE_EXCEEDED.name
            raise
        finally:
            self._observer.hear(CallEnded(method, code, time.monotonic() - begun, trace, call.job))


class _Call:
    """What its answers say of a call: the name of the job that it is about, empty until one does."""

    def __init__(self) -> None:
        self.job = ""

    def note_job(self, response: Any) -> None:
        if not self.job:
            self.job = str(getattr(getattr(response, "job", None), "name", ""))


def _code(context: Context) -> str:
    """The name of the status that an answer or an error has."""
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    return _CODES.get(number, grpc.StatusCode.UNKNOWN.name)


def _trace(context: Context) -> str:
    """The caller's trace, or nothing: its traceparent and, after a space, its tracestate if there is one."""
    pairs = [(key, value) for key, value in context.invocation_metadata() or () if isinstance(value, str)]
    found = next((_TRACEPARENT.fullmatch(value) for key, value in pairs if key == "traceparent"), None)
    if found is None or (found["version"] == "00" and found["more"]):
        return ""
    state = ",".join(value for key, value in pairs if key == "tracestate")
    return f"00-{found['ids']}" + (f" {state}" if _TRACESTATE.fullmatch(state) else "")
