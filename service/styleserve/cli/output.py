"""What commands print: tables for people, one line of JSON for programs."""

import json
from collections.abc import Iterable, Sequence

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


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; in a pipe, plain columns without a frame."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
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


def _to_dict(message: Message) -> dict[str, object]:
    return MessageToDict(message, preserving_proto_field_name=True)
