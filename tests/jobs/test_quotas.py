"""Quotas: bytes a minute as a bucket that fills again, and caps on jobs."""

import pytest

from styleserve.callers import Caller, Quota
from styleserve.errors import QuotaExceededError
from styleserve.jobs.quotas import Quotas


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


CALLER = Caller("editor", frozenset({"stylize"}), Quota(max_waiting=2, max_running=1, max_bytes_per_minute=600))


def made(clock=None):
    return Quotas(lambda name: CALLER.quota if name == "editor" else Quota(), clock or Clock())


def test_a_minutes_worth_may_come_at_once_and_then_as_much_as_time_passes():
    clock = Clock()
    quotas = made(clock)
    quotas.charge(CALLER, 600)
    with pytest.raises(QuotaExceededError) as refused:
        quotas.charge(CALLER, 100)
    assert refused.value.retry_after_s == pytest.approx(10.0)
    clock.now += 10.0
    quotas.charge(CALLER, 100)


def test_what_is_refused_does_not_count():
    clock = Clock()
    quotas = made(clock)
    quotas.charge(CALLER, 600)
    for _ in range(5):
        with pytest.raises(QuotaExceededError):
            quotas.charge(CALLER, 100)
    clock.now += 10.0
    quotas.charge(CALLER, 100)


def test_a_message_larger_than_a_minutes_worth_passes_and_leaves_a_debt():
    clock = Clock()
    quotas = made(clock)
    quotas.charge(CALLER, 1200)
    clock.now += 60.0
    with pytest.raises(QuotaExceededError) as refused:
        quotas.charge(CALLER, 100)
    assert refused.value.retry_after_s == pytest.approx(10.0)


def test_callers_are_counted_apart_and_those_without_a_bound_not_at_all():
    quotas = made()
    quotas.charge(CALLER, 600)
    quotas.charge(Caller("other", frozenset(), Quota(max_bytes_per_minute=600)), 600)
    for _ in range(10):
        quotas.charge(Caller("free", frozenset()), 10**9)


def test_jobs_that_wait_and_run_are_capped():
    quotas = made()
    quotas.check_waiting("editor", 1, 7.0)
    with pytest.raises(QuotaExceededError, match="'editor' may have 2 waiting jobs"):
        quotas.check_waiting("editor", 2, 7.0)
    quotas.check_waiting("free", 1000, 7.0)
    assert quotas.may_run("editor", 0)
    assert not quotas.may_run("editor", 1)
    assert quotas.may_run("free", 1000)
