"""The outermost interceptor: our errors become statuses here and nowhere else, for all kinds of call.

Who may not call is turned away here too, before the handler runs, with an error like the others.

An exception that is none of ours is logged under an ID and told as ENGINE_ERROR with that ID, never with its text.
"""

import contextlib
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from styleserve.errors import EngineError, RequestError
from styleserve.rpc.status import RichStatus, to_status

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
#: Raises what keeps a caller from a method.
Check: TypeAlias = Callable[[str, Context], None]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps errors of every handler that is a coroutine or an asynchronous generator; `check` has a word before it."""

    def __init__(self, check: Check) -> None:
        self._check = check

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of one call; None, for an unknown method, is grpc's own UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        make, behaviour = _kind(handler)
        wrap = _wrap_stream if inspect.isasyncgenfunction(behaviour) else _wrap_unary
        return make(
            wrap(behaviour, handler_call_details.method, self._check),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _kind(handler: Any) -> tuple[Callable[..., Handler], Callable[..., Any]]:
    """The function that makes a handler of this kind of call, and what the handler does."""
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler, handler.unary_unary
        case False, True:
            return grpc.unary_stream_rpc_method_handler, handler.unary_stream
        case True, False:
            return grpc.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream


def _wrap_unary(behaviour: Callable[..., Awaitable[Any]], method: str, check: Check) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: Context) -> Any:
        try:
            check(method, context)
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            status = _explain(error, method)
        return await context.abort_with_status(status)

    return answer


def _wrap_stream(behaviour: Callable[..., Any], method: str, check: Check) -> Callable[..., AsyncIterator[Any]]:
    async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            check(method, context)
            async with contextlib.aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response
            return
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            status = _explain(error, method)
        await context.abort_with_status(status)

    return answer


def _explain(error: Exception, method: str) -> RichStatus:
    if isinstance(error, RequestError):
        return to_status(error)
    incident = secrets.token_hex(8)
    logger.error("%s failed; incident %s", method, incident, exc_info=error)
    return to_status(EngineError(incident))
