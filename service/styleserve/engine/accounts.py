"""Accounts: how much of the engine's time each group of jobs has had, so that groups share its time and not its turns.

Fair queueing by virtual time (Demers, Keshav and Shenker 1989): an account grows by what the engine does for its group,
and `now` by an equal share of all that the engine does, which is where an account stands that had its due. Whoever had
least is served next. A newcomer opens its account where `now` stood when the step began during which it came: it owes
nothing and has saved nothing up, so it neither waits for the others' past nor lets them wait for its own; and as `now`
moves on with everything that is done, an endless line of newcomers holds nobody up.
"""

from collections.abc import Hashable, Iterable

#: Groups that had more than their due and went away are remembered up to this many, lest they come back as newcomers.
MAX_AWAY = 64


class Accounts:
    """Seconds of the engine's time, a group each."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._now = 0.0
        self._unshared_s = 0.0

    def gather(self, groups: Iterable[Hashable]) -> None:
        """Take note of who is there, open accounts for newcomers, and close those of who is away and owes nothing."""
        present = set(groups)
        opened = {group: self._seconds.get(group, self._now) for group in present}
        self._now += self._unshared_s / max(1, len(present))
        self._unshared_s = 0.0
        away = {group: at for group, at in self._seconds.items() if group not in present and at > self._now}
        remembered = sorted(away, key=away.__getitem__, reverse=True)[:MAX_AWAY]
        self._seconds = opened | {group: away[group] for group in remembered}

    def of(self, group: Hashable) -> float:
        """What a group has had, or `now` for one that has no account."""
        return self._seconds.get(group, self._now)

    def charge(self, group: Hashable, seconds: float) -> None:
        """Note that the engine worked for a group."""
        self._seconds[group] = self.of(group) + seconds
        self._unshared_s += seconds
