"""Handlers: what is common to wrapping grpc's handlers, whatever kind of call they answer."""

import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from styleserve.errors import violation

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
#: What a handler does: with a request and a context, answer once, or yield answers.
Unary: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Stream: TypeAlias = Callable[[Any, Context], AsyncGenerator[Any]]


def wrapped(handler: Handler, wrap_unary: Callable[[Unary], Unary], wrap_stream: Callable[[Stream], Stream]) -> Handler:
    """A handler that does what the wrapper of its kind makes of it; all of ours are asynchronous."""
    make, behaviour = _kind(handler)
    wrap: Callable[[Any], Any] = wrap_stream if inspect.isasyncgenfunction(behaviour) else wrap_unary
    return make(
        wrap(behaviour),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def received_late(handler: Handler, receive: Callable[[AsyncIterator[Any]], Awaitable[Any]]) -> Handler:
    """A handler that does the same, but receives a single request only when it comes to it, by `receive`.

    By itself grpc receives such a request, whatever its size, before it asks any handler: whoever wraps this one can
    send a call away whose request takes no memory yet. To callers it makes no difference. What arrives and is no
    message is told as a violation.
    """
    _, behaviour = _kind(handler)
    deserialize = handler.request_deserializer
    assert deserialize is not None  # of generated code all have one

    async def answer_once(requests: AsyncIterator[Any], context: Context) -> Any:
        return await behaviour(await receive(requests), context)

    async def answer_with_many(requests: AsyncIterator[Any], context: Context) -> AsyncGenerator[Any]:
        async with contextlib.aclosing(behaviour(await receive(requests), context)) as responses:
            async for response in responses:
                yield response

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            raise violation("request", "got bytes that are no such message", "BAD_FORMAT") from None

    is_single = not handler.request_streaming
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            answer_with_many if is_single else behaviour, read, handler.response_serializer
        )
    return grpc.stream_unary_rpc_method_handler(
        answer_once if is_single else behaviour, read, handler.response_serializer
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
