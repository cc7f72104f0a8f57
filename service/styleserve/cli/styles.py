"""`styleserve styles`: the catalogue of a server, looked at and changed, and a check of a folder before all that."""

import json
from pathlib import Path
from typing import cast

import click

from styleserve.catalog.packs import check_folder
from styleserve.cli.connection import Server, connected, json_option, server_option
from styleserve.cli.errors import explained
from styleserve.cli.output import print_json, print_pairs, print_table
from styleserve.presets import PRESETS
from styleserve.recipes import COLOR_MODES, MAX_ITERATIONS
from styleserve_client import StyleOptions


@click.group()
def styles() -> None:
    """Look at styles, and change a server's."""


@styles.command("list")
@server_option
@json_option
def list_styles(server: Server, as_json: bool) -> None:
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
def show_style(name: str, server: Server, as_json: bool) -> None:
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


@styles.command("add")
@click.argument("style_id", metavar="NAME")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--title", required=True, help="for people")
@click.option("--artist", default="", show_default=False, help="who made the image")
@click.option("--date", default="", show_default=False, help="when, for people")
@click.option("--source", default="", show_default=False, help="where the image comes from")
@click.option("--license", default="", show_default=False, metavar="ID", help="an SPDX identifier, or public-domain")
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="may be repeated")
@click.option("--preset", type=click.Choice(tuple(PRESETS)), help="[default: the request's, or standard]")
@click.option("--iterations", type=click.IntRange(0, MAX_ITERATIONS), metavar="N", help="[default: the preset's]")
@click.option("--strength", type=float, metavar="S", help="0 is the content, 1 the style")
@click.option("--color", type=click.Choice(COLOR_MODES), help="[default: the preset's]")
@server_option
@json_option
def add_style(style_id: str, image: Path, title: str, server: Server, as_json: bool, **settings: object) -> None:
    """Add IMAGE to a server's catalogue as the style NAME, for good."""
    options = {name: value for name, value in settings.items() if value is not None}
    with explained(), connected(server) as client:
        style = client.create_style(style_id, image, title=title, **cast("StyleOptions", options))
    if as_json:
        print_json(style)
    else:
        click.echo(f"{style.name}@{style.version}")


@styles.command("remove")
@click.argument("name")
@server_option
def remove_style(name: str, server: Server) -> None:
    """Remove a style that was added to a server's catalogue."""
    with explained(), connected(server) as client:
        client.delete_style(name)


@styles.command("reload")
@click.option("--dry-run", is_flag=True, help="only say what would change, or what is wrong")
@server_option
@json_option
def reload_styles(dry_run: bool, server: Server, as_json: bool) -> None:
    """Have a server read its folders and packs of styles again, all or nothing."""
    with explained(), connected(server) as client:
        changes = client.reload_catalog(validate_only=dry_run)
    if as_json:
        print_json(changes)
        return
    for word in ("added", "changed", "removed"):
        for name in getattr(changes, word):
            click.echo(f"{word}\t{name}")
