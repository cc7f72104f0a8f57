"""The image store: equal images once, and nothing in the way of forgetting the old ones."""

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from styleserve.errors import ImageNotFoundError, StorageError
from styleserve.jobs.image_store import ImageStore, Shelf

DIGEST = hashlib.sha256(b"old").hexdigest()


def test_a_file_that_is_taken_away_meanwhile_does_not_stop_the_forgetting(tmp_path, monkeypatch):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    old = shelf.put(b"old")
    found = [tmp_path / "somebody" / DIGEST.replace("a", "b"), tmp_path / "somebody" / old]
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


def aged(folder: Path, shelf: Shelf, data: bytes, age_s: float) -> str:
    """Keep an image that was used last so long ago."""
    digest, then = shelf.put(data), time.time() - age_s
    os.utime(folder / "somebody" / digest, (then, then))
    return digest


def test_what_is_too_much_goes_from_the_longest_unused_on_until_the_rest_fits(tmp_path):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    *old, newest = [aged(tmp_path, shelf, b"x" * size, age) for size, age in ((3000, 30), (5000, 20), (6000, 10))]
    assert store.expire(86_400, 10_000, ()) == {("somebody", digest) for digest in old}
    assert shelf.has(newest)


def test_what_is_too_much_is_taken_from_whoever_has_the_most_however_old_the_others_images_are(tmp_path):
    store = ImageStore(tmp_path)
    older = [store.shelf("modest").put(b"m" * 1000), store.shelf("modest").put(b"n" * 1000)]
    for digest in older:
        os.utime(tmp_path / "modest" / digest, (time.time() - 60,) * 2)
    many = [aged(tmp_path, store.shelf("somebody"), bytes([number]) * 3000, 30 - number) for number in range(4)]
    assert store.expire(86_400, 8000, ()) == {("somebody", digest) for digest in many[:2]}
    assert all(store.shelf("modest").has(digest) for digest in older)


def test_what_is_on_its_way_is_not_forgotten_however_long_it_takes(tmp_path):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    with shelf.receive() as incoming:
        incoming.write(b"half")
        (half,) = (tmp_path / "somebody").iterdir()
        os.utime(half, (0, 0))
        assert store.expire(1, 0, ()) == set()
        digest = incoming.keep()
    assert shelf.read(digest) == b"half"


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_where_nothing_may_be_written_images_are_read_all_the_same(tmp_path, monkeypatch):
    shelf = ImageStore(tmp_path).shelf("somebody")
    digest = shelf.put(b"old")
    monkeypatch.setattr(os, "utime", read_only)
    assert shelf.read(digest) == b"old"
    assert not shelf.has("0" * 64)


def test_images_that_cannot_be_removed_are_told_once_and_the_others_go(tmp_path, monkeypatch, caplog):
    store = ImageStore(tmp_path)
    shelf = store.shelf("somebody")
    first, second, third = (aged(tmp_path, shelf, data, 100) for data in (b"1", b"2", b"3"))
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, **k: read_only() if path.name != second else unlink(path, **k))
    assert store.expire(60, 10**9, ()) == {("somebody", second)}
    assert shelf.has(first)
    assert shelf.has(third)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["2 images cannot be removed"]


def test_the_folder_of_a_new_caller_is_on_the_disk_before_its_image_is_told(tmp_path, monkeypatch):
    store, synchronised = ImageStore(tmp_path), []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synchronised.append(os.fstat(handle).st_ino), fsync(handle)))
    store.shelf("somebody").put(b"mine")
    assert tmp_path.stat().st_ino in synchronised


def receive(shelf: Shelf, data: bytes) -> None:
    with shelf.receive() as incoming:
        incoming.write(data)
        incoming.keep()
