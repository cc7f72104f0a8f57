"""Server: puts the services on a port, and stops without losing what it can finish."""

import asyncio
import contextlib
import logging
import signal

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from styleserve.callers import Callers, Quota
from styleserve.catalog.created import FOLDER as CREATED_STYLES
from styleserve.catalog.created import CreatedStyles
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.style import Catalog
from styleserve.catalog.style_images import StyleImages
from styleserve.catalog.watcher import FolderWatcher
from styleserve.config import Config
from styleserve.decoding import Decoder
from styleserve.engine.checkpoints import CHECKPOINTS, CheckpointFolder
from styleserve.errors import ConfigurationError
from styleserve.images import ImageLimits
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.jobs import Jobs
from styleserve.jobs.pictures import Pictures
from styleserve.jobs.store import JobStore
from styleserve.observing.observer import SILENCE, Observer
from styleserve.rpc.access import Access, AccessInterceptor
from styleserve.rpc.health import Health
from styleserve.rpc.inspections import Inspections
from styleserve.rpc.interceptor import ErrorInterceptor
from styleserve.rpc.observation import ObservingInterceptor
from styleserve.rpc.requests import RequestReader
from styleserve.rpc.server_info import ServerInfoServicer
from styleserve.rpc.style_admin import StyleAdminServicer
from styleserve.rpc.style_catalog import StyleCatalogServicer
from styleserve.rpc.style_transfer import StyleTransferServicer
from styleserve.rpc.tls import TlsFiles, server_credentials
from styleserve.sizes import parse_size
from styleserve.v1 import (
    server_info_pb2_grpc,
    style_catalog_pb2_grpc,
    style_transfer_pb2_grpc,
)
from styleserve.workers import Worker

logger = logging.getLogger(__name__)

SERVICES = (
    "styleserve.v1.StyleTransferService",
    "styleserve.v1.StyleCatalogService",
    "styleserve.v1.StyleAdminService",
    "styleserve.v1.ServerInfoService",
)
_HEALTH = "grpc.health.v1.Health"
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

#: Calls that the event loop has not come to yet: so many take it a few seconds, and some 15 kB of memory each.
_MAX_PENDING_CALLS = 5000
#: Channel options, each with its reason.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it in silence
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    # Clients may ping while they wait for a long job, which gRPC by itself allows every five minutes. A shorter time in
    # the place of that (`grpc.http2.min_ping_interval_without_data_ms`) sends away those whose pings come a bit early.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 60_000),  # notices a dead watcher
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.bdp_probe", 0),  # a stalled reader then buffers 0.1 MB, not 6 MB
    # Beyond the first number gRPC turns calls away at random, beyond the second all, as CANCELLED and without a reason:
    # left to itself it begins at 1,000, which a burst that we could refuse in our own words comes to.
    ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_CALLS),
)
#: Between saying NOT_SERVING and refusing jobs, so that load balancers look elsewhere first.
_DRAIN_NOTICE_S = 0.2
_GRACE_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server:
    """The whole service around one worker; made and used on an event loop. `observer` is told what goes on.

    Raises ConfigurationError with everything that the operator has to mend first, in the catalogue's files too.
    """

    def __init__(self, config: Config, worker: Worker, observer: Observer = SILENCE) -> None:
        limits = ImageLimits()
        decoder, inspections = Decoder(limits), Inspections()
        store, image_store, created = _open_data(config)
        callers = _read_callers(config)
        access = Access(callers, asks_for_certificates=config.tls_client_ca is not None)
        self._config = config
        self._catalogs = CatalogKeeper(config.styles, created, self._adopt)
        self._watcher = FolderWatcher(config.styles, self._catalogs.reload)
        self._style_images = StyleImages(config.cache_dir, decoder, config.style_images)
        self._health = Health(SERVICES)
        self._stopping = asyncio.Event()
        self._broken: ConfigurationError | None = None
        self._jobs = Jobs(
            store,
            image_store,
            Pictures(image_store, decoder),
            worker,
            CheckpointFolder(config.data_dir / CHECKPOINTS),
            max_queue=config.max_queue,
            max_running=config.max_running,
            quota_of=callers.quota if callers is not None else lambda _: Quota(),
            retention_s=config.retention_s,
            retention_bytes=parse_size(config.retention_size),
            retention_jobs=config.retention_jobs,
            reuses_pictures=not config.no_cache,
            tell_alive=self._health.set_alive,
            tell_broken=self._break,
            observer=observer,
        )
        reader = RequestReader(
            catalogs=self._catalogs,
            style_images=self._style_images,
            image_store=image_store,
            decoder=decoder,
            inspections=inspections,
            max_side=config.max_side,
            max_iterations=config.max_iterations,
        )
        self._server = grpc.aio.server(
            interceptors=(ObservingInterceptor(observer), ErrorInterceptor(), AccessInterceptor(access)),
            options=OPTIONS,
        )
        style_transfer_pb2_grpc.add_StyleTransferServiceServicer_to_server(
            StyleTransferServicer(self._jobs, image_store, reader, limits), self._server
        )
        style_catalog_pb2_grpc.add_StyleCatalogServiceServicer_to_server(
            StyleCatalogServicer(self._catalogs, self._style_images, self._jobs, decoder, inspections), self._server
        )
        style_catalog_pb2_grpc.add_StyleAdminServiceServicer_to_server(
            StyleAdminServicer(self._catalogs, image_store, self._jobs, decoder, inspections, config.max_iterations),
            self._server,
        )
        server_info_pb2_grpc.add_ServerInfoServiceServicer_to_server(
            ServerInfoServicer(config, self._jobs, limits), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _add_reflection(self._server)

    async def start(self) -> str:
        """Listen and start the engine; returns `HOST:PORT` as bound. Raises ConfigurationError."""
        host, _, _ = self._config.listen.rpartition(":")
        try:
            port = self._bind()
        except RuntimeError:
            port = 0
        if port == 0:
            raise ConfigurationError(
                f"listen: got {self._config.listen!r}, which cannot be bound; allowed: HOST:PORT of this machine that "
                "no other program has"
            )
        if self._config.is_exposed:
            logger.warning(
                "insecure: not only this machine's programs may call %s, in the clear or without showing who they are",
                self._config.listen,
            )
        if self._config.has_exposed_metrics:
            logger.warning("not only this machine's programs may read the metrics at %s", self._config.metrics)
        await self._server.start()
        self._jobs.start()
        self._adopt(self._catalogs.catalog)
        if self._config.watch:
            self._watcher.start()
        logger.info("listening on %s:%d", host, port)
        return f"{host}:{port}"

    def heed_signals(self) -> None:
        """Let SIGTERM and SIGINT call for the stop; before `start`, so that none comes too early."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.request_stop)

    async def serve_until_stopped(self) -> None:
        """Serve until the stop is called for, then drain and stop; a signal from then on cuts the draining short.

        Raises ConfigurationError when the engine cannot be built until the operator mends something.
        """
        await self._stopping.wait()
        if self._broken is None:
            draining = asyncio.create_task(self.drain())
            for number in _SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, draining.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await draining
        await self.stop()
        if self._broken is not None:
            raise self._broken

    def request_stop(self) -> None:
        """Call for the stop, as a signal does."""
        self._stopping.set()

    async def drain(self) -> None:
        """Say NOT_SERVING, refuse new jobs, and let the others end within the drain time."""
        logger.info("draining: no new jobs; those that run have %.0f s", self._config.drain_s)
        self._health.drain()
        await asyncio.sleep(_DRAIN_NOTICE_S)
        await self._jobs.drain(self._config.drain_s)

    async def stop(self) -> None:
        """End every call and the engine; jobs that have not ended go on when the next server starts."""
        self._health.close()
        self._jobs.send_away()
        await self._server.stop(_GRACE_S)
        await self._watcher.stop()
        await self._catalogs.stop()
        await self._jobs.stop()
        logger.info("stopped")

    def _bind(self) -> int:
        """The port that the server has from now on; 0 when it gets none. Raises ConfigurationError."""
        config = self._config
        if config.tls_cert is None or config.tls_key is None:
            return self._server.add_insecure_port(config.listen)
        files = TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
        return self._server.add_secure_port(config.listen, server_credentials(files))

    def _adopt(self, catalog: Catalog) -> None:
        """Have a catalogue's targets prepared."""
        self._jobs.prepare(catalog, self._style_images)

    def _break(self, error: ConfigurationError) -> None:
        self._broken = error
        self._stopping.set()


def _read_callers(config: Config) -> Callers | None:
    """The callers of the operator's file, if there is one; raises ConfigurationError."""
    if config.callers is None:
        return None
    return Callers(config.callers, asks_for_certificates=config.tls_client_ca is not None)


def _open_data(config: Config) -> tuple[JobStore, ImageStore, CreatedStyles]:
    """What the folder of data holds; the jobs first: whoever has them is alone there, and the others tidy up."""
    data_dir = config.data_dir
    store = JobStore(data_dir / "jobs.sqlite3", config.retention_s)
    try:
        return store, ImageStore(data_dir / "images"), CreatedStyles(data_dir / CREATED_STYLES)
    except OSError as error:
        store.close()
        raise ConfigurationError(
            f"data_dir: got {str(data_dir)!r}, {error.strerror}; allowed: a folder that can be made and written to"
        ) from None


def _add_reflection(server: grpc.aio.Server) -> None:
    """Both reflections: clients ask for v1 first, and its messages are those of v1alpha on the wire."""
    names = (*SERVICES, _HEALTH, reflection.SERVICE_NAME, _REFLECTION_V1)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_REFLECTION_V1, {"ServerReflectionInfo": handler}),)
    )
