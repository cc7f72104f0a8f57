"""Who is served next: pure decisions, without threads, clock or network."""

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A job as the scheduler sees it."""

    @property
    def batch_key(self) -> Hashable:
        """Jobs with equal keys can be served together."""
        ...

    @property
    def last_served(self) -> int:
        """Number of the step that served it last; below 0 when none has."""
        ...

    @property
    def num_pixels(self) -> int:
        """Pixels of its canvas."""
        ...


CandidateT = TypeVar("CandidateT", bound=Candidate)

#: The most jobs in a batch.
MAX_BATCH = 8
#: The most pixels in a batch of more than one: what one evaluation of a 1024 x 1024 canvas keeps in memory.
MAX_BATCH_PIXELS = 1024 * 1024


def choose(candidates: Sequence[CandidateT]) -> list[CandidateT]:
    """The job that has waited longest, and others of its key while the batch stays within its bounds.

    Ties go to whoever stands first in `candidates`, so that a batch follows from the jobs alone.
    """
    waiting = sorted(candidates, key=lambda candidate: candidate.last_served)
    longest = waiting[0]
    alike = [candidate for candidate in waiting if candidate.batch_key == longest.batch_key]
    fitting = min(MAX_BATCH, max(1, MAX_BATCH_PIXELS // longest.num_pixels))
    return alike[:fitting]
