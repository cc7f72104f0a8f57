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

    `num_unfinished` had no answer yet when the load ended, `num_retries` were made again at the server's wish.
    """

    latencies_s: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    num_unfinished: int = 0
    num_retries: int = 0

    @property
    def num_calls(self) -> int:
        """All calls that were made."""
        return len(self.latencies_s) + self.reasons.total() + self.num_unfinished


@dataclass(slots=True)
class Tally:
    """All calls of a load by their kinds.

    `seconds` from its beginning to its last call's end. `latest_start_s` is how long after its time a call began at
    most, since this program was busy or the concurrency used up; latencies contain that.
    """

    kinds: dict[str, KindTally]
    seconds: float = 0.0
    latest_start_s: float = 0.0
    was_interrupted: bool = False

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> "Tally":
        """A tally of no calls yet."""
        return cls({kind.name: KindTally() for kind in kinds})

    def note(self, kind: Kind, outcome: Outcome, latency_s: float) -> None:
        """Take note of a call that ended."""
        tally = self.kinds[kind.name]
        tally.num_retries += outcome.num_retries
        if outcome.reason is None:
            tally.latencies_s.append(latency_s - outcome.paused_s)
        else:
            tally.reasons[outcome.reason] += 1

    def note_unfinished(self, kind: Kind) -> None:
        """Take note of a call that the load's end broke off."""
        self.kinds[kind.name].num_unfinished += 1

    def describe(self) -> dict[str, object]:
        """The figures, for JSON; latencies in milliseconds."""
        return {
            "seconds": round(self.seconds, 3),
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
            "retries": tally.num_retries,
            "succeeded_per_s": round(len(tally.latencies_s) / self.seconds, 3) if self.seconds else 0.0,
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
