"""What all tests stand on, what the long ones are told on pytest's command line, and where they put their figures."""

import importlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from styleserve.__main__ import set_environment

#: Takes a name, figures, and the same as a table where there is one.
Report = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-s", type=float, default=3600.0, help="seconds that the soak of `make torture` takes")
    parser.addoption("--report-dir", type=Path, default=None, help="folder where long tests put their figures as JSON")


def pytest_configure() -> None:
    """Compute as the service does, before a test's file imports TensorFlow."""
    set_environment()


@pytest.fixture(scope="session", autouse=True)
def heeded_interrupts() -> None:
    """Programs that tests start heed Ctrl-C: what a shell runs in its background ignores it, with all its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """A module of the benchmarks, with a folder of its own; their package sets what is unset of the environment."""
    for name in ("GRPC_VERBOSITY", "TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1])
    monkeypatch.setattr(importlib.import_module("benchmarks.report"), "FOLDER", tmp_path)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Prints figures under their name, and writes them to files where the command line names a folder."""
    folder: Path | None = request.config.getoption("--report-dir")

    def write(name: str, figures: Mapping[str, object], table: str = "") -> None:
        text = json.dumps(figures, indent=2)
        print(name, text, table, sep="\n")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(text + "\n")
            if table:
                (folder / f"{name}.md").write_text(table + "\n")

    return write
