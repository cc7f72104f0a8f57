"""Returners: who waited as long as it was told is known, who did not is not, and nobody loses its place in the line."""

from styleserve.jobs import returners
from styleserve.jobs.returners import LATEST_S, Returners
from styleserve.jobs.room import Room

REQUEST = ("editor", "fingerprint")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_comes_back_when_told_has_waited():
    clock = Clock()
    known = Returners(clock)
    assert not known.has_waited(REQUEST)
    clock.now += known.refuse(REQUEST, Room(5.0, 1.0))
    assert known.has_waited(REQUEST)
    assert not known.has_waited(("editor", "another"))
    assert not known.has_waited(("rival", "fingerprint"))


def test_who_comes_too_early_is_told_anew_and_who_comes_too_late_is_a_newcomer():
    clock = Clock()
    known = Returners(clock)
    for _ in range(10):
        known.refuse(REQUEST, Room(5.0, 1.0))
        clock.now += 2.0
        assert not known.has_waited(REQUEST)
    clock.now += 3.0
    assert known.has_waited(REQUEST)
    clock.now += LATEST_S + 3.0
    assert not known.has_waited(REQUEST)


def test_who_got_its_place_is_forgotten():
    clock = Clock()
    known = Returners(clock)
    clock.now += known.refuse(REQUEST, Room(1.0, 1.0))
    known.admit(REQUEST)
    assert not known.has_waited(REQUEST)


def test_all_are_told_their_own_time_and_keep_their_place_in_the_line():
    clock = Clock()
    known = Returners(clock)
    line = [("editor", str(number)) for number in range(5)]
    assert [known.refuse(request, Room(3.0, 2.0)) for request in line] == [3.0, 5.0, 7.0, 9.0, 11.0]
    clock.now += 3.0
    assert known.refuse(line[0], Room(3.0, 2.0)) == 3.0, "the engine was slower than expected"
    known.admit(line[0])
    clock.now += 2.0
    known.admit(line[1])
    assert known.refuse(line[4], Room(3.0, 2.0)) == 7.0
    assert known.refuse(("rival", "new"), Room(3.0, 2.0)) == 9.0


def test_those_who_never_come_back_make_nobody_wait_in_the_long_run():
    clock = Clock()
    known = Returners(clock)
    for number in range(2000):
        known.refuse(("flood", str(number)), Room(1.0, 0.1))
        clock.now += 0.1
    assert known.refuse(REQUEST, Room(1.0, 0.1)) < 2.0


def test_a_flood_is_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(returners, "MAX_REQUESTS", 3)
    known = Returners(Clock())
    for number in range(10):
        known.refuse(("editor", str(number)), Room(0.0, 0.0))
    assert [number for number in range(10) if known.has_waited(("editor", str(number)))] == [7, 8, 9]
