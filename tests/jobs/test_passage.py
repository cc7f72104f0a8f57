"""How long pictures are on their way: as estimated at first, then as the slowest that passed lately."""

import pytest

from styleserve.jobs import passage
from styleserve.jobs.passage import Passage
from styleserve.jobs.submission import Output

SMALL, LARGE = Output(100, 100), Output(1000, 1000)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(passage, "time", clock)
    return clock


@pytest.fixture
def way() -> Passage:
    """Takes 0.1 s, and 0.3 s more for a megapixel, as estimated; and 0.05 s that cannot be measured."""
    return Passage(0.1, 0.3, 0.05)


def test_before_any_has_passed_twice_the_estimate_counts(clock, way):
    assert way.most_s(LARGE) == pytest.approx(0.05 + 2 * 0.4)


def test_the_slowest_of_the_last_counts_with_a_margin_for_pictures_of_every_size(clock, way):
    for seconds in (0.4, 1.2, 0.8):
        way.record(LARGE, seconds)
    assert way.most_s(LARGE) == pytest.approx(0.05 + 1.25 * 1.2)
    assert way.most_s(SMALL) == pytest.approx(0.05 + 1.25 * 3 * 0.103)
    for _ in range(8):
        way.record(LARGE, 0.4)
    assert way.most_s(LARGE) == pytest.approx(0.05 + 1.25 * 0.4)


def test_how_quickly_small_pictures_pass_says_nothing_of_a_large_one(clock, way):
    way.record(SMALL, 0.05)
    assert way.most_s(SMALL) == pytest.approx(0.05 + 0.103)
    assert way.most_s(LARGE) == pytest.approx(0.05 + 2 * 0.4)
    way.record(SMALL, 0.309)
    assert way.most_s(LARGE) == pytest.approx(0.05 + 1.25 * 3 * 0.4)


def test_a_quick_machine_is_not_taken_at_its_word(clock, way):
    way.record(LARGE, 0.01)
    assert way.most_s(LARGE) == pytest.approx(0.05 + 0.4)


def test_a_slow_moment_is_forgotten_when_nothing_passes_any_more(clock, way):
    way.record(LARGE, 40.0)
    clock.now += 59.0
    assert way.most_s(LARGE) > 40.0
    clock.now += 2.0
    assert way.most_s(LARGE) == pytest.approx(0.05 + 2 * 0.4)
