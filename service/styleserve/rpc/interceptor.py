"""The interceptor of errors: ours become statuses here and nowhere else, for all kinds of call.

An exception that is none of ours is logged under an ID and told as ENGINE_ERROR with that ID, never with its text.
"""

import contextlib
import functools
import logging
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from styleserve.errors import EngineError, RequestError
from styleserve.rpc.access import callers_name
from styleserve.rpc.handlers import Context, Continuation, Handler, Stream, Unary, wrapped
from styleserve.rpc.status import RichStatus, to_status

logger = logging.getLogger(__name__)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps errors of every handler that is a coroutine or an asynchronous generator."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the handler of one call; None, for an unknown method, is grpc's own UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        return wrapped(handler, functools.partial(_wrap_unary, method), functools.partial(_wrap_stream, method))


def _wrap_unary(method: str, behaviour: Unary) -> Unary:
    async def answer(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            status = _explain(error, method)
        return await context.abort_with_status(status)

    return answer


def _wrap_stream(method: str, behaviour: Stream) -> Stream:
    async def answer(request: Any, context: Context) -> AsyncGenerator[Any]:
        try:
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
    logger.error("%s failed; incident %s", method, incident, exc_info=error, extra={"caller": callers_name()})
    return to_status(EngineError(incident))
