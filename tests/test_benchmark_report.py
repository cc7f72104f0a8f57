"""What a benchmark says about the machine that it ran on, also where the system tells little."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CPUINFO = """\
processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 17
model name	: AMD EPYC
stepping	: 1
flags		: fpu avx2 avx512f avx512_bf16

processor	: 1
cpu family	: 26
model name	: another
flags		: fpu
"""


@pytest.fixture(scope="module")
def report():
    """The module by itself: its package sets the environment, which is no business of a test."""
    specification = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_machines_with_another_processor_or_other_cores_have_other_names(report):
    here = report.machine()
    assert report.machine_name() == report.machine_name({**here, "commit": "another", "python": "3.99"})
    for change in ({"processor": "another"}, {"model": -1}, {"cores": 10**6}, {"flags": ["amx_bf16"]}):
        assert report.machine_name({**here, **change}) != report.machine_name()


def test_a_machine_is_named_by_what_little_an_older_file_has(report):
    assert report.machine_name({"processor": "AMD EPYC", "cores": 2}) == "AMD EPYC, 2 cores"


def with_cpuinfo(folder: Path, text: str) -> Path:
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(text)
    return folder


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_processor_is_told_by_name_numbers_and_decisive_flags(report, tmp_path):
    assert report.processor(with_cpuinfo(tmp_path, CPUINFO)) == {
        "processor": "AMD EPYC",
        "family": 25,
        "model": 17,
        "stepping": 1,
        "flags": ["avx2", "avx512f", "avx512_bf16"],
    }


@pytest.mark.parametrize("text", ["", "no colons\n", "processor\t: 0\nCPU part\t: 0xd40\nstepping\t: unknown\n"])
def test_what_a_system_does_not_tell_is_left_out(report, tmp_path, text):
    told = report.processor(with_cpuinfo(tmp_path, text))
    assert set(told) == {"processor", "flags"}
    assert told["flags"] == []


def test_where_there_is_no_cpuinfo_the_processor_has_a_name_still(report, tmp_path):
    assert set(report.processor(tmp_path)) == {"processor"}
    assert report.processor(tmp_path)["processor"]


def test_the_commit_is_that_of_the_tree_and_says_when_code_has_changed(report, tmp_path):
    assert report.commit(tmp_path) is None
    git(tmp_path, "init")
    assert report.commit(tmp_path) is None
    for name in ("docs", "service"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    clean = report.commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "docs" / "file").write_text("results")
    assert report.commit(tmp_path) == clean
    (tmp_path / "service" / "file").write_text("two")
    assert report.commit(tmp_path) == f"{clean}-dirty"


def test_without_git_there_is_no_commit(report, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert report.commit(ROOT) is None


def test_results_carry_the_machine_and_those_of_older_runs_are_read(report, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    report.write("new", {"value": 1})
    machine = report.read("new")["machine"]
    assert {"processor", "cores", "commit", "python"} <= set(machine)
    assert machine["python"] == sys.version.split()[0]
    (tmp_path / "old.json").write_text(json.dumps({"machine": {"processor": "AMD EPYC", "cores": 2}, "value": 2}))
    assert report.read("old")["value"] == 2
