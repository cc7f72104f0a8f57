"""Bytes that nobody meant: refused in our own words, without a crash, a hang, or memory that is not given back."""

import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.child import seeds_of
from fuzz.faulty import FAULTY, FAULTY_NUMBER
from fuzz.mutations import make_input
from fuzz.run import NUM_INPUTS, run
from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS


@pytest.fixture(scope="module", params=TARGETS)
def target(request, tmp_path_factory):
    """A target's name, its seeds, and itself."""
    return request.param, seeds_of(request.param), TARGETS[request.param](tmp_path_factory.mktemp("fuzz"))


def test_every_target_has_seeds():
    assert TARGETS.keys() == SEEDS.keys() == NUM_INPUTS.keys()


def test_seeds_are_refused_or_read(target):
    _, seeds, read = target
    for seed in seeds:
        quietly(read, seed)


@given(chance=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_inputs_like_sound_ones_are_refused_or_read(target, chance):
    name, seeds, read = target
    quietly(read, make_input(name, seeds, random.Random(chance)))


@given(data=st.binary(max_size=200))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_inputs_of_all_kinds_are_refused_or_read(target, data):
    _, _, read = target
    quietly(read, data)


def quietly(read, data: bytes) -> None:
    """As in a server, where libraries' warnings go to the log."""
    with warnings.catch_warnings(action="ignore"):
        read(data)


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("raises", "raised LookupError: of the insides"),
        ("crashes", "ended its process with status -6"),
        ("hangs", "took more than 3 s"),
        ("grows", "the memory grew by"),
        ("devours", "raised MemoryError"),
    ],
)
def test_the_runner_notices_what_is_at_fault_and_keeps_the_input(tmp_path, fault, finding):
    assert fault in FAULTY
    outcome = run(fault, FAULTY_NUMBER + 2, tmp_path, limit_s=3.0)
    assert finding in outcome.findings[0]
    assert fault == "grows" or (tmp_path / f"{fault}-{FAULTY_NUMBER}").exists()
    assert outcome.num_inputs == FAULTY_NUMBER + 2


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_inputs_crash_nothing_hang_nothing_and_leave_no_memory(tmp_path):
    outcomes = [run(target, num_inputs, tmp_path) for target, num_inputs in NUM_INPUTS.items()]
    print(*outcomes, sep="\n")
    assert [finding for outcome in outcomes for finding in outcome.findings] == []
    assert sum(outcome.num_inputs for outcome in outcomes) == 100_000
