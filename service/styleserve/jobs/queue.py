"""JobQueue: jobs that wait for an engine, in the order in which they will get it; bounded. Pure.

Between callers the engine's time is shared fairly: each has a lane of its own, and the next job is that of the caller
who has had least, counted in predicted seconds (start-time fair queueing; Goyal, Vin and Cheng 1996, section 2, with
equal weights). A caller who comes back after a while begins level with the others: time that was not used is not owed.
Within a lane the highest priority goes first, and waiting counts as priority: who waits `AGEING_S` longer stands one
step higher, so nobody waits for ever.
"""

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from styleserve.jobs.job import Job

#: Seconds of waiting that are worth one step of priority.
AGEING_S = 15.0


@dataclass(slots=True)
class _Lane:
    """One caller's jobs in their own order; in virtual seconds, `had` is where what the caller has had so far ends."""

    jobs: list[Job] = field(default_factory=list)
    had: float = 0.0


class JobQueue:
    """At most `max_jobs` jobs; those that an engine lost come back to the front, beyond the bound if need be.

    `predict_s` says how many seconds of the engine a job will take. Any thread may ask for the length.
    """

    def __init__(self, max_jobs: int, predict_s: Callable[[Job], float]) -> None:
        self.max_jobs = max_jobs
        self._predict_s = predict_s
        self._lanes: dict[str, _Lane] = {}
        self._costs_s: dict[int, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return sum(len(lane.jobs) for lane in list(self._lanes.values()))

    def __contains__(self, job: Job) -> bool:
        return job in self._lane(job).jobs

    def has_place(self, has_waited: bool) -> bool:
        """Whether one more may wait; a quarter of the places is for those who were refused and came back when told."""
        return len(self) < (self.max_jobs if has_waited else self.max_jobs - self.max_jobs // 4)

    def num_of(self, caller: str) -> int:
        """How many jobs of a caller wait."""
        return len(self._lanes[caller].jobs) if caller in self._lanes else 0

    def in_order(self) -> Iterator[Job]:
        """The jobs as they will have their turn, if no other comes."""
        tagged = [turn for lane in self._lanes.values() for turn in self._tagged(lane)]
        tagged.sort(key=lambda turn: (turn[0], _rank(turn[1])))
        return (job for _, job in tagged)

    def push(self, *jobs: Job) -> None:
        """Let jobs wait."""
        for job in jobs:
            self._enter(job)
        self._tell_positions()

    def put_back(self, job: Job) -> None:
        """Let a job wait again whose engine was lost, however far it was; its caller is charged for it in its turn."""
        self._enter(job).had -= self._cost_s(job)
        self._tell_positions()

    def take(self, job: Job) -> None:
        """Take out a job that has its turn; its caller has had that much of the engine."""
        lane = self._lane(job)
        self._now = max(self._now, lane.had)
        lane.had = self._now + self._cost_s(job)
        job.leave_queue()
        self.remove(job)

    def remove(self, job: Job) -> None:
        """Take out a job that waits no more, and forget callers who wait for nothing and are level with others."""
        self._lane(job).jobs.remove(job)
        self._costs_s.pop(job.number, None)
        self._lanes = {name: lane for name, lane in self._lanes.items() if lane.jobs or lane.had > self._now}
        self._tell_positions()

    def _enter(self, job: Job) -> _Lane:
        lane = self._lanes.setdefault(job.submission.caller, _Lane())
        if not lane.jobs:
            lane.had = max(lane.had, self._now)
        bisect.insort(lane.jobs, job, key=_rank)
        return lane

    def _lane(self, job: Job) -> _Lane:
        return self._lanes.get(job.submission.caller, _Lane())

    def _tagged(self, lane: _Lane) -> Iterator[tuple[float, Job]]:
        """Each job of a lane with the virtual second at which its turn begins."""
        begin = max(lane.had, self._now)
        for job in lane.jobs:
            yield begin, job
            begin += self._cost_s(job)

    def _cost_s(self, job: Job) -> float:
        """The prediction, made once; again while there is none, since an engine has to be known for it."""
        cost_s = self._costs_s.get(job.number) or self._predict_s(job)
        self._costs_s[job.number] = cost_s
        return cost_s

    def _tell_positions(self) -> None:
        for position, job in enumerate(self.in_order(), start=1):
            job.wait_at(position)


def _rank(job: Job) -> tuple[float, int]:
    """The place of a job in its lane: waiting and priority grow alike, so that it never changes."""
    return job.status.create_time - AGEING_S * job.submission.priority, job.number
