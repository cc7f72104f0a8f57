"""HeldRequests: bounds the memory of requests with images inside, which calls hold for as long as they wait.

A call holds its request as it came and as it was read, whatever the handler does with it; of very many that wait, or
join one job, that would be all of the memory. Small ones always pass: images that were uploaded are only named in them.
"""

import contextlib
from collections.abc import Iterator

from styleserve.errors import QuotaExceededError

#: What requests may take together, as they came: a queue and an engine full of what our clients send inside, 3 MB each.
MOST_BYTES = 256 * 1024 * 1024
_SMALL_BYTES = 16 * 1024
_RETRY_S = 5.0


class HeldRequests:
    """The bytes of the requests that are held now."""

    def __init__(self) -> None:
        self._num_bytes = 0

    @contextlib.contextmanager
    def one_more(self, caller: str, num_bytes: int) -> Iterator[None]:
        """While this lasts the caller's request is held; raises QuotaExceededError when there is no room for it."""
        counted = num_bytes if num_bytes > _SMALL_BYTES else 0
        if counted and self._num_bytes + counted > MOST_BYTES:
            subject = "bytes in waiting requests with all other callers (UploadImage first needs none)"
            raise QuotaExceededError(_RETRY_S, caller, subject, MOST_BYTES)
        self._num_bytes += counted
        try:
            yield
        finally:
            self._num_bytes -= counted
