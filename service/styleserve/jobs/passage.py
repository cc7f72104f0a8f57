"""Passages: how long a picture is outside of the engine, on its way there and from there to the caller.

An estimate grows with the picture. How much longer than that it takes on this machine is learnt from the pictures that
passed lately, the slowest of which counts: who comes a moment after a deadline is late.
"""

import time
from collections import deque
from dataclasses import dataclass

from styleserve.jobs.submission import Output

#: How much longer than estimated a passage may take of which nothing is known lately, and how much longer than the
#: slowest where something is.
_UNKNOWN_MARGIN = 2.0
_KNOWN_MARGIN = 1.25
#: So many count, for so many seconds: where nothing passes, nothing corrects them.
_NUM_RECENT = 8
_RECENT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Passed:
    """A picture that passed `at` a reading of the clock, in `slowness` times as long as estimated."""

    at: float
    num_pixels: int
    slowness: float


class Passage:
    """One way: estimated to take `fixed_s` seconds, and `s_per_megapixel` more for each megapixel of the result.

    `unseen_s` are those beside them that nobody here can measure, as the network takes them.
    """

    def __init__(self, fixed_s: float, s_per_megapixel: float, unseen_s: float = 0.0) -> None:
        self._fixed_s = fixed_s
        self._s_per_megapixel = s_per_megapixel
        self._unseen_s = unseen_s
        self._passed: deque[_Passed] = deque(maxlen=_NUM_RECENT)

    def most_s(self, output: Output) -> float:
        """Seconds that it takes at most; a machine that is quick is not taken at its word.

        Of a picture twice as large as any that passed lately, no less is expected than where nothing is known.
        """
        now = time.monotonic()
        recent = [passed for passed in self._passed if now < passed.at + _RECENT_S]
        is_known = any(2 * passed.num_pixels >= output.height * output.width for passed in recent)
        least = 1.0 if is_known else _UNKNOWN_MARGIN
        slowness = max([least, *(_KNOWN_MARGIN * passed.slowness for passed in recent)])
        return self._unseen_s + slowness * self._estimated_s(output)

    def record(self, output: Output, seconds: float) -> None:
        """A picture took so long, beside what cannot be measured."""
        slowness = seconds / self._estimated_s(output)
        self._passed.append(_Passed(time.monotonic(), output.height * output.width, slowness))

    def _estimated_s(self, output: Output) -> float:
        return self._fixed_s + self._s_per_megapixel * output.height * output.width / 1e6


def way_in() -> Passage:
    """From the queue to the engine: the content is decoded and sent."""
    return Passage(fixed_s=0.02, s_per_megapixel=0.1)


def way_out() -> Passage:
    """From the engine's end to the caller: the picture is sent, finished, encoded, stored, and sent once more."""
    return Passage(fixed_s=0.02, s_per_megapixel=0.8, unseen_s=0.1)
