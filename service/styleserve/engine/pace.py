"""Pace: how long the engine's next work takes at most, and how slow the machine is, learnt from what its steps took.

Steps of one kind, the same pace key and number of jobs, are expected to take what the slowest of the last few took. Of
a kind that was not seen yet the prediction is taken, times how slow the machine has been. Where a machine is shared,
steps take longer now and then for no reason of their own: by how much is remembered for a while.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

#: Kinds of steps that are remembered, the ones taken last, and steps of each.
MAX_KINDS = 64
RECENT_STEPS = 4
#: How much longer than expected work may take: of a kind that is known, and of one that is not.
KNOWN_MARGIN = 1.25
UNKNOWN_MARGIN = 1.5
#: Share of the newest step in how slow the machine is.
_NEWEST = 0.25
#: What is left of a surprise after each step.
_MEMORY = 0.97


class Paced(Protocol):
    """A job as its pace is told: predictions in seconds, for a step and for what the first of its scale takes more."""

    @property
    def pace_key(self) -> Hashable:
        """Steps of jobs with equal keys cost the same."""
        ...

    @property
    def step_s(self) -> float:
        """The next step, alone."""
        ...

    @property
    def first_s(self) -> float:
        """What the first step takes more."""
        ...


@dataclass(frozen=True, slots=True)
class Expectation:
    """A step to come: its kind, its predicted seconds, and what it takes more as the first of its kind."""

    kind: Hashable
    step_s: float
    first_s: float

    @classmethod
    def of(cls, batch: Sequence[Paced]) -> Self:
        """The next step of a batch."""
        kind = batch[0].pace_key, len(batch)
        return cls(kind, sum(job.step_s for job in batch), max(job.first_s for job in batch))


class Pace:
    """Learns from steps; `slowness` is their seconds over the predicted ones, 1 before any."""

    def __init__(self) -> None:
        self.slowness = 1.0
        self._num_compared = 0
        self._surprise_s = 0.0
        self._kinds: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._begun: set[Hashable] = set()

    def record(self, expected: Expectation, seconds: float) -> None:
        """Take note of what a step took.

        The first of a kind counts until a second, without what it was predicted to take more than others.
        """
        kind = expected.kind
        if kind in self._kinds:
            self._surprise_s = max(_MEMORY * self._surprise_s, seconds - KNOWN_MARGIN * max(self._kinds[kind]))
            self._compare(seconds, expected.step_s)
            if kind in self._begun:
                self._begun.remove(kind)
                self._kinds[kind].clear()
        else:
            self._begun.add(kind)
            least_s = min(seconds, self.slowness * expected.step_s)
            seconds = max(least_s, seconds - self.slowness * expected.first_s)
        self._kinds.setdefault(kind, deque(maxlen=RECENT_STEPS)).append(seconds)
        self._kinds.move_to_end(kind)
        while len(self._kinds) > MAX_KINDS:
            oldest, _ = self._kinds.popitem(last=False)
            self._begun.discard(oldest)

    def likely_s(self, expected: Expectation) -> float:
        """Seconds that a step is likely to take; of a kind that is not known, with the margin of what is predicted."""
        if recent := self._kinds.get(expected.kind):
            return max(recent)
        return UNKNOWN_MARGIN * self.slowness * (expected.step_s + expected.first_s)

    def most_s(self, batch: Sequence[Paced]) -> float:
        """Seconds that a step of the batch takes at most."""
        expected = Expectation.of(batch)
        margin = KNOWN_MARGIN if expected.kind in self._kinds else 1.0
        return margin * self.likely_s(expected) + self._surprise_s

    def most_other_s(self, predicted_s: float) -> float:
        """Seconds that work takes at most which is predicted and was not done before."""
        return UNKNOWN_MARGIN * self.slowness * predicted_s + self._surprise_s

    def _compare(self, seconds: float, predicted_s: float) -> None:
        self._num_compared += 1
        self.slowness += (seconds / predicted_s - self.slowness) * max(_NEWEST, 1 / self._num_compared)
