"""A watcher has the catalogue reloaded once when something has changed and is quiet again, whatever becomes of that."""

import asyncio
import shutil
from pathlib import Path

import pytest
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

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


async def test_watching_that_fails_is_tried_again_and_goes_on(tmp_path, monkeypatch, caplog):
    failures = [WatchfilesRustInternalError("Too many open files"), PermissionError("not today")]

    def fail_at_first(*arguments):
        if failures:
            raise failures.pop()
        return RustNotify(*arguments)

    monkeypatch.setattr(watcher, "RustNotify", fail_at_first)
    monkeypatch.setattr(watcher, "_FIRST_PAUSE_S", 0.01)
    reloads = Reloads()
    watching = FolderWatcher([tmp_path], reloads)
    watching.start()
    assert await reloads.done.get() == 1
    assert "not today" in caplog.text
    assert "Too many open files" in caplog.text
    (tmp_path / "later.yaml").write_text("title: Later\n")
    assert await reloads.done.get() == 2
    await watching.stop()


async def test_a_folder_that_goes_and_comes_back_is_noticed_and_others_are_watched_meanwhile(tmp_path, caplog):
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    kept.mkdir()
    reloads = Reloads()
    watching = FolderWatcher([kept, gone], reloads)
    watching.start()
    assert await reloads.done.get() == 1
    (kept / "dots.yaml").write_text("title: Dots\n")
    assert await reloads.done.get() == 2
    gone.mkdir()
    assert await reloads.done.get() == 3
    (gone / "lines.yaml").write_text("title: Lines\n")
    assert await reloads.done.get() == 4
    shutil.rmtree(gone)
    assert await reloads.done.get() == 5
    (kept / "dots.yaml").write_text("title: More dots\n")
    assert await reloads.done.get() == 6
    await watching.stop()
    assert caplog.text == ""


async def test_a_server_without_folders_says_that_there_is_nothing_to_watch(caplog):
    watching = FolderWatcher([], Reloads())
    watching.start()
    await watching.stop()
    assert "--styles" in caplog.text
