"""Connections: to the server that was named, or to a private one that lives as long as the command."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import IO

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.errors import ConfigurationError
from styleserve_client import Client
from styleserve_client.client import DEFAULT_ADDRESS

_STOP_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 5.0

server_option = click.option(
    "--server",
    default=DEFAULT_ADDRESS,
    envvar="STYLESERVE_SERVER",
    show_envvar=True,
    metavar="HOST:PORT",
    help="the server to call",
)
json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the server at `address`; a person who waits learns at once that nobody is there."""
    if not _answers(address):
        raise click.ClickException(
            f"no server answers at {address}; is one running there? start one with: styleserve serve"
        )
    with Client(address) as client:
        yield client


def _answers(address: str) -> bool:
    """Whether a connection comes about; False as soon as it is refused."""
    states: SimpleQueue[grpc.ChannelConnectivity] = SimpleQueue()
    known = {grpc.ChannelConnectivity.READY: True, grpc.ChannelConnectivity.TRANSIENT_FAILURE: False}
    deadline = time.monotonic() + _CONNECT_TIMEOUT_S
    with grpc.insecure_channel(address) as channel:
        channel.subscribe(states.put, try_to_connect=True)
        while True:
            try:
                state = states.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return False
            if state in known:
                return known[state]


@contextlib.contextmanager
def private_server(arguments: tuple[str, ...]) -> Iterator[str]:
    """A server of our own on a free port of loopback, ready to take jobs; yields its address, and ends it.

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
                address = process.stdout.readline().strip().removeprefix("listening on ")
                if not address or not _becomes_ready(address):
                    raise ConfigurationError(_last_words(process, log))
                yield address
            finally:
                _end(process)


def _becomes_ready(address: str) -> bool:
    """Wait until the server serves; False when it ends instead."""
    with grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        try:
            return any(response.status == health_pb2.HealthCheckResponse.SERVING for response in watch)
        except grpc.RpcError:
            return False
        finally:
            watch.cancel()


def _last_words(process: "subprocess.Popen[str]", log: IO[str]) -> str:
    """The error that a server ended with."""
    process.wait()
    log.seek(0)
    text = log.read().strip()
    return text.rpartition("Error: ")[2] or "the private server did not start"


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
