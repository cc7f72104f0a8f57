"""Paging: sizes of pages, and tokens that say where the next one begins."""

import base64
from collections.abc import Callable
from typing import TypeVar

from styleserve.errors import violation

MAX_PAGE = 1000

KeyT = TypeVar("KeyT")


def page_size(asked: int, default: int) -> int:
    """How many entries a page has: `default` when 0 was asked for, at most `MAX_PAGE`."""
    if asked < 0:
        raise violation("page_size", f"got {asked}; allowed: 0 to {MAX_PAGE}", "OUT_OF_RANGE")
    return min(asked or default, MAX_PAGE)


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
