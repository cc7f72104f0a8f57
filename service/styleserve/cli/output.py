"""What commands print: tables for people, one line of JSON for programs."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table


def print_json(value: Message | Iterable[Message]) -> None:
    """Protobuf's JSON form with the proto's field names, on one line: an object, or a list of them."""
    if isinstance(value, Message):
        click.echo(json.dumps(_to_dict(value)))
    else:
        click.echo(json.dumps([_to_dict(message) for message in value]))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], has_header_in_pipe: bool = False) -> None:
    """A table; in a pipe, plain columns without a frame, and without the header unless that is wanted."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        for row in ([header] if has_header_in_pipe else []) + list(rows):
            click.echo("\t".join(row))
        return
    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Lines of a name and its value; empty values are left out."""
    filled = [(name, str(value)) for name, value in pairs if value not in ("", None)]
    width = max((len(name) for name, _ in filled), default=0)
    for name, value in filled:
        click.echo(f"{name:<{width}}  {value}")


def check_place(flag: str, path: Path) -> None:
    """Raise click's error, before any work is done, when no file can be put at `path`."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.UsageError(f"{flag}: got {str(path)!r}; allowed: a file in a folder that is there and is writable")


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once that is done; a fault leaves what was there."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _to_dict(message: Message) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True)
