"""`styleserve styles`: the catalogue of a server, and a check of a folder before a server reads it."""

import json
from pathlib import Path

import click

from styleserve.catalog.packs import check_folder
from styleserve.cli.connection import connected, json_option, server_option
from styleserve.cli.errors import explained
from styleserve.cli.output import print_json, print_pairs, print_table


@click.group()
def styles() -> None:
    """Look at styles."""


@styles.command("list")
@server_option
@json_option
def list_styles(server: str, as_json: bool) -> None:
    """List a server's styles."""
    with explained(), connected(server) as client:
        found = list(client.styles())
    if as_json:
        print_json(found)
        return
    print_table(
        ("style", "title", "artist", "origin", "tags"),
        [
            (style.name.removeprefix("styles/"), style.title, style.artist, style.origin, " ".join(style.tags))
            for style in found
        ],
    )


@styles.command("show")
@click.argument("name")
@server_option
@json_option
def show_style(name: str, server: str, as_json: bool) -> None:
    """Show one style of a server."""
    with explained(), connected(server) as client:
        style = client.style(name)
    if as_json:
        print_json(style)
        return
    texts = [(key, getattr(style, key)) for key in ("name", "version", "title", "artist", "date", "source", "license")]
    recipe = str(style.recipe).replace("\n", " ").strip()
    print_pairs([*texts, ("tags", " ".join(style.tags)), ("recipe", recipe), ("origin", style.origin)])


@styles.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def check_styles(folder: Path, as_json: bool) -> None:
    """Check a folder of styles; every problem is reported, and the exit status is 1 when there is one."""
    reading = check_folder(folder)
    if as_json:
        found = {
            "styles": [style.name for style in reading.styles],
            "problems": [str(problem) for problem in reading.problems],
        }
        click.echo(json.dumps(found))
    else:
        for problem in reading.problems:
            click.echo(str(problem), err=True)
        click.echo(f"{len(reading.styles)} styles are sound, {len(reading.problems)} problems")
    if reading.problems:
        raise SystemExit(1)
