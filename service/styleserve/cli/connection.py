"""Connections: to the server that was named, or to a private one that lives as long as the command."""

import contextlib
import functools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, TypeVar, cast

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.errors import ConfigurationError
from styleserve_client import Client
from styleserve_client.client import DEFAULT_ADDRESS, channel_options

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_STOP_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0
#: What a server takes at most that ends by itself, until it has said why.
_ENDING_TIMEOUT_S = 10.0

json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")


@dataclass(frozen=True, slots=True)
class Server:
    """A server to call: where it is, how it is known to be the right one, and what it is shown of who calls."""

    address: str
    token: str | None = None
    credentials: grpc.ChannelCredentials | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call says of who makes it."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def channel(self) -> grpc.Channel:
        """A connection."""
        options = channel_options(self.address)
        if self.credentials is None:
            return grpc.insecure_channel(self.address, options=options)
        return grpc.secure_channel(self.address, self.credentials, options=options)

    def aio_channel(self) -> grpc.aio.Channel:
        """A connection for asyncio."""
        options = channel_options(self.address)
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, self.credentials, options=options)


def server_option(function: FunctionT) -> FunctionT:
    """Give a command `server`, of type Server, and the flags that say which it is."""
    return _with_server(function, DEFAULT_ADDRESS, "the server to call")


def server_or_private_option(function: FunctionT) -> FunctionT:
    """The same, but `server` is None where none is named."""
    return _with_server(function, None, "[default: a private one]")


def _with_server(function: FunctionT, default: str | None, help_text: str) -> FunctionT:
    @functools.wraps(function)
    def call(server: str | None, token: str | None, **others: Any) -> Any:
        files = {name: others.pop(name) for name in ("tls_ca", "tls_cert", "tls_key")}
        credentials = _credentials(others.pop("tls"), **files)
        return function(server=None if server is None else Server(server, token, credentials), **others)

    for option in reversed(_server_flags(default, help_text)):
        call = option(call)
    return cast("FunctionT", call)


def _server_flags(default: str | None, help_text: str) -> list[Callable[[Any], Any]]:
    def pem(name: str, help_text: str) -> Callable[[Any], Any]:
        return click.option(
            f"--tls-{name}",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar=f"STYLESERVE_CALL_TLS_{name.upper()}",
            show_envvar=True,
            metavar="FILE",
            help=help_text,
        )

    return [
        click.option(
            "--server",
            default=default,
            envvar="STYLESERVE_SERVER",
            show_envvar=True,
            metavar="HOST:PORT",
            help=help_text,
        ),
        click.option(
            "--token",
            callback=_check_token,
            envvar="STYLESERVE_TOKEN",
            show_envvar=True,
            help="shows who calls; better not as a flag",
        ),
        # CALL, since STYLESERVE_TLS_CERT and STYLESERVE_TLS_KEY are those that a server shows
        click.option(
            "--tls",
            is_flag=True,
            envvar="STYLESERVE_CALL_TLS",
            show_envvar=True,
            help="call by TLS; the system's authorities vouch for the server",
        ),
        pem("ca", "call by TLS; this authority vouches, as PEM"),
        pem("cert", "certificate that shows who calls, as PEM"),
        pem("key", "its key, as PEM"),
    ]


def _check_token(_: click.Context, __: click.Parameter, token: str | None) -> str | None:
    """A header carries no other characters, and a token that holds them would make every call fail."""
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise click.BadParameter("got one that is empty or has other characters; allowed: visible ones of ASCII")
    return token


def _credentials(
    tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> grpc.ChannelCredentials | None:
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert, --tls-key: got one of them; allowed: both, or none")
    if not tls and tls_ca is None and tls_cert is None:
        return None
    authority, key, certificate = (None if path is None else path.read_bytes() for path in (tls_ca, tls_key, tls_cert))
    return grpc.ssl_channel_credentials(authority, key, certificate)


@contextlib.contextmanager
def connected(server: Server) -> Iterator[Client]:
    """A client of the server, which answers."""
    require_answer(server)
    with Client(server.address, server.credentials, server.token) as client:
        yield client


def require_answer(server: Server) -> None:
    """Raise click's error when no server answers: a person who waits learns at once that nobody is there."""
    if _answers(server):
        return
    if server.credentials is None:
        told = "; is one running there? one that speaks TLS is called with --tls or --tls-ca"
    else:
        told = (
            " by TLS; is one running there? its certificate has to be for this name, and by an authority of the system "
            "or of --tls-ca; it may want one of the caller's, --tls-cert; one without TLS is called without these flags"
        )
    raise click.ClickException(f"no server answers at {server.address}{told}; start one with: styleserve serve")


def _answers(server: Server) -> bool:
    """Whether a connection comes about; False as soon as it is refused."""
    states: SimpleQueue[grpc.ChannelConnectivity] = SimpleQueue()
    known = {grpc.ChannelConnectivity.READY: True, grpc.ChannelConnectivity.TRANSIENT_FAILURE: False}
    deadline = time.monotonic() + _CONNECT_TIMEOUT_S
    with server.channel() as channel:
        channel.subscribe(states.put, try_to_connect=True)
        while True:
            try:
                state = states.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return False
            if state in known:
                return known[state]


@contextlib.contextmanager
def private_server(arguments: tuple[str, ...]) -> Iterator[Server]:
    """A server of our own on a free port of loopback, ready to take jobs; ends when the context does.

    Its log is kept to itself, unless it says why the server did not start. It also ends when this process does.
    """
    command = [
        sys.executable,
        "-m",
        "styleserve",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--drain-s",
        "0",
        "--log-format",
        "text",
        "--data-dir",
        ":memory:",
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, "--until-stdin-closes", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            process_group=0,  # Ctrl-C is ours: the job is cancelled first, then the server is told to stop
        )
        with process:
            try:
                assert process.stdout is not None
                server = Server(process.stdout.readline().strip().removeprefix("listening on "))
                if not server.address or not _becomes_ready(server):
                    raise ConfigurationError(_last_words(process, log, server))
                yield server
            finally:
                _end(process)


def _becomes_ready(server: Server) -> bool:
    """Wait until the server serves; False when it ends instead, or cannot be called."""
    with server.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        try:
            return any(response.status == health_pb2.HealthCheckResponse.SERVING for response in watch)
        except grpc.RpcError:
            return False
        finally:
            watch.cancel()


def _last_words(process: "subprocess.Popen[str]", log: IO[str], server: Server) -> str:
    """The error that a server ended with; one that goes on all the same is ended, since no call gets through to it."""
    try:
        process.wait(_ENDING_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _end(process)
        return (
            f"the private server runs at {server.address}, but no call gets through to it; allowed: connections of "
            "this machine to itself, which a firewall or a sandbox may forbid; or name another server by --server"
        )
    log.seek(0)
    text = log.read().strip()
    return text.rpartition("Error: ")[2] or "the private server did not start"


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
