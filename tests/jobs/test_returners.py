"""Returners: who waited as long as it was told is known, and who did not is not."""

from styleserve.jobs import returners
from styleserve.jobs.returners import LATEST_S, Returners

REQUEST = ("editor", "fingerprint")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_comes_back_when_told_has_waited():
    clock = Clock()
    known = Returners(clock)
    assert not known.has_waited(REQUEST)
    known.refuse(REQUEST, 5.0)
    clock.now += 5.0
    assert known.has_waited(REQUEST)
    assert not known.has_waited(("editor", "another"))
    assert not known.has_waited(("rival", "fingerprint"))


def test_who_comes_too_early_is_told_anew_and_who_comes_too_late_is_a_newcomer():
    clock = Clock()
    known = Returners(clock)
    for _ in range(10):
        known.refuse(REQUEST, 5.0)
        clock.now += 2.0
        assert not known.has_waited(REQUEST)
    clock.now += 3.0
    assert known.has_waited(REQUEST)
    clock.now += LATEST_S + 1
    assert not known.has_waited(REQUEST)


def test_who_got_its_place_is_forgotten():
    clock = Clock()
    known = Returners(clock)
    known.refuse(REQUEST, 0.0)
    known.admit(REQUEST)
    assert not known.has_waited(REQUEST)


def test_a_flood_is_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(returners, "MAX_REQUESTS", 3)
    known = Returners(Clock())
    for number in range(10):
        known.refuse(("editor", str(number)), 0.0)
    assert [number for number in range(10) if known.has_waited(("editor", str(number)))] == [7, 8, 9]
