"""Held: bounds the memory of requests with images inside and of pictures on their way out, which calls hold.

A call holds its request as it came and as it was read, whatever the handler does with it, for as long as it waits; and
its answer until whoever called has received it. Of very many that wait, join one job, or do not read, that would be all
of the memory. Small requests always pass: images that were uploaded are only named in them.
"""

from contextlib import AbstractContextManager

from styleserve.rpc.handlers import Context
from styleserve.rpc.shares import Shares

#: What requests may take together, as they came: a queue and an engine full of what our clients send inside, 3 MB each.
#: Half of it may be one caller's.
MOST_BYTES = 256 * 1024 * 1024
#: What pictures inside of answers may take together.
MOST_RESULT_BYTES = 256 * 1024 * 1024
_SMALL_BYTES = 16 * 1024
_RETRY_S = 5.0


class HeldRequests:
    """The bytes of the requests that are held now."""

    def __init__(self) -> None:
        subject = "bytes in waiting requests (UploadImage first needs none)"
        self._shares = Shares(subject, MOST_BYTES // 2, MOST_BYTES, _RETRY_S)

    def one_more(self, caller: str, num_bytes: int) -> AbstractContextManager[None]:
        """While this lasts the caller's request is held; raises QuotaExceededError when there is no room for it."""
        return self._shares.taken(caller, num_bytes if num_bytes > _SMALL_BYTES else 0)


class HeldResults:
    """The bytes of the pictures that are inside of answers now."""

    def __init__(self) -> None:
        self._num_bytes = 0

    def take(self, num_bytes: int, context: Context) -> bool:
        """Whether there is room for one more, which then is held until the call is over, its answer received."""
        if self._num_bytes + num_bytes > MOST_RESULT_BYTES:
            return False
        self._num_bytes += num_bytes
        # The stubs ask for a class of their own where grpc takes any callable.
        context.add_done_callback(lambda _: self._let_go(num_bytes))  # type: ignore[arg-type]
        return True

    def _let_go(self, num_bytes: int) -> None:
        self._num_bytes -= num_bytes
