"""`styleserve info`: what a server can do, and whether it is healthy."""

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.cli.connection import Server, connected, json_option, server_option
from styleserve.cli.errors import explained
from styleserve.cli.output import print_json, print_pairs

_HEALTH_TIMEOUT_S = 5.0


@click.command()
@server_option
@json_option
@click.option("--health", is_flag=True, help="say only whether it serves; the exit status is 0 when it does")
def info(server: Server, as_json: bool, health: bool) -> None:
    """Show a server's limits and abilities."""
    with explained():
        if health:
            _check_health(server)
            return
        with connected(server) as client:
            answer = client.info()
    if as_json:
        print_json(answer)
        return
    print_pairs((field.name, _text(value)) for field, value in answer.ListFields())
    if answer.weights and not answer.weights_trained:
        click.echo("UNTRAINED WEIGHTS: pictures show texture, not art", err=True)


def _check_health(server: Server) -> None:
    with server.channel() as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_S
            )
        except grpc.RpcError:
            raise click.ClickException(f"no answer from {server.address}") from None
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    click.echo(name)
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        raise SystemExit(1)


def _text(value: object) -> str:
    if isinstance(value, bool | int | float | str):
        return str(value)
    seconds = getattr(value, "seconds", None)
    return f"{seconds} s" if seconds is not None else ", ".join(str(part) for part in value)  # type: ignore[attr-defined]
