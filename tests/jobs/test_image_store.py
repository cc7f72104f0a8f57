"""The image store: equal images once, and nothing in the way of forgetting the old ones."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from styleserve.errors import ImageNotFoundError, StorageError
from styleserve.jobs.image_store import ImageStore, Shelf

DIGEST = hashlib.sha256(b"old").hexdigest()


def test_a_file_that_is_moved_to_its_place_meanwhile_does_not_stop_the_forgetting(tmp_path, monkeypatch):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    old = shelf.put(b"old")
    found = [tmp_path / "somebody" / ".moved", tmp_path / "somebody" / old]
    os.utime(found[1], (0, 0))
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter(found))
    store.expire(60, 10**9, ())
    assert not shelf.has(old)


def test_an_image_is_on_the_shelf_of_who_brought_it_and_on_no_other(tmp_path):
    store = ImageStore(tmp_path)
    digest = store.shelf("one").put(b"mine")
    assert not store.shelf("other").has(digest)
    with pytest.raises(ImageNotFoundError):
        store.shelf("other").path(f"images/{digest}")


def test_what_is_kept_for_one_caller_is_forgotten_for_another(tmp_path):
    store = ImageStore(tmp_path)
    digest = store.shelf("one").put(b"both have it")
    store.shelf("other").put(b"both have it")
    assert store.expire(10**6, 0, {("one", digest)}) == {("other", digest)}
    assert store.shelf("one").has(digest)
    assert not store.shelf("other").has(digest)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = ImageStore(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        store.shelf("somebody").put(b"too much")
    assert not list(tmp_path.glob("*/*"))


def test_what_came_in_part_is_forgotten_and_whole_images_stay(tmp_path):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    whole = shelf.put(b"whole")
    with shelf.receive() as incoming:
        incoming.write(b"half")
        store.forget_incoming()
        assert [path.name for path in (tmp_path / "somebody").iterdir()] == [whole]


@pytest.mark.parametrize("use", [lambda shelf: shelf.has(DIGEST), lambda shelf: receive(shelf, b"old")])
def test_an_image_that_is_used_while_old_ones_are_forgotten_stays(tmp_path, monkeypatch, use):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    shelf.put(b"old")
    os.utime(tmp_path / "somebody" / DIGEST, (0, 0))
    look = ImageStore._files

    def look_and_use(self):
        found = list(look(self))
        use(shelf)
        return iter(found)

    monkeypatch.setattr(ImageStore, "_files", look_and_use)
    assert store.expire(60, 10**9, ()) == set()
    assert shelf.read(DIGEST) == b"old"


def receive(shelf: Shelf, data: bytes) -> None:
    with shelf.receive() as incoming:
        incoming.write(data)
        incoming.keep()
