"""Seconds of two machines are never compared, and what painted a picture stays with it."""

import importlib
import json
import math
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def quality(monkeypatch, tmp_path):
    """The module with a folder of its own; its package sets what is unset of the environment."""
    for name in ("GRPC_VERBOSITY", "TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module("benchmarks.quality")
    monkeypatch.setattr(module.report, "FOLDER", tmp_path)
    return module


@pytest.fixture
def painted(quality):
    """A painting of one look, in so many seconds."""

    def of(seconds: float, machine: str = "here"):
        return [quality.Judged(seconds, 10, 1.5, 0.25, 0.5, machine)]

    return of


def rows(quality, of_recipe) -> dict[str, dict[str, object]]:
    header, rows = quality._table(of_recipe)
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_times_are_compared_over_the_pairs_that_one_quiet_machine_has_painted_by_both(quality, painted):
    told = rows(
        quality,
        {
            "classic": [painted(10), painted(10), painted(10)],
            "draft": [painted(2), painted(9, "elsewhere"), painted(math.nan)],
            "fine": [painted(30, "elsewhere"), painted(30, "elsewhere"), painted(math.nan)],
        },
    )
    assert told["draft"]["time / classic"] == pytest.approx(0.2)
    assert told["fine"]["time / classic"] is None
    assert told["classic"]["seconds"] is None


def test_seconds_are_means_over_the_pairs_that_one_machine_has_painted_by_all(quality, painted):
    told = rows(quality, {"classic": [painted(10), painted(10, "elsewhere")], "draft": [painted(2), painted(4)]})
    assert (told["classic"]["seconds"], told["draft"]["seconds"]) == (10, 2)


def test_a_painting_keeps_its_machine_and_one_of_another_leaves_a_file_that_is_not_shared(quality, painted):
    gallery, here = quality.gallery, quality.report.machine_name()
    kept = {"a": painted(2.5, here), "b": painted(math.nan, "elsewhere")}
    text = json.dumps({"paintings": {key: gallery._record(looks) for key, looks in kept.items()}})
    for name in (gallery.SHARED, "apart"):
        (quality.report.FOLDER / f"{name}.json").write_text(text)
    shared = gallery._read(gallery.SHARED)
    assert shared["a"] == kept["a"]
    assert shared["b"][0].machine == "elsewhere"
    assert math.isnan(shared["b"][0].seconds)
    assert gallery._read("apart") == {"a": kept["a"]}
