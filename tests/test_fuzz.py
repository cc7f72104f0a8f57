"""Bytes that nobody meant: refused in our own words, without a crash, a hang, or memory that is not given back."""

import dataclasses
import hashlib
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.child import input_of, seeds_of
from fuzz.faulty import FAULTY, FAULTY_NUMBER
from fuzz.mutations import make_input
from fuzz.run import NUM_INPUTS, Outcome, run
from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS, Target


@dataclass(frozen=True)
class Fuzzed:
    """A target with its seeds, which are too long to be shown."""

    name: str
    seeds: Sequence[bytes] = field(repr=False)
    read: Target = field(repr=False)


@pytest.fixture(scope="module", params=TARGETS)
def target(request, tmp_path_factory):
    name = request.param
    return Fuzzed(name, seeds_of(name), TARGETS[name](tmp_path_factory.mktemp("fuzz")))


def test_every_target_has_seeds():
    assert TARGETS.keys() == SEEDS.keys() == NUM_INPUTS.keys()


def test_seeds_are_refused_or_read(target):
    for seed in target.seeds:
        quietly(target.read, seed)


def digest_of_inputs() -> str:
    """Of some inputs of every target, but for databases: which SQLite writes them depends on what else is loaded."""
    digest = hashlib.sha256()
    for name in sorted(TARGETS.keys() - {"databases"}):
        seeds = seeds_of(name)
        for number in range(len(seeds) + 50):
            digest.update(input_of(name, seeds, number))
    return digest.hexdigest()


def test_an_input_is_the_same_in_another_process_and_later():
    command = [sys.executable, "-c", "from test_fuzz import digest_of_inputs; print(digest_of_inputs())"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest_of_inputs()


@given(chance=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_inputs_like_sound_ones_are_refused_or_read(target, chance):
    quietly(target.read, make_input(target.name, target.seeds, random.Random(chance)))


@given(data=st.binary(max_size=200))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_inputs_of_all_kinds_are_refused_or_read(target, data):
    quietly(target.read, data)


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


def table(outcomes: Sequence[Outcome]) -> str:
    """What became of the inputs of each target, in Markdown."""
    lines = ["| reader | inputs | seconds | most memory | growth | findings |", "| --- | --- | --- | --- | --- | --- |"]
    for each in outcomes:
        memory = f"{each.peak_bytes / 1e6:.0f} MB | {each.grown_bytes / 1e6:.1f} MB"
        lines.append(f"| {each.target} | {each.num_inputs} | {each.seconds:.0f} | {memory} | {len(each.findings)} |")
    return "\n".join(lines)


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_inputs_crash_nothing_hang_nothing_and_leave_no_memory(tmp_path, report):
    outcomes = [run(target, num_inputs, tmp_path) for target, num_inputs in NUM_INPUTS.items()]
    report("fuzz", {outcome.target: dataclasses.asdict(outcome) for outcome in outcomes}, table(outcomes))
    assert [finding for outcome in outcomes for finding in outcome.findings] == []
    assert sum(outcome.num_inputs for outcome in outcomes) == 100_000


@pytest.mark.torture
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_go_where_new_lines_are_reached_are_refused_or_read(name, tmp_path):
    pytest.importorskip("atheris", reason="is installed by hand: pip install atheris")
    command = [sys.executable, "-m", "fuzz.with_atheris", name, "3000"]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
