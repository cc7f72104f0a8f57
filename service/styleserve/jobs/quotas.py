"""Quotas: holds each caller to what the operator allows it: jobs that wait, jobs that run, bytes a minute."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from styleserve.callers import Caller, Quota
from styleserve.errors import QuotaExceededError

_MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    """Bytes that may be sent at once, as of `time`; a message larger than all of them leaves a debt."""

    num_bytes: float
    time: float


class Quotas:
    """`quota_of` tells what a caller may have now, by name."""

    def __init__(self, quota_of: Callable[[str], Quota], clock: Callable[[], float] = time.monotonic) -> None:
        self._quota_of = quota_of
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def charge(self, caller: Caller, num_bytes: int) -> None:
        """Take note of what a caller sends; raises QuotaExceededError while it has sent too much.

        A caller may send a minute's worth at once, and from then on as much as time passes. What is refused does not
        count.
        """
        limit = caller.quota.max_bytes_per_minute
        if limit is None:
            return
        now, rate = self._clock(), limit / _MINUTE_S
        bucket = self._buckets.get(caller.name) or _Bucket(limit, now)
        available = min(limit, bucket.num_bytes + rate * (now - bucket.time))
        needed = min(num_bytes, limit)
        if available < needed:
            raise QuotaExceededError((needed - available) / rate, caller.name, "bytes per minute", limit)
        self._buckets[caller.name] = _Bucket(available - num_bytes, now)

    def check_waiting(self, caller: str, num_waiting: int, retry_after_s: float) -> None:
        """Raise QuotaExceededError when a caller has as many jobs waiting as it may."""
        limit = self._quota_of(caller).max_waiting
        if limit is not None and num_waiting >= limit:
            raise QuotaExceededError(retry_after_s, caller, "waiting jobs", limit)

    def may_run(self, caller: str, num_running: int) -> bool:
        """Whether one more of a caller's jobs may run."""
        limit = self._quota_of(caller).max_running
        return limit is None or num_running < limit
