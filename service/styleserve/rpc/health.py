"""Health: `grpc.health.v1` with Check, Watch and List; serving while an engine lives and the server takes jobs."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.rpc.handlers import Context

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """One state for the server (the service \"\") and for each of `services`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._is_alive = False
        self._is_draining = False
        self._is_closed = False
        self._changed = asyncio.Event()

    @property
    def is_serving(self) -> bool:
        """Whether jobs are taken."""
        return self._is_alive and not self._is_draining

    def set_alive(self, is_alive: bool) -> None:
        """An engine is there, or none is."""
        self._is_alive = is_alive
        self._tell()

    def drain(self) -> None:
        """The server is about to stop."""
        self._is_draining = True
        self._tell()

    def close(self) -> None:
        """End every watch, so that stopping waits for none."""
        self._is_closed = True
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """The state of one service."""
        if request.service not in self._services:
            allowed = ", ".join(repr(service) for service in self._services)
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:100]!r}; there are: {allowed}"
            )
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def List(self, request: Message, context: Context) -> Message:
        """The state of every service."""
        return health_pb2.HealthListResponse(  # type: ignore[attr-defined, no-any-return]
            statuses={
                service: health_pb2.HealthCheckResponse(status=self._status(service)) for service in self._services
            }
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state of one service, now and at every change."""
        last = None
        while not self._is_closed:
            changed = self._changed
            status = self._status(request.service)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            await changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self.is_serving else _NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
