"""Allowance: when the engine may spend time on checkpoints. Arithmetic only.

Whoever writes for d seconds keeps from writing for (1 / SHARE - 1) d seconds after, whichever job comes next. So at the
end of every such rest, at most `SHARE` of all the time since the first write has gone to writing, and however large the
canvases and slow the disk, jobs are only written down less often.
"""

import math

#: The most of the engine's time that writing may take.
SHARE = 0.01
#: What is left of a slow write after each later one.
_MEMORY = 0.9


class Allowance:
    """Is told how long writes took, and says when the next may be.

    A job is written down `interval_s` seconds after its last time at the earliest. `most_s` is how long the next write
    may take, 0 before any: as long as the slowest of late.
    """

    def __init__(self, interval_s: float) -> None:
        self.most_s = 0.0
        self._interval_s = interval_s
        self._rests_until = -math.inf

    def is_time(self, last: float, now: float) -> bool:
        """Whether at the time `now` a job may be written down that was so at `last`."""
        return now >= last + self._interval_s and now >= self._rests_until

    def spend(self, seconds: float, now: float) -> None:
        """Take note of a write that ended at the time `now`."""
        self.most_s = max(_MEMORY * self.most_s, seconds)
        self._rests_until = now + (1 / SHARE - 1) * seconds
