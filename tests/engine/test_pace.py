"""How long steps take at most, learnt from those before; each is predicted to take 2 seconds, the first 1 more."""

from dataclasses import dataclass

import pytest

from styleserve.engine.pace import KNOWN_MARGIN, MAX_KINDS, RECENT_STEPS, UNKNOWN_MARGIN, Expectation, Pace


@dataclass(frozen=True)
class Stepped:
    pace_key: str = "a"
    step_s: float = 2.0
    first_s: float = 1.0


ONE = [Stepped()]
EXPECTED = Expectation.of(ONE)


def test_before_any_step_the_prediction_counts_with_a_margin():
    assert Pace().coming(ONE).most_s == pytest.approx(UNKNOWN_MARGIN * 3.0)
    assert Pace().coming(2 * ONE).most_s == pytest.approx(UNKNOWN_MARGIN * 5.0)


def test_a_step_that_was_only_predicted_is_told_with_the_margin_and_one_that_is_known_as_it_was():
    pace = Pace()
    assert pace.likely_s(EXPECTED) == pytest.approx(UNKNOWN_MARGIN * 3.0)
    pace.record(EXPECTED, 3.5)
    assert pace.likely_s(EXPECTED) == 2.5


def test_a_kind_takes_what_the_slowest_of_its_last_steps_took():
    pace = Pace()
    for seconds in (9.0, 2.0, 2.5, 2.0):
        pace.record(EXPECTED, seconds)
    assert pace.coming(ONE).most_s == pytest.approx(KNOWN_MARGIN * 2.5)
    for _ in range(RECENT_STEPS):
        pace.record(EXPECTED, 2.0)
    assert pace.coming(ONE).most_s == pytest.approx(KNOWN_MARGIN * 2.0)


def test_a_surprise_is_expected_again_for_a_while_whatever_comes():
    calm, surprised = Pace(), Pace()
    for seconds in (2.0, 2.0, 5.0, *RECENT_STEPS * [2.0]):
        calm.record(EXPECTED, 2.0)
        surprised.record(EXPECTED, seconds)
    assert 2.0 < surprised.coming(ONE).most_s - calm.coming(ONE).most_s < 5.0 - KNOWN_MARGIN * 2.0
    for _ in range(200):
        surprised.record(EXPECTED, 2.0)
    assert surprised.coming(ONE).most_s == pytest.approx(calm.coming(ONE).most_s, abs=0.02)


@pytest.mark.parametrize(("first_s", "counts_s"), [(9.0, 8.0), (3.0, 2.0), (2.5, 2.0)])
def test_the_first_step_of_a_kind_counts_without_what_it_takes_more_as_long_as_it_is_the_only_one(first_s, counts_s):
    pace = Pace()
    pace.record(EXPECTED, first_s)
    assert pace.coming(ONE).most_s == pytest.approx(KNOWN_MARGIN * counts_s)
    pace.record(EXPECTED, 2.0)
    assert pace.coming(ONE).most_s == pytest.approx(KNOWN_MARGIN * 2.0)


def test_a_slow_machine_is_slow_at_what_is_new_too():
    pace = Pace()
    pace.record(EXPECTED, 60.0)
    assert pace.slowness == 1.0
    for _ in range(3):
        pace.record(EXPECTED, 6.0)
    assert pace.slowness == pytest.approx(3.0)
    assert pace.coming([Stepped("b")]).most_s == pytest.approx(UNKNOWN_MARGIN * 9.0)
    assert pace.coming_other(1.0).most_s == pytest.approx(UNKNOWN_MARGIN * 3.0)


def test_only_so_many_kinds_are_remembered():
    pace = Pace()
    for number in range(MAX_KINDS + 1):
        pace.record(Expectation.of([Stepped(str(number))]), 51.0)
    assert pace.coming([Stepped(str(MAX_KINDS))]).most_s == pytest.approx(KNOWN_MARGIN * 50.0)
    assert pace.coming([Stepped("0")]).most_s == pytest.approx(pace.coming_other(3.0).most_s)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_learnt_counts_for_a_while_only_since_nothing_corrects_it_where_no_step_is_taken():
    clock = Clock()
    pace = Pace(clock)
    for seconds in (2.0, 2.0, 50.0, 50.0):
        clock.now += seconds
        pace.record(EXPECTED, seconds)
    assert pace.coming(ONE).most_s > 100.0
    assert pace.slowness == pytest.approx(25.0)
    clock.now += 4 * 50.0 + 1.0
    assert pace.slowness == 1.0
    assert pace.coming(ONE).most_s == pytest.approx(UNKNOWN_MARGIN * 3.0)


def test_long_steps_that_come_seldom_are_known_all_the_same():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(3):
        clock.now += 100.0
        pace.record(EXPECTED, 100.0)
        clock.now += 100.0
        pace.record(Expectation.of([Stepped("b")]), 100.0)
    assert pace.likely_s(EXPECTED) == 100.0


def test_one_step_that_was_held_up_does_not_make_the_machine_slow():
    pace = Pace()
    for seconds in (2.0, 2.0, 2.0, 2.0, 80.0):
        pace.record(EXPECTED, seconds)
    assert pace.slowness == 1.0


def test_with_luck_a_step_is_not_held_up_again():
    pace = Pace()
    for seconds in (2.0, 2.0, 80.0):
        pace.record(EXPECTED, seconds)
    assert pace.coming(ONE).hoped_s < 2.0 < 80.0 < pace.coming(ONE).most_s
