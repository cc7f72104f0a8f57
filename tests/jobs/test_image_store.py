"""The image store: equal images once, and nothing in the way of forgetting the old ones."""

import errno
import os
from pathlib import Path

import pytest

from styleserve.errors import StorageError
from styleserve.jobs.image_store import ImageStore


def test_a_file_that_is_moved_to_its_place_meanwhile_does_not_stop_the_forgetting(tmp_path, monkeypatch):
    store = ImageStore(tmp_path)
    old = store.put(b"old")
    os.utime(tmp_path / old, (0, 0))
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / ".moved", folder / old]))
    store.expire(60, 10**9, ())
    assert not store.has(old)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = ImageStore(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        store.put(b"too much")
    assert not list(tmp_path.iterdir())
