"""Access: who makes a call, and whether that caller may; every method of every service has its line here.

A caller shows itself by `authorization: Bearer TOKEN` in the call's metadata, or by the certificate of its connection.
Where neither is asked for, everybody is one anonymous caller who may do everything. Who calls is found out once, before
anything of the request is received; the servicers learn it from `calling`.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import grpc

from styleserve.callers import ANONYMOUS, NAMES_ALLOWED, Caller, Callers, Scope, is_callers_name
from styleserve.errors import PermissionDeniedError, UnauthenticatedError
from styleserve.rpc.arrivals import Arrivals, single
from styleserve.rpc.handlers import Context, Continuation, Handler, Stream, Unary, received_late, wrapped

_KEY = "authorization"
_SCHEME = "Bearer"
_NO_TOKEN = f"got no token; send `{_KEY}: {_SCHEME} TOKEN` in the call's metadata"
_NO_COMMON_NAME = f"got a certificate without a common name; allowed: one with a common name of {NAMES_ALLOWED}"

#: Who makes the call that the present task answers; a variable of the task, not of the process.
_calling: ContextVar[Caller] = ContextVar("calling")

#: What a call needs, by the name of its method: one of these scopes; none, so that whoever watches its health can.
NEEDED: Mapping[str, tuple[Scope, ...]] = MappingProxyType(
    {
        "/styleserve.v1.StyleTransferService/Stylize": ("stylize",),
        "/styleserve.v1.StyleTransferService/UploadImage": ("stylize",),
        "/styleserve.v1.StyleTransferService/CancelJob": ("stylize", "admin"),  # its own, and with `admin` anybody's
        "/styleserve.v1.StyleTransferService/StreamProgress": ("read",),  # and `stylize` where it starts a job
        "/styleserve.v1.StyleTransferService/GetJob": ("read",),
        "/styleserve.v1.StyleTransferService/GetJobLog": ("read",),
        "/styleserve.v1.StyleTransferService/ListJobs": ("read",),
        "/styleserve.v1.StyleTransferService/DownloadImage": ("read",),
        "/styleserve.v1.StyleCatalogService/ListStyles": ("read",),
        "/styleserve.v1.StyleCatalogService/GetStyle": ("read",),
        "/styleserve.v1.StyleAdminService/CreateStyle": ("admin",),
        "/styleserve.v1.StyleAdminService/DeleteStyle": ("admin",),
        "/styleserve.v1.StyleAdminService/ReloadCatalog": ("admin",),
        "/styleserve.v1.ServerInfoService/GetServerInfo": ("read",),
        "/grpc.health.v1.Health/Check": (),
        "/grpc.health.v1.Health/List": (),
        "/grpc.health.v1.Health/Watch": (),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": (),
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": (),
    }
)


class Access:
    """Tells callers apart by `callers`, if there are any, or by their certificates alone."""

    def __init__(self, callers: Callers | None, asks_for_certificates: bool) -> None:
        self._callers = callers
        self._asks_for_certificates = asks_for_certificates

    def admit(self, method: str, context: Context) -> None:
        """Let `calling` tell who calls; raises UnauthenticatedError, or PermissionDeniedError when it may not."""
        scopes = _scopes(method)
        if scopes:
            caller = self._identify(context)
            require(caller, *scopes)
            _calling.set(caller)

    def _identify(self, context: Context) -> Caller:
        if self._callers is None and not self._asks_for_certificates:
            return ANONYMOUS
        token = _token(context)
        if token is not None and self._callers is not None:
            return _known(self._callers.with_token(token), "got a token that is nobody's; ask the operator for one")
        common_name = _common_name(context)
        if common_name is None:
            raise UnauthenticatedError(_NO_COMMON_NAME if self._callers is None else _NO_TOKEN)
        return self._certified(common_name)

    def _certified(self, common_name: str) -> Caller:
        """Who has a certificate that our authority signed; where there is no list of callers, all such may paint."""
        if self._callers is not None:
            known = self._callers.with_certificate(common_name)
            return _known(known, f"got a certificate of {common_name[:100]!r}, who is not among the callers")
        if not is_callers_name(common_name):
            raise UnauthenticatedError(
                f"got a certificate of {common_name[:100]!r}; allowed: a common name of {NAMES_ALLOWED}"
            )
        return Caller(common_name, frozenset({"stylize", "read"}))


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Lets no call through that `access` has something against."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._arrivals = Arrivals()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the handler of one call; None, for an unknown method, is grpc's own UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method

        def guard_unary(behaviour: Unary) -> Unary:
            async def answer(request: Any, context: Context) -> Any:
                self._access.admit(method, context)
                return await behaviour(request, context)

            return answer

        def guard_stream(behaviour: Stream) -> Stream:
            async def answer(request: Any, context: Context) -> AsyncGenerator[Any]:
                self._access.admit(method, context)
                async with contextlib.aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        self._access.admit(method, context)  # a token may be taken back while its holder watches
                        yield response

            return answer

        async def receive(requests: AsyncIterator[Any]) -> Any:
            if _scopes(method):
                return await self._arrivals.receive(calling().name, method, requests)
            return await single(requests)

        return wrapped(received_late(handler, receive), guard_unary, guard_stream)


def calling() -> Caller:
    """Who makes the call that the present task answers."""
    return _calling.get()


def callers_name() -> str:
    """The name of who makes the call; empty while that is not known, and where nobody asks."""
    caller = _calling.get(None)
    return "" if caller is None else caller.name


def require(caller: Caller, *scopes: Scope) -> None:
    """Raise PermissionDeniedError unless the caller has one of the scopes."""
    if caller.scopes.isdisjoint(scopes):
        raise PermissionDeniedError(caller.name, " or ".join(scopes))


def _scopes(method: str) -> tuple[Scope, ...]:
    """What the method needs; one that has no line needs every right, since forgetting it must not open it."""
    return NEEDED.get(method, ("admin",))


def _known(caller: Caller | None, complaint: str) -> Caller:
    if caller is None:
        raise UnauthenticatedError(complaint)
    return caller


def _token(context: Context) -> str | None:
    """The bearer token of the call's metadata."""
    for key, value in context.invocation_metadata() or ():
        if key == _KEY and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == _SCHEME.lower():  # RFC 9110, section 11.1: in any case
                return token.lstrip(" ")
    return None


def _common_name(context: Context) -> str | None:
    """The common name of the certificate that the connection was made with, which TLS has checked.

    To grpc it is an empty one where the certificate has none.
    """
    names = context.auth_context().get("x509_common_name", ())
    return next((name.decode("utf-8", "replace") for name in names if name), None)
