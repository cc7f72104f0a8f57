"""Allowance: when the engine may spend time on checkpoints. Arithmetic only.

After d seconds for one checkpoint there is none for (1 / SHARE - 1) d seconds, whichever job comes next. So at the end
of every such rest, at most `SHARE` of all the time since the first one began, that one included, has gone to them, and
however large the canvases, jobs are only written down less often.
"""

import math

#: The most of the engine's time that checkpoints may take.
SHARE = 0.02
#: What is left of a slow one after each later one.
_MEMORY = 0.9


class Allowance:
    """Is told how long the engine waited for checkpoints, and says when the next may be.

    A job is written down `interval_s` seconds after its last time at the earliest. `most_s` is how long the next may
    take, 0 before any: as long as the slowest of late.
    """

    def __init__(self, interval_s: float) -> None:
        self.most_s = 0.0
        self._interval_s = interval_s
        self._rests_until = -math.inf

    def is_time(self, last: float, now: float) -> bool:
        """Whether at the time `now` a job may be written down that was so at `last`."""
        return now >= last + self._interval_s and now >= self._rests_until

    def spend(self, seconds: float, now: float) -> None:
        """Take note of a checkpoint that the engine waited for until the time `now`."""
        self.most_s = max(_MEMORY * self.most_s, seconds)
        self._rests_until = now + (1 / SHARE - 1) * seconds
