"""Planning: what of a recipe fits the time there is. Arithmetic only.

A plan that does not fit keeps the recipe's proportions: every scale gets the same share of its iterations, but at least
`LEAST_ITERATIONS`. Where not even these fit, the largest scale is left out and the picture enlarged at the end; so a
picture reaches its full size as soon as it can be worked at there at all. A plan is made anew before every scale, with
what the scales before it have left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from styleserve.recipes import Scale

#: Iterations that make a scale worth climbing to; a recipe may have fewer.
LEAST_ITERATIONS = 5
#: Kept back at the end of a job's time for what a shared machine may do meanwhile: a share, and seconds at most.
_RESERVED_SHARE = 0.03
_MOST_RESERVED_S = 1.0
_BISECTIONS = 30


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds of a scale: those before its first iteration, and those of each."""

    start_s: float
    iteration_s: float

    def of(self, iterations: int) -> float:
        """Seconds of so many iterations."""
        return self.start_s + self.iteration_s * iterations


@dataclass(frozen=True, slots=True)
class Plan:
    """The scales from the next one on, with the iterations that fit.

    `next_iterations` are those that the next scale may use: beyond the planned ones where it is the last, up to the
    recipe's number, so that no time is left over. After `next_s` seconds it gives way to the one that follows, finished
    or not; None when nothing limits it. It `fits` unless even the least of the next scale does not.
    """

    scales: tuple[Scale, ...]
    next_iterations: int
    next_s: float | None
    fits: bool


def fit(scales: Sequence[Scale], prices: Sequence[Price], available_s: float, owed: int = 0) -> Plan:
    """The most of `scales` that can be done in time.

    `owed` are the iterations that the scales before fell short of the recipe: the last scale may have them, so that a
    job that turns out fast uses its time. Always plans something: the first scale, where nothing fits.
    """
    planned = _largest_fitting(scales, prices, available_s)
    fits = _cost_s(planned, prices) <= available_s
    if len(planned) == 1:
        return Plan(planned, scales[0].iterations + owed, None, fits)
    next_s = available_s * _cost_s(planned[:1], prices) / _cost_s(planned, prices)
    return Plan(planned, planned[0].iterations, next_s, fits)


def reserve_s(time_s: float) -> float:
    """Seconds that a job with so many to its deadline leaves unused; its planned end is that much earlier."""
    return min(max(0.0, _RESERVED_SHARE * time_s), _MOST_RESERVED_S)


def with_reserve_s(work_s: float) -> float:
    """Seconds of time that hold so many of work beside what a job leaves unused of them."""
    return work_s + min(_RESERVED_SHARE / (1 - _RESERVED_SHARE) * work_s, _MOST_RESERVED_S)


def whole(scales: Sequence[Scale]) -> Plan:
    """The plan of a job that has all the time it needs."""
    return Plan(tuple(scales), scales[0].iterations, None, fits=True)


def _largest_fitting(scales: Sequence[Scale], prices: Sequence[Price], available_s: float) -> tuple[Scale, ...]:
    for end in range(len(scales), 0, -1):
        if _cost_s(_share(scales[:end], 0.0), prices) <= available_s:
            return _largest_share(scales[:end], prices, available_s)
    return _share(scales[:1], 0.0)


def _largest_share(scales: Sequence[Scale], prices: Sequence[Price], available_s: float) -> tuple[Scale, ...]:
    """All of the scales, with the largest share of their iterations that fits; the least does."""
    if _cost_s(scales, prices) <= available_s:
        return tuple(scales)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _cost_s(_share(scales, middle), prices) <= available_s else (low, middle)
    return _share(scales, low)


def _share(scales: Sequence[Scale], share: float) -> tuple[Scale, ...]:
    return tuple(
        replace(scale, iterations=max(min(LEAST_ITERATIONS, scale.iterations), int(share * scale.iterations)))
        for scale in scales
    )


def _cost_s(scales: Sequence[Scale], prices: Sequence[Price]) -> float:
    return sum(price.of(scale.iterations) for scale, price in zip(scales, prices, strict=False))
