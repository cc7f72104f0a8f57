"""Checkpoints in their folder: whole or not at all, and whatever was damaged is told and not used."""

import contextlib
import dataclasses
import logging
import random
import resource

import numpy as np
import pytest

from styleserve.engine.checkpoints import Checkpoint, CheckpointFolder, Checkpoints
from styleserve.evaluation import Losses
from styleserve.optimizers import Snapshot
from styleserve.recipes import Scale
from support.damage import CANVAS, DAMAGES, mutated, rewrite

CHECKPOINT = Checkpoint(
    identity="ab12",
    scales=(Scale(2, 3, 7), Scale(4, 5, 9)),
    scale_index=1,
    iterations=9,
    earlier_evaluations=8,
    network_passes=13,
    elapsed_s=12.5,
    scale_elapsed_s=2.25,
    engine_s=11.0,
    losses=Losses(1.5e12, 1e12, 5e11, 0.0),
    snapshot=Snapshot({"canvas": CANVAS, "first_moment": -CANVAS}, {"moves": 3, "first_move": 0.02}),
)


def is_same(one: Checkpoint, other: Checkpoint) -> bool:
    bare = [dataclasses.replace(each, snapshot=Snapshot({}, each.snapshot.numbers)) for each in (one, other)]
    arrays = [{name: array.tobytes() for name, array in each.snapshot.arrays.items()} for each in (one, other)]
    return bare[0] == bare[1] and arrays[0] == arrays[1]


@pytest.fixture
def folder(tmp_path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "kept")


@pytest.fixture
def checkpoints(folder) -> Checkpoints:
    return Checkpoints(folder, "network float32")


def test_what_was_written_is_read_by_another(tmp_path, checkpoints, folder):
    assert checkpoints.read("job-1") is None
    checkpoints.write("job-1", dataclasses.replace(CHECKPOINT, network_passes=1))
    checkpoints.write("job-1", CHECKPOINT)
    read = Checkpoints(folder, "network float32").read("job-1")
    assert is_same(read, CHECKPOINT)
    assert read.scale == Scale(4, 5, 9)
    assert all(array.flags.writeable for array in read.snapshot.arrays.values())
    assert checkpoints.read("job-2") is None


def test_a_file_is_one_of_numpys(tmp_path, checkpoints):
    checkpoints.write("job-1", CHECKPOINT)
    with np.load(tmp_path / "kept" / "job-1.npz") as file:
        np.testing.assert_array_equal(file["canvas"], CANVAS)


def test_the_folder_is_its_owners_and_holds_nothing_but_whole_files(tmp_path, checkpoints):
    checkpoints.write("job-1", CHECKPOINT)
    checkpoints.write("job-1", CHECKPOINT)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["job-1.npz"]
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_told_once_and_not_used(tmp_path, checkpoints, caplog, damage):
    checkpoints.write("job-1", CHECKPOINT)
    path = tmp_path / "kept" / "job-1.npz"
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoints.read("job-1") is None
    (record,) = caplog.records
    assert record.getMessage().startswith("job-1: its checkpoint cannot be used: ")
    assert len(record.getMessage()) < 300


def test_the_file_that_the_damages_are_made_of_is_sound(tmp_path, checkpoints):
    checkpoints.write("job-1", CHECKPOINT)
    path = tmp_path / "kept" / "job-1.npz"
    path.write_bytes(rewrite(path.read_bytes()))
    assert is_same(checkpoints.read("job-1"), CHECKPOINT)


def test_no_mutation_is_taken_for_another_checkpoint(tmp_path, checkpoints):
    checkpoints.write("job-1", CHECKPOINT)
    path = tmp_path / "kept" / "job-1.npz"
    whole, chance, num_refused = path.read_bytes(), random.Random(3), 0
    for _ in range(600):
        path.write_bytes(mutated(whole, chance))
        read = checkpoints.read("job-1")
        assert read is None or is_same(read, CHECKPOINT)
        num_refused += read is None
    assert num_refused > 400


def test_what_another_network_made_is_not_used(tmp_path, checkpoints, caplog, folder):
    checkpoints.write("job-1", CHECKPOINT)
    assert Checkpoints(folder, "network bfloat16").read("job-1") is None
    assert "network" in caplog.text


def test_a_folder_in_its_place_is_no_checkpoint(tmp_path, checkpoints, folder):
    (tmp_path / "kept" / "job-1.npz").mkdir(parents=True)
    assert checkpoints.read("job-1") is None
    folder.remove("job-1")


def test_what_is_removed_is_gone_and_may_have_been_before(checkpoints, folder):
    folder.remove("job-1")
    checkpoints.write("job-1", CHECKPOINT)
    checkpoints.write("job-2", CHECKPOINT)
    folder.remove("job-1")
    folder.remove("job-1")
    assert checkpoints.read("job-1") is None
    assert checkpoints.read("job-2") is not None


def test_what_a_dead_engine_had_written_in_part_goes_with_its_job_and_no_other(tmp_path, checkpoints, folder):
    def die(*_) -> None:
        raise KeyboardInterrupt

    for job_id in ("job-1", "job-10"):
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(job_id, CHECKPOINT, die)
    folder.remove("job-1")
    (left,) = (tmp_path / "kept").iterdir()
    assert left.name.startswith("job-10.")


def test_two_engines_never_write_into_one_file(checkpoints, folder):
    def written_where(writer: Checkpoints) -> str:
        places = []
        writer.write("job-1", CHECKPOINT, lambda partial, _: places.append(partial.name))
        return places[0]

    assert written_where(checkpoints) != written_where(Checkpoints(folder, "network float32"))


def test_only_the_jobs_that_are_there_are_kept(tmp_path, checkpoints, folder):
    folder.keep_only([])
    for job_id in ("job-1", "job-2", "job-3"):
        checkpoints.write(job_id, CHECKPOINT)
    (tmp_path / "kept" / "job-1.partial").write_bytes(b"half")
    (tmp_path / "kept" / ".hidden").write_bytes(b"from elsewhere")
    folder.keep_only({"job-1", "job-4"})
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["job-1.npz"]


@contextlib.contextmanager
def full_disk():
    """Files may not grow beyond 500 bytes, as on a full disk; for a write alone, since it holds for logs too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_once_a_job_and_leaves_nothing(tmp_path, checkpoints, caplog):
    for job_id in ("job-1", "job-1", "job-2", "job-1"):
        with full_disk():
            checkpoints.write(job_id, CHECKPOINT)
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    assert told == ["job-1", "job-2"]
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_write_that_fails_leaves_the_checkpoint_before(checkpoints):
    checkpoints.write("job-1", CHECKPOINT)
    with full_disk():
        checkpoints.write("job-1", dataclasses.replace(CHECKPOINT, network_passes=99))
    assert is_same(checkpoints.read("job-1"), CHECKPOINT)


def test_a_folder_that_cannot_be_made_fails_nothing(tmp_path, caplog, folder):
    (tmp_path / "kept").write_text("a file in the way")
    checkpoints = Checkpoints(folder, "network float32")
    checkpoints.write("job-1", CHECKPOINT)
    assert checkpoints.read("job-1") is None
    folder.remove("job-1")
    assert "job-1" in caplog.text
