"""Pace: how long the engine's next work takes at most, and how slow the machine is, learnt from what its steps took.

Steps of one kind, the same pace key and number of jobs, are expected to take what the slowest of the last few took. Of
a kind that was not seen yet the prediction is taken, times how slow the machine has been. Where a machine is shared,
steps take longer now and then for no reason of their own: by how much is remembered for a while. All of it is
forgotten after a while in which nothing corrected it.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, Self

#: Kinds of steps that are remembered, the ones taken last, and steps of each.
MAX_KINDS = 64
RECENT_STEPS = 4
#: How much longer than expected work may take: of a kind that is known, and of one that is not.
KNOWN_MARGIN = 1.25
UNKNOWN_MARGIN = 1.5
#: Steps by whose median the machine is as slow as it is: one that was held up for long says nothing of those to come.
_COMPARED_STEPS = 7
#: What is left of a surprise after each step.
_MEMORY = 0.97
#: What was learnt counts for so many seconds: where no step is taken, none corrects it.
LASTS_S = 60.0
#: And of a kind, for as long as so many of its steps take.
_LASTING_STEPS = 4
#: What a step that is known may take of what it took, with luck.
_LUCK = KNOWN_MARGIN / UNKNOWN_MARGIN


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


@dataclass(frozen=True, slots=True)
class Coming:
    """Seconds of what comes next: at most, and with luck, if nothing holds it up."""

    most_s: float
    hoped_s: float


@dataclass(slots=True)
class _Kind:
    """The last few steps of a kind, when the last ended, and whether it was the first: that counts until a second."""

    recent_s: deque[float]
    ended: float
    has_first_alone: bool = True

    def counts(self, now: float) -> bool:
        """Whether the last step is not too long ago; long ones come seldom."""
        return now - self.ended <= max(LASTS_S, _LASTING_STEPS * max(self.recent_s))


class Pace:
    """Learns from steps; `clock` reads seconds as `time.monotonic` does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._slownesses: deque[float] = deque(maxlen=_COMPARED_STEPS)
        self._compared = -math.inf
        self._surprise_s = 0.0
        self._surprised = -math.inf

    @property
    def slowness(self) -> float:
        """Seconds of steps over the predicted ones, 1 before any."""
        return median(self._slownesses) if self._clock() - self._compared <= LASTS_S else 1.0

    def record(self, expected: Expectation, seconds: float) -> None:
        """Take note of what the step took that ends now.

        The first of a kind counts until a second, without what it was predicted to take more than others.
        """
        now = self._clock()
        kind = self._known(expected.kind, now - seconds)
        if kind is None:
            least_s = min(seconds, self.slowness * expected.step_s)
            first_s = max(least_s, seconds - self.slowness * expected.first_s)
            self._kinds[expected.kind] = _Kind(deque([first_s], maxlen=RECENT_STEPS), now)
        else:
            self._compare(seconds, expected.step_s, now)
            self._be_surprised(seconds - KNOWN_MARGIN * max(kind.recent_s), now)
            if kind.has_first_alone:
                kind.recent_s.clear()
            kind.recent_s.append(seconds)
            kind.ended, kind.has_first_alone = now, False
        self._kinds.move_to_end(expected.kind)
        while len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)

    def likely_s(self, expected: Expectation) -> float:
        """Seconds that a step is likely to take; of a kind that is not known, with the margin of what is predicted."""
        kind = self._known(expected.kind, self._clock())
        return self._predicted(expected).most_s if kind is None else max(kind.recent_s)

    def coming(self, batch: Sequence[Paced]) -> Coming:
        """The next step of the batch."""
        expected = Expectation.of(batch)
        kind = self._known(expected.kind, self._clock())
        if kind is None:
            return self._surprising(self._predicted(expected))
        return self._surprising(Coming(KNOWN_MARGIN * max(kind.recent_s), _LUCK * min(kind.recent_s)))

    def coming_other(self, predicted_s: float) -> Coming:
        """Work that is predicted and was not done before."""
        return self._surprising(self._predicted(Expectation(None, predicted_s, first_s=0.0)))

    def _known(self, kind: Hashable, now: float) -> _Kind | None:
        found = self._kinds.get(kind)
        return found if found is not None and found.counts(now) else None

    def _predicted(self, expected: Expectation) -> Coming:
        seconds = self.slowness * (expected.step_s + expected.first_s)
        return Coming(UNKNOWN_MARGIN * seconds, seconds)

    def _surprising(self, calm: Coming) -> Coming:
        """The same, if there is a surprise as there was one of late."""
        return Coming(calm.most_s + self._surprise_at(self._clock()), calm.hoped_s)

    def _surprise_at(self, now: float) -> float:
        return self._surprise_s if now - self._surprised <= LASTS_S else 0.0

    def _be_surprised(self, surprise_s: float, now: float) -> None:
        remembered_s = _MEMORY * self._surprise_at(now)
        if surprise_s > remembered_s:
            self._surprised = now
        self._surprise_s = max(remembered_s, surprise_s)

    def _compare(self, seconds: float, predicted_s: float, now: float) -> None:
        if now - seconds - self._compared > LASTS_S:
            self._slownesses.clear()
        self._slownesses.append(seconds / predicted_s)
        self._compared = now
