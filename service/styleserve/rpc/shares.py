"""Shares: bounds what callers have at once, each of them and all together, so that none takes what is there for all."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from styleserve.errors import QuotaExceededError


class Shares:
    """How much of `subject` callers have now; who is refused may come back after `retry_s` seconds."""

    def __init__(self, subject: str, most_of_caller: int, most_of_all: int, retry_s: float) -> None:
        self._subject = subject
        self._most_of_caller = most_of_caller
        self._most_of_all = most_of_all
        self._retry_s = retry_s
        self._by_caller: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self, caller: str, amount: int = 1) -> Iterator[None]:
        """While this lasts the caller has so much more; raises QuotaExceededError when that is too much."""
        if self._by_caller[caller] + amount > self._most_of_caller:
            raise QuotaExceededError(self._retry_s, caller, self._subject, self._most_of_caller)
        if self._by_caller.total() + amount > self._most_of_all:
            raise QuotaExceededError(self._retry_s, None, self._subject, self._most_of_all)
        self._by_caller[caller] += amount
        try:
            yield
        finally:
            self._by_caller -= Counter({caller: amount})  # which forgets a caller that has none left
