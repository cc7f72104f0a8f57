"""Points that a benchmark cannot measure again outlive its next run."""

import importlib
import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "weights@sha256:0"


@pytest.fixture
def peers(monkeypatch, tmp_path):
    """The module with a folder of its own; its package sets what is unset of the environment."""
    for name in ("GRPC_VERBOSITY", "TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module("benchmarks.peers")
    monkeypatch.setattr(module.report, "FOLDER", tmp_path)
    return module


def write(peers, *names: str) -> None:
    points = [{"pair": "a b", "peer": name, "seconds": 2.0, "style": 0.5, "content": 0.25} for name in names]
    text = json.dumps({"side": 256, "weights": WEIGHTS, "points": points})
    (peers.report.FOLDER / "peers.json").write_text(text)


def test_a_point_of_another_program_stays_and_those_of_recipes_are_painted_again(peers):
    write(peers, "classic", "schedule", "another program")
    assert peers.points_of_others(256, WEIGHTS) == {"a b": [peers.Point("another program", 2.0, 0.5, 0.25)]}


def test_a_run_that_would_lose_such_a_point_is_refused(peers):
    write(peers, "another program")
    for side, weights in ((512, WEIGHTS), (256, "others")):
        with pytest.raises(SystemExit, match="would overwrite them"):
            peers.points_of_others(side, weights)


def test_without_such_points_anything_may_be_painted(peers):
    assert peers.points_of_others(512, WEIGHTS) == {}
    write(peers, "classic")
    assert peers.points_of_others(512, WEIGHTS) == {}


def test_the_point_that_is_there_is_one_of_them(peers, monkeypatch):
    monkeypatch.setattr(peers.report, "FOLDER", ROOT / "docs" / "benchmarks")
    written = peers.report.read("peers")
    found = peers.points_of_others(written["side"], written["weights"])
    assert sum(map(len, found.values())) == sum(point["peer"] not in peers.PEERS for point in written["points"]) > 0
