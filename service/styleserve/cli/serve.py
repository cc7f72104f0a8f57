"""`styleserve serve`: puts the parts together and serves until it is told to stop."""

import asyncio
import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from styleserve import logs
from styleserve.cli.errors import explained
from styleserve.cli.observers import observed
from styleserve.config import FORGOTTEN, LOG_FORMATS, PRECISIONS, Config, environment_name, read_file
from styleserve.observing.observer import Observer
from styleserve.rpc.server import Server
from styleserve.sizes import parse_limit
from styleserve.workers.process import ProcessWorker
from styleserve.workers.vgg_engine import VggEngineFactory

#: More than anybody writes to a standard input that is there to be closed.
_INPUT_BYTES = 4096
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_CHOICES = {"precision": PRECISIONS, "log_format": LOG_FORMATS}
#: Who else may call and look: what a private server takes from its command line only.
_FOR_OTHERS = ("tls_cert", "tls_key", "tls_client_ca", "callers", "metrics", "traces")
_PATHS = ("tls_cert", "tls_key", "tls_client_ca", "callers", "data_dir", "cache_dir", "styles", "style_images")


def _option(setting: "Field[Any]") -> Callable[[FunctionT], FunctionT]:
    """The flag of a setting, which also reads the environment and, through the default map, the file."""
    name = setting.name
    default = setting.default if setting.default_factory is MISSING else setting.default_factory()
    kind: Any = str if default is None else type(default)
    if name in _PATHS:
        kind = click.Path(path_type=Path)
    elif name in _CHOICES:
        kind = click.Choice(_CHOICES[name])
    is_repeatable = isinstance(default, tuple)
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=kind,
        multiple=is_repeatable,
        is_flag=kind is bool,
        default=None if is_repeatable else default,
        metavar=None if name in _CHOICES or kind is bool else setting.metadata["metavar"],
        envvar=environment_name(name),
        show_envvar=True,
        help=setting.metadata["help"],
    )


def _with_settings(function: FunctionT) -> FunctionT:
    """Give the command a flag for every setting, in the order of the table."""
    for setting in reversed(fields(Config)):
        function = _option(setting)(function)
    return function


def _read_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Let the file's settings stand in for the defaults of flags that are given neither here nor in the environment."""
    if path is not None:
        with explained():
            context.default_map = read_file(path)
    return path


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    callback=_read_defaults,
    expose_value=False,
    is_eager=True,
    envvar="STYLESERVE_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="YAML file of settings by these names, with '_' for '-'",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
@_with_settings
@click.pass_context
def serve(context: click.Context, /, until_stdin_closes: bool, **settings: object) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    with explained():
        if until_stdin_closes:
            settings |= {name: None for name in _FOR_OTHERS if not _is_flag(context, name)}
        config = Config(**{name: _expand(value) for name, value in settings.items()})  # type: ignore[arg-type]
        if config.log_format == "json":
            logs.translate_standard_error()
        logs.configure(config.log_format)
        with data_kept(config) as kept, observed(config) as observer:
            asyncio.run(_serve(kept, observer, until_stdin_closes))


def _is_flag(context: click.Context, name: str) -> bool:
    """Whether a setting was given on the command line, and neither by the environment nor by the file."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


@contextlib.contextmanager
def data_kept(config: Config) -> Iterator[Config]:
    """The configuration with a folder for the data: its own, or one that goes when the server does."""
    if config.data_dir != FORGOTTEN:
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="styleserve-") as folder:
        yield dataclasses.replace(config, data_dir=Path(folder))


async def _serve(config: Config, observer: Observer, until_stdin_closes: bool) -> None:
    factory = VggEngineFactory(
        config.network,
        config.weights,
        config.precision,  # type: ignore[arg-type]
        config.cache_dir,
        config.data_dir,
        parse_limit(config.memory_limit),
        config.deterministic,
    )
    worker = ProcessWorker(factory, functools.partial(logs.configure, config.log_format))
    server = Server(config, worker, observer)
    server.heed_signals()
    address = await server.start()
    if until_stdin_closes:
        heed_end(0, server.request_stop)
    # The one line on standard output: with port 0 nobody could know where else.
    click.echo(f"listening on {address}")
    await server.serve_until_stopped()


def heed_end(handle: int, request_stop: Callable[[], None]) -> None:
    """Call for the stop, once, when the other end of `handle` closes."""
    loop = asyncio.get_running_loop()

    def heed() -> None:
        if not os.read(handle, _INPUT_BYTES):
            loop.remove_reader(handle)  # which would be ready again and again, until the stop is done
            request_stop()

    loop.add_reader(handle, heed)


def _expand(value: object) -> object:
    """Paths with the user's home in the place of `~`."""
    if isinstance(value, tuple):
        return tuple(_expand(part) for part in value)
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value
