"""A watcher has the catalogue reloaded once when something has changed and is quiet again, whatever becomes of that."""

import asyncio
from pathlib import Path

import pytest

from styleserve.catalog import watcher
from styleserve.catalog.watcher import FolderWatcher
from styleserve.errors import CatalogError, StyleProblem


class Reloads:
    """What a watcher calls: it notes each call, and fails when it is told to."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[int] = asyncio.Queue()
        self.count = 0
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        self.done.put_nowait(self.count)
        if self.error is not None:
            raise self.error


@pytest.fixture
async def reloads(tmp_path, monkeypatch):
    """The calls of a watcher of `tmp_path`, which has begun to watch and reloaded once by that."""
    monkeypatch.setattr(watcher, "_QUIET_MS", 1000)
    reloads = Reloads()
    watching = FolderWatcher([tmp_path], reloads)
    watching.start()
    assert await reloads.done.get() == 1
    yield reloads
    await watching.stop()


async def test_a_burst_of_changes_and_files_that_are_half_written_lead_to_one_reload(reloads, tmp_path):
    for text in ("title: [half", "title: Whole\n"):
        for number in range(20):
            (tmp_path / f"burst-{number}.yaml").write_text(text)
    assert await reloads.done.get() == 2
    (tmp_path / "last.yaml").write_text("title: Last\n")
    assert await reloads.done.get() == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            CatalogError([StyleProblem(Path("/srv"), "srv", "dots.yaml", "title: got none")]),
            "dots.yaml: title: got none",
        ),
        (RuntimeError("nobody knows"), "nobody knows"),
    ],
)
async def test_what_goes_wrong_is_logged_and_the_watching_goes_on(reloads, tmp_path, caplog, error, said):
    reloads.error = error
    for number in (2, 3):
        (tmp_path / f"{number}.yaml").write_text("title: [\n")
        assert await reloads.done.get() == number
    assert said in caplog.text


async def test_a_server_without_folders_says_that_there_is_nothing_to_watch(caplog):
    watching = FolderWatcher([], Reloads())
    watching.start()
    await watching.stop()
    assert "--styles" in caplog.text
