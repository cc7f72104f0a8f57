"""Style targets on disk: written whole or not at all, verified when read."""

import dataclasses
import errno
import logging
import os

import numpy as np
import pytest

from styleserve.model import targets
from styleserve.model.targets import TargetKey, TargetStore, blend

KEY = TargetKey("image", "network", ("one", "two"), True, "float32", 12, 512)


def symmetric(side: int, seed: int = 0) -> np.ndarray:
    half = np.random.default_rng(seed).random((side, side)).astype(np.float32)
    return half + half.T


GRAMS = (symmetric(3), symmetric(8, seed=1))


def test_what_was_written_is_read_by_another_store_of_the_same_folder(tmp_path):
    TargetStore(tmp_path / "targets").write(KEY, GRAMS)
    for read, written in zip(TargetStore(tmp_path / "targets").read(KEY), GRAMS, strict=True):
        np.testing.assert_array_equal(read, written)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TargetKey)])
def test_targets_of_another_image_network_layers_or_size_are_not_these(tmp_path, field):
    store = TargetStore(tmp_path)
    store.write(KEY, GRAMS)
    value = getattr(KEY, field)
    other = {str: "other", int: 99, bool: False, tuple: ("two", "one")}[type(value)]
    assert store.read(dataclasses.replace(KEY, **{field: other})) is None


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:50] + bytes([b[50] ^ 1]) + b[51:]])
def test_a_damaged_file_is_reported_and_ignored(tmp_path, caplog, damage):
    store = TargetStore(tmp_path)
    store.write(KEY, GRAMS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store.read(KEY) is None
    assert file.name in caplog.text
    store.write(KEY, GRAMS)
    assert store.read(KEY) is not None


def test_what_cannot_be_read_is_reported_and_is_not_there(tmp_path, caplog):
    store = TargetStore(tmp_path)
    store.write(KEY, GRAMS)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    assert store.read(KEY) is None
    assert file.name in caplog.text
    assert KEY not in TargetStore(tmp_path / ("far too long a name" * 20))


def test_beyond_its_bound_the_folder_forgets_what_was_not_used_for_longest(tmp_path):
    store = TargetStore(tmp_path)
    keys = [dataclasses.replace(KEY, side=side) for side in range(4)]
    for age, key in enumerate(keys[:3]):
        store.write(key, GRAMS)
        (written,) = (path for path in tmp_path.iterdir() if path.stat().st_mtime > 1000)
        os.utime(written, (age, age))
    half_written = tmp_path / ".left.partial"
    half_written.write_bytes(b"left by a process that was killed")
    os.utime(half_written, (0, 0))
    assert store.read(keys[0]) is not None
    num_bytes = written.stat().st_size
    TargetStore(tmp_path, max_bytes=3 * num_bytes).write(keys[3], GRAMS)
    assert [store.read(key) is not None for key in keys] == [True, False, True, True]
    assert not half_written.exists()


def test_a_full_disk_keeps_no_half_of_a_file(tmp_path, monkeypatch, caplog):
    def fail(here, there):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    TargetStore(tmp_path).write(KEY, GRAMS)
    assert "No space left" in caplog.text
    assert not list(tmp_path.iterdir())


def test_nothing_but_the_targets_is_left_in_the_folder(tmp_path):
    TargetStore(tmp_path).write(KEY, GRAMS)
    TargetStore(tmp_path).write(KEY, GRAMS)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_blend_is_the_weighted_mean_of_each_layer():
    (mixed,) = blend([(np.full((2, 2), 1, np.float32),), (np.full((2, 2), 5, np.float32),)], [0.25, 0.75])
    np.testing.assert_allclose(mixed, 4)


def test_a_disk_that_takes_nothing_is_told_and_does_no_harm(tmp_path, caplog):
    (tmp_path / "targets").write_text("a file in the way")
    TargetStore(tmp_path / "targets").write(KEY, GRAMS)
    assert "cannot be kept" in caplog.text


def test_targets_of_another_method_are_not_read(tmp_path, monkeypatch):
    TargetStore(tmp_path).write(KEY, GRAMS)
    monkeypatch.setattr(targets, "METHOD", targets.METHOD + 1)
    assert TargetStore(tmp_path).read(KEY) is None
