"""Tally: what came of the calls, kind by kind, as counts, percentiles and reasons."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from styleserve.cli.load.calls import Outcome
from styleserve.cli.load.mix import Kind

#: What is told of latencies, in per cent of the calls that went well.
PERCENTILES: Mapping[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


@dataclass(slots=True)
class KindTally:
    """The calls of one kind: seconds that those took that went well, reasons of those that did not.

    `num_unfinished` had no answer yet when the load ended, `num_never_begun` were due and found no place among those
    under way, `num_retries` were made again at the server's wish.
    """

    latencies_s: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    num_unfinished: int = 0
    num_never_begun: int = 0
    num_retries: int = 0

    @property
    def num_calls(self) -> int:
        """All calls that were made."""
        return len(self.latencies_s) + self.reasons.total() + self.num_unfinished


@dataclass(slots=True)
class Tally:
    """All calls of a load by their kinds.

    `seconds` from its beginning to its last call's end; `measured_s` to the end of the duration or, if that is later,
    of the last call that went well. `has_faults` when this program failed at a call. `latest_start_s` is how long after
    its time a call began at most, since this program was busy or the concurrency used up; latencies contain that.
    """

    kinds: dict[str, KindTally]
    seconds: float = 0.0
    measured_s: float = 0.0
    has_faults: bool = False
    latest_start_s: float = 0.0
    was_interrupted: bool = False

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> "Tally":
        """A tally of no calls yet."""
        return cls({kind.name: KindTally() for kind in kinds})

    def note(self, kind: Kind, outcome: Outcome, latency_s: float, ended_s: float) -> None:
        """Take note of a call that ended, so many seconds after the load's beginning."""
        tally = self.kinds[kind.name]
        tally.num_retries += outcome.num_retries
        if outcome.reason is None:
            tally.latencies_s.append(latency_s - outcome.paused_s)
            self.measured_s = max(self.measured_s, ended_s)
        else:
            self.has_faults = self.has_faults or outcome.is_fault
            tally.reasons[outcome.reason] += 1

    def note_broken_off(self, kind: Kind, has_begun: bool) -> None:
        """Take note of a call that the load's end broke off, or kept from beginning."""
        if has_begun:
            self.kinds[kind.name].num_unfinished += 1
        else:
            self.kinds[kind.name].num_never_begun += 1

    def succeeded_per_s(self, tally: KindTally) -> float:
        """Calls of a kind that went well, a second; waiting for the others slows them down by nothing."""
        return len(tally.latencies_s) / self.measured_s if self.measured_s else 0.0

    def describe(self) -> dict[str, object]:
        """The figures, for JSON; latencies in milliseconds."""
        return {
            "seconds": round(self.seconds, 3),
            "measured_seconds": round(self.measured_s, 3),
            "was_interrupted": self.was_interrupted,
            "latest_start_ms": round(1000 * self.latest_start_s, 3),
            "kinds": {name: self._describe(tally) for name, tally in self.kinds.items()},
            "errors": [
                {"kind": name, "reason": reason, "calls": calls}
                for name, tally in self.kinds.items()
                for reason, calls in tally.reasons.most_common()
            ],
        }

    def _describe(self, tally: KindTally) -> dict[str, object]:
        return {
            "calls": tally.num_calls,
            "succeeded": len(tally.latencies_s),
            "failed": tally.reasons.total(),
            "unfinished": tally.num_unfinished,
            "never_begun": tally.num_never_begun,
            "retries": tally.num_retries,
            "succeeded_per_s": round(self.succeeded_per_s(tally), 3),
            "latency_ms": {
                name: None if latency_s is None else round(1000 * latency_s, 3)
                for name, latency_s in percentiles(tally.latencies_s).items()
            },
        }


def percentiles(latencies_s: Sequence[float]) -> dict[str, float | None]:
    """The latencies that the given shares of calls did not exceed, by nearest rank; None of no calls."""
    ordered = sorted(latencies_s)
    return {
        name: ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None
        for name, percent in PERCENTILES.items()
    }
