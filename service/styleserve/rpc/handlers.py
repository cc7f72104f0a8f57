"""Handlers: what is common to wrapping grpc's handlers, whatever kind of call they answer."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

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
