"""Retention: what nobody needs goes, whatever the disk says to it and without keeping anybody waiting."""

import asyncio
import os
import time

import pytest

from styleserve.errors import StorageError
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.job import Job
from styleserve.jobs.picture_index import PictureIndex
from styleserve.jobs.retention import Retention
from styleserve.jobs.status import StoredImage
from styleserve.jobs.store import JobStore
from support.some_jobs import PROGRESS, PROVENANCE, job


@pytest.fixture
def store(tmp_path):
    return JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)


@pytest.fixture
def images(tmp_path):
    return ImageStore(tmp_path / "images")


def retention(store: JobStore, images: ImageStore, max_jobs: int = 10_000) -> Retention:
    return Retention(store, images, PictureIndex([]), 60.0, 10**9, max_jobs)


def add_ended(store: JobStore, num_jobs: int, retention_s: float = 60.0) -> list[Job]:
    """Jobs that failed one after the other."""
    jobs = [job(number, retention_s, request_id=f"r-{number}") for number in range(1, num_jobs + 1)]
    store._database.execute("PRAGMA synchronous = OFF")  # since it is not they that are tried
    for each in jobs:
        store.add(each)
        each.fail(StorageError())
        store.save(each)
    return jobs


async def test_a_job_whose_picture_is_made_again_while_the_old_one_is_forgotten_stays(
    store, images, tmp_path, monkeypatch
):
    maker, shelf = job(), images.shelf("anonymous")
    store.add(maker)
    digest = shelf.put(b"old")
    os.utime(tmp_path / "images" / "anonymous" / digest, (0, 0))
    forget, keeper = ImageStore.expire, retention(store, images)

    def forget_and_make_again(self, *arguments):
        gone = forget(self, *arguments)
        shelf.put(b"old")
        maker.succeed(StoredImage(digest, "image/png", 8, 6, 3), PROGRESS, "completed", PROVENANCE)
        keeper.note(maker)
        return gone

    monkeypatch.setattr(ImageStore, "expire", forget_and_make_again)
    await keeper._sweep()
    assert store.get(maker.job_id) is maker


async def test_jobs_that_expire_together_go_many_at_once_and_others_have_their_turns_between(store, images):
    add_ended(store, 1000, retention_s=-1.0)
    keeper, turns, transactions = retention(store, images), [], []
    store._database.set_trace_callback(
        lambda statement: transactions.append(len(turns)) if statement.startswith("COMMIT") else None
    )

    async def take_turns() -> None:
        while True:
            turns.append(time.monotonic())
            await asyncio.sleep(0)

    beside = asyncio.create_task(take_turns())
    await keeper._sweep()
    beside.cancel()
    assert store.all() == []
    assert len(transactions) == 10
    assert len(set(transactions)) == 10


async def test_jobs_that_the_disk_did_not_let_go_go_the_next_time_with_their_pictures_long_gone(
    store, images, tmp_path
):
    painted, shelf = job(), images.shelf("anonymous")
    store.add(painted)
    digest = shelf.put(b"old")
    painted.succeed(StoredImage(digest, "image/png", 8, 6, 3), PROGRESS, "completed", PROVENANCE)
    os.utime(tmp_path / "images" / "anonymous" / digest, (0, 0))
    keeper = retention(store, images)
    store._database.execute("PRAGMA query_only = ON")
    await keeper._sweep()
    assert not shelf.has(digest)
    assert store.all() == [painted]
    store._database.execute("PRAGMA query_only = OFF")
    await keeper._sweep()
    assert store.all() == []


async def test_of_more_ended_jobs_than_are_kept_those_that_ended_first_go(store, images):
    jobs = [job(number, request_id=f"r-{number}") for number in range(1, 7)]
    keeper = retention(store, images, max_jobs=3)
    for each in jobs:
        store.add(each)
    for number in (5, 1, 2, 0, 3):
        jobs[number].fail(StorageError())
        keeper.note(jobs[number])
    assert [each.number for each in store.all()] == [5, 4, 3, 1]  # the fifth has yet to end
    assert store.find_request("anonymous", "r-6") is None


@pytest.mark.parametrize("is_swept", [False, True])
async def test_whoever_has_many_jobs_takes_none_of_the_others_away(store, images, is_swept):
    keeper = retention(store, images, max_jobs=100 if is_swept else 5)
    for each in [job(number, caller="modest" if number <= 2 else "busy") for number in range(1, 9)]:
        store.add(each)
        each.fail(StorageError())
        keeper.note(each)
    if is_swept:
        await retention(store, images, max_jobs=5)._sweep()
    assert [each.number for each in store.all()] == [8, 7, 6, 2, 1]


async def test_the_end_of_a_job_that_a_full_disk_did_not_take_is_stored_by_the_next_sweep(store, images):
    kept = job()
    store.add(kept)
    store._database.execute("PRAGMA query_only = ON")
    kept.fail(StorageError())
    store.save(kept)
    store._database.execute("PRAGMA query_only = OFF")
    await retention(store, images)._sweep()
    (record,) = store._database.execute("SELECT record FROM jobs").fetchone()
    assert '"state": "failed"' in record


async def test_a_server_with_fewer_jobs_to_keep_than_the_one_before_forgets_the_rest(store, images):
    add_ended(store, 250)
    keeper = retention(store, images, max_jobs=20)
    await keeper._sweep()
    assert [each.number for each in store.all()] == list(range(250, 230, -1))
