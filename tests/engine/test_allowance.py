"""The share of time that writing takes, by a clock that only writes and waits move on."""

import random

import pytest

from styleserve.engine.allowance import SHARE, Allowance


def test_a_job_is_written_down_after_the_interval_and_not_before():
    allowance = Allowance(10.0)
    assert not allowance.is_time(last=100.0, now=109.9)
    assert allowance.is_time(last=100.0, now=110.0)


def test_after_a_write_nobody_writes_until_it_is_one_fiftieth_of_the_time():
    allowance = Allowance(10.0)
    allowance.spend(2.0, now=102.0)
    assert not allowance.is_time(last=0.0, now=102.0 + 97.9)
    assert allowance.is_time(last=0.0, now=102.0 + 98.1)


@pytest.mark.parametrize("num_jobs", [1, 8])
@pytest.mark.parametrize("slowest_s", [0.001, 0.5, 60.0])
def test_whatever_writes_take_they_have_their_share_at_most(num_jobs, slowest_s):
    chance = random.Random(1)
    allowance, now, spent = Allowance(10.0), 0.0, 0.0
    last = [0.0] * num_jobs
    for _ in range(20_000):
        now += chance.uniform(0.0, 2.0)
        job = min(range(num_jobs), key=last.__getitem__)
        if allowance.is_time(last[job], now):
            assert spent <= SHARE * now
            seconds = chance.uniform(0.0, slowest_s)
            now, spent = now + seconds, spent + seconds
            allowance.spend(seconds, now)
            last[job] = now
    assert spent > 0


def test_it_remembers_a_slow_write_for_a_while():
    allowance = Allowance(10.0)
    assert allowance.most_s == 0
    allowance.spend(4.0, now=10.0)
    allowance.spend(1.0, now=1000.0)
    assert 1.0 < allowance.most_s < 4.0
    for now in range(2000, 2050):
        allowance.spend(1.0, now)
    assert allowance.most_s == 1.0
