"""Paging: sizes of pages, in entries and in bytes, and tokens that say where the next one begins."""

import base64
import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import Message

from styleserve.errors import violation

MAX_PAGE = 1000
#: Entries of a page together: clients of gRPC take messages of 4 MiB unless they are told otherwise.
MAX_PAGE_BYTES = 3 * 1024 * 1024

KeyT = TypeVar("KeyT")
MessageT = TypeVar("MessageT", bound=Message)


def page_size(asked: int, default: int) -> int:
    """How many entries a page has: `default` when 0 was asked for, at most `MAX_PAGE`."""
    if asked < 0:
        raise violation("page_size", f"got {asked}; allowed: 0 to {MAX_PAGE}", "OUT_OF_RANGE")
    return min(asked or default, MAX_PAGE)


def fill_page(entries: Iterable[MessageT], size: int) -> list[MessageT]:
    """The first entries: `size` of them, or as many as fit into `MAX_PAGE_BYTES`, but one if there is any."""
    page: list[MessageT] = []
    num_bytes = 0
    for entry in itertools.islice(entries, size):
        num_bytes += entry.ByteSize()
        if page and num_bytes > MAX_PAGE_BYTES:
            break
        page.append(entry)
    return page


def encode_token(last: str) -> str:
    """A token for the page after the entry with the key `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_token(token: str, parse: Callable[[str], KeyT]) -> KeyT | None:
    """The key of the last entry of the page before; None for the first page."""
    if not token:
        return None
    try:
        return parse(base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode())
    except ValueError:
        raise violation("page_token", "got no token of ours; pass next_page_token as it came", "BAD_FORMAT") from None
