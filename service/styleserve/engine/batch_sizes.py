"""BatchSizes: how large a batch pays, learnt from what steps took; a batch doubles only while a canvas gets cheaper.

Sizes are compared in pairs, each with its double, by steps that follow each other: machines change their pace from
minute to minute, and what was measured then says nothing beside what is measured now. A pair is tried again ever more
seldom.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

#: A batch is doubled when a canvas then costs at most this share: a gain too small to see is not worth others' wait.
WORTHWHILE = 0.97
#: Steps between two trials of a pair, at most.
RARELY = 32
#: Steps of one group at most this far apart count as following each other.
_ADJACENT = 2
#: Share of the newest comparison in what is known; the older ones fade.
_NEWEST = 0.15
#: Groups that are remembered, the ones served last.
MAX_GROUPS = 64


@dataclass(slots=True)
class _Pair:
    """A size against its half, of `count` comparisons, the last at `step`.

    `gain` is the mean logarithm, in which twice as dear and half as dear cancel out, of a canvas's seconds in the half
    over those in the whole.
    """

    gain: float = 0.0
    count: int = 0
    step: int = 0

    @property
    def pays(self) -> bool:
        """Whether the larger one is worth it."""
        return self.gain >= -math.log(WORTHWHILE)

    def learn(self, half_s: float, whole_s: float, step: int) -> None:
        """Take a comparison in; twice the canvases take at least the time, so what is beyond 2 is noise."""
        self.count += 1
        gain = min(max(math.log(half_s / whole_s), -math.log(2)), math.log(2))
        self.gain += (gain - self.gain) * max(1 / self.count, _NEWEST)
        self.step = step

    def is_due(self, step: int) -> bool:
        """Whether to try again: after 2, 4, 8 ... steps."""
        return self.count == 0 or step - self.step >= min(1 << self.count, RARELY)


@dataclass(slots=True)
class _Group:
    """What is known of one group; sizes are ranked by doublings: rank 0 is 1, rank 1 is 2, rank 2 is 3 and 4.

    `seconds` holds the last step of each rank: its number, and seconds a canvas, None after the first one, which
    had kernels to build.
    """

    step: int = 0
    seconds: dict[int, tuple[int, float | None]] = field(default_factory=dict)
    pairs: dict[int, _Pair] = field(default_factory=dict)

    def best_rank(self, highest: int) -> int:
        """The rank up to which doubling pays, as far as is known; now and then a neighbour, to compare it with."""
        rank = 0
        while rank < highest and self._pair(rank + 1).pays:
            rank += 1
        if self._recent(rank, before=self.step + 1) is None:
            return rank
        if rank < highest and self._pair(rank + 1).is_due(self.step):
            return rank + 1
        return rank - 1 if rank > 0 and self._pair(rank).is_due(self.step) else rank

    def record(self, rank: int, seconds: float) -> None:
        """Take note of a step's seconds a canvas and compare it with the steps before."""
        self.step += 1
        is_first = rank not in self.seconds
        self.seconds[rank] = self.step, None if is_first else seconds
        for lower in (rank - 1, rank):
            below, above = self._recent(lower, before=self.step), self._recent(lower + 1, before=self.step)
            if below is not None and above is not None:
                self.pairs.setdefault(lower + 1, _Pair()).learn(below, above, self.step)

    def _recent(self, rank: int, before: int) -> float | None:
        """Seconds a canvas of the rank's last step, if that can be compared with the step numbered `before`."""
        step, seconds = self.seconds.get(rank, (0, None))
        return seconds if seconds and before - step <= _ADJACENT else None

    def _pair(self, rank: int) -> _Pair:
        return self.pairs.get(rank, _Pair())


class BatchSizes:
    """The sizes of batches that pay, a group each: jobs of one shape, form and optimizer.

    A new group begins with what was learnt last of another, at its first comparison: jobs climb to shapes that are new
    but not much unlike those that they come from.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()

    def choose(self, group: Hashable, most: int) -> int:
        """The size of the group's next batch, from 1 to `most`."""
        return min(1 << self._known(group).best_rank(_rank(most)), most)

    def record(self, group: Hashable, size: int, seconds: float) -> None:
        """Take note of what a step of a batch took."""
        known = self._known(group)
        known.record(_rank(size), seconds / size)
        self._groups[group] = known
        self._groups.move_to_end(group)
        while len(self._groups) > MAX_GROUPS:
            self._groups.popitem(last=False)

    def _known(self, group: Hashable) -> _Group:
        if group in self._groups or not self._groups:
            return self._groups.get(group, _Group())
        newest = next(reversed(self._groups.values()))
        return _Group(pairs={rank: _Pair(pair.gain, count=1) for rank, pair in newest.pairs.items()})


def _rank(size: int) -> int:
    """Doublings from 1 to at least `size`."""
    return (size - 1).bit_length()
