"""Who is served next: decisions without threads, clock or network, from what the engine says that its steps took.

Jobs that can be served together are a group. Groups share the engine's time equally (`accounts`); of the group whose
turn it is, the jobs that have waited longest are served, as many as pay (`batch_sizes`) and as memory allows.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

from styleserve.engine.accounts import Accounts
from styleserve.engine.batch_sizes import BatchSizes


class Candidate(Protocol):
    """A job as the scheduler sees it."""

    @property
    def batch_key(self) -> Hashable:
        """Jobs with equal keys can be served together: they are a group."""
        ...

    @property
    def last_served(self) -> int:
        """Number of the step that served it last, or after which it came."""
        ...

    @property
    def num_pixels(self) -> int:
        """Pixels of its canvas."""
        ...

    @property
    def is_in_pieces(self) -> bool:
        """Whether the next step does a piece of its work, which is never batched."""
        ...


CandidateT = TypeVar("CandidateT", bound=Candidate)

#: The most jobs in a batch.
MAX_BATCH = 32
#: The most pixels in a batch of more than one: what one evaluation of a 1024 x 1024 canvas keeps in memory.
MAX_BATCH_PIXELS = 1024 * 1024


class Scheduler:
    """Chooses batches of at most `max_batch` jobs."""

    def __init__(self, max_batch: int = MAX_BATCH) -> None:
        self._max_batch = max_batch
        self._accounts = Accounts()
        self._sizes = BatchSizes()

    def gather(self, candidates: Iterable[Candidate]) -> None:
        """Take note of all who are there, before a choice."""
        self._accounts.gather(candidate.batch_key for candidate in candidates)

    def choose(self, candidates: Sequence[CandidateT]) -> list[CandidateT]:
        """The next batch of these; the same again until `record` or `charge` is told something.

        Between groups that have had the same, the job that has waited longest decides; then whoever stands first in
        `candidates`, so that a batch follows from the jobs and the measured seconds alone.
        """
        waiting = sorted(candidates, key=lambda candidate: candidate.last_served)
        first = min(waiting, key=lambda candidate: self._accounts.of(candidate.batch_key))
        alike = [candidate for candidate in waiting if candidate.batch_key == first.batch_key]
        most = 1 if first.is_in_pieces else max(1, MAX_BATCH_PIXELS // first.num_pixels)
        return alike[: self._sizes.choose(first.batch_key, min(len(alike), self._max_batch, most))]

    def lead_s(self, candidate: Candidate, over: Candidate) -> float:
        """How many seconds more the group of one has had than that of the other."""
        return self._accounts.of(candidate.batch_key) - self._accounts.of(over.batch_key)

    def record(self, group: Hashable, size: int, seconds: float) -> None:
        """Take note of what a step of a batch took."""
        self._sizes.record(group, size, seconds)
        self._accounts.charge(group, seconds)

    def charge(self, group: Hashable, seconds: float) -> None:
        """Take note of other work for a group: the beginning of its jobs."""
        self._accounts.charge(group, seconds)
