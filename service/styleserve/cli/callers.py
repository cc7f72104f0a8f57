"""`styleserve callers`: tokens for the file of callers, and a check of that file before a server reads it."""

import textwrap
from pathlib import Path

import click

from styleserve.callers import NAMES_ALLOWED, SCOPES, Callers, is_callers_name, new_token, token_sha256
from styleserve.cli.errors import explained
from styleserve.documents import write_mapping


@click.group()
def callers() -> None:
    """Make tokens of callers, and check their file."""


@callers.command("new")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("stylize", "read"), help="may be repeated"
)
def new_caller(name: str, scopes: tuple[str, ...]) -> None:
    """Print a fresh token, and the entry of its caller to append to the file of `serve --callers`.

    That file begins with the line `callers:`, below which the entries stand. The token itself is kept nowhere: hand it
    to the caller, who sends it as STYLESERVE_TOKEN or `Client(token=...)`.
    """
    if not is_callers_name(name):
        raise click.UsageError(f"NAME: got {name!r}; allowed: {NAMES_ALLOWED}")
    token = new_token()
    click.echo(f"token: {token}", err=True)
    click.echo("entry, to stand below `callers:` in the file:", err=True)
    entry = {"token_sha256": [token_sha256(token)], "scopes": list(scopes)}
    click.echo(textwrap.indent(write_mapping({name: entry}), "  "), nl=False)


@callers.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check_callers(file: Path) -> None:
    """Say what is wrong with a file of callers."""
    with explained():
        known = Callers(file)
    click.echo(f"{file}: {len(known)} callers")
