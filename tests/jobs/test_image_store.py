"""The image store: equal images once, and nothing in the way of forgetting the old ones."""

import os
from pathlib import Path

from styleserve.jobs.image_store import ImageStore


def test_a_file_that_is_moved_to_its_place_meanwhile_does_not_stop_the_forgetting(tmp_path, monkeypatch):
    store = ImageStore(tmp_path)
    old = store.put(b"old")
    os.utime(tmp_path / old, (0, 0))
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / ".moved", folder / old]))
    store.expire(60)
    assert not store.has(old)
