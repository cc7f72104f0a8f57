"""The store: a job is the same after the process that kept it is gone, and what cannot be kept is said."""

import contextlib
import dataclasses
import json
import sqlite3
import time

import pytest

from styleserve import errors
from styleserve.errors import ConfigurationError, RequestError, StorageError
from styleserve.jobs.job import Job
from styleserve.jobs.status import StoredImage
from styleserve.jobs.store import VERSION, JobStore
from support.some_jobs import PROGRESS, PROVENANCE, job

JOB_ERRORS = [
    errors.ImageNotFoundError("images/x", ["images/y"]),
    errors.StyleImageUnavailableError(60, "styles/udnie"),
    errors.RunTimeoutError(has_canvas=False, left_s=1.25),
    errors.QueueTimeoutError(),
    errors.DivergedError(7, "{}"),
    errors.EngineError("0123456789abcdef"),
]


def reopened(store: JobStore, folder) -> JobStore:
    store.close()
    return JobStore(folder / "jobs.sqlite3", retention_s=60.0)


@pytest.fixture
def store(tmp_path):
    return JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)


async def test_a_job_is_found_again_as_it_was(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    kept.advance(PROGRESS)
    store.save(kept)
    found = reopened(store, tmp_path).get("job-1")
    assert found.submission == kept.submission
    assert found.status == kept.status
    assert found.status.progress == PROGRESS


async def test_a_record_of_before_there_were_journals_and_traces_is_read(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    store.save(kept)
    (text,) = store._database.execute("SELECT record FROM jobs").fetchone()
    record = json.loads(text)
    assert record.pop("journal")
    del record["submission"]["trace"]
    store._database.execute("UPDATE jobs SET record = ?", (json.dumps(record),))
    found = reopened(store, tmp_path).get("job-1")
    assert (found.status, found.submission.trace, found.journal.lines) == (kept.status, "", ())


async def test_engines_that_were_lost_under_a_job_are_remembered(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    for iteration in (3, 2):
        kept.advance(dataclasses.replace(PROGRESS, iteration=iteration))
        kept.lose_engine()
    store.save(kept)
    found = reopened(store, tmp_path).get("job-1")
    assert (found.num_losses, found.lost_at) == (2, 3)


async def test_a_job_that_came_further_is_not_the_cause_of_what_was_lost_before():
    kept = job()
    for iteration in (3, 3, 4):
        kept.advance(dataclasses.replace(PROGRESS, iteration=iteration))
        kept.lose_engine()
    assert kept.num_losses == 1


async def test_it_is_found_by_its_request_id_too(store, tmp_path):
    store.add(job())
    assert reopened(store, tmp_path).find_request("anonymous", "r-1").job_id == "job-1"


async def test_of_jobs_with_one_request_id_the_newest_is_found_until_it_is_forgotten_itself(store, tmp_path):
    given_up, anew = job(1), job(2)
    given_up.is_orphaned = True
    for each in (given_up, anew):
        store.add(each)
    store.save(given_up)
    again = reopened(store, tmp_path)
    assert again.find_request("anonymous", "r-1").job_id == "job-2"
    assert [each.is_orphaned for each in again.all()] == [False, True]
    again.remove([again.get("job-1")])
    assert again.find_request("anonymous", "r-1").job_id == "job-2"


async def test_a_result_survives_with_its_provenance(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    kept.succeed(StoredImage("d" * 64, "image/jpeg", 32, 24, 999), PROGRESS, "completed", PROVENANCE)
    store.save(kept)
    found = reopened(store, tmp_path).get("job-1")
    assert found.status == kept.status
    assert found.feed.is_closed


@pytest.mark.parametrize("error", JOB_ERRORS, ids=lambda error: error.reason)
async def test_what_a_job_failed_with_is_known_again(store, tmp_path, error: RequestError):
    kept = job()
    store.add(kept)
    kept.fail(error)
    store.save(kept)
    found = reopened(store, tmp_path).get("job-1").status.error
    assert (type(found), str(found)) == (type(error), str(kept.status.error))


async def test_the_last_events_of_an_ended_job_keep_their_numbers(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    kept.succeed(StoredImage("d" * 64, "image/jpeg", 32, 24, 999), PROGRESS, "completed", PROVENANCE)
    store.save(kept)
    before = [(update.sequence, update.kind) async for update in kept.feed.watch()]
    found = reopened(store, tmp_path).get("job-1")
    assert [(update.sequence, update.kind) async for update in found.feed.watch()] == before


async def test_the_events_of_a_job_that_goes_on_come_after_all_that_were_told(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    store.save(kept)
    for _ in range(500):
        kept.advance(PROGRESS)
    found = reopened(store, tmp_path).get("job-1")
    first = await anext(found.feed.watch(after_sequence=kept.feed.last_sequence))
    assert first.sequence > kept.feed.last_sequence
    assert first.content.state == "running"


async def test_a_job_outlives_any_number_of_restarts(store, tmp_path):
    kept = job()
    store.add(kept)
    kept.start()
    store.save(kept)
    for _ in range(3000):
        kept = Job.restore(kept.job_id, kept.number, kept.submission, kept.status, kept.feed.last_sequence, 60.0)
    store.save(kept)
    assert reopened(store, tmp_path).get("job-1").feed.last_sequence > kept.feed.last_sequence


async def test_a_deadline_is_the_same_moment_by_another_process_clock(store, tmp_path, monkeypatch):
    its_monotonic = time.monotonic
    deadline = its_monotonic() + 50.0
    store.add(job(deadline=deadline))
    monkeypatch.setattr(time, "monotonic", lambda: its_monotonic() - 1000.0)
    found = reopened(store, tmp_path).get("job-1")
    assert found.submission.deadline == pytest.approx(deadline - 1000.0, abs=1.0)


async def test_a_job_that_is_forgotten_stays_so(store, tmp_path):
    kept = job()
    store.add(kept)
    store.remove([kept])
    again = reopened(store, tmp_path)
    assert again.get("job-1") is None
    assert again.find_request("anonymous", "r-1") is None


async def test_jobs_come_the_newest_first(store, tmp_path):
    for number in (1, 2, 3):
        store.add(job(number, request_id=""))
    assert [kept.number for kept in reopened(store, tmp_path).all()] == [3, 2, 1]


async def test_a_disk_that_takes_nothing_forgets_no_job_and_later_all_of_them(store, tmp_path):
    kept = [job(number, request_id="") for number in (1, 2)]
    for each in kept:
        store.add(each)
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError):
        store.remove(kept)
    assert [store.get(each.job_id) for each in kept] == kept
    store._database.execute("PRAGMA query_only = OFF")
    store.remove(kept)
    assert list(reopened(store, tmp_path).all()) == []


async def test_a_record_that_cannot_be_read_takes_no_other_along(store, tmp_path, caplog):
    for number in (1, 2):
        store.add(job(number, request_id=""))
    store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
        database.execute("UPDATE jobs SET record = '{\"job_id\": 5}' WHERE job_id = 'job-1'")
    database.close()
    again = JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)
    assert [kept.job_id for kept in again.all()] == ["job-2"]
    assert [record.job for record in caplog.records] == ["job-1"]


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"version {VERSION + 1} of the layout; allowed: up to {VERSION}"):
        JobStore(path, retention_s=60.0)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match=r"data_dir: got .* nothing damaged in it"):
        JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)


def test_a_folder_has_one_server(store, tmp_path):
    with pytest.raises(ConfigurationError, match="no other server uses"):
        JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)


async def test_a_disk_that_takes_no_more_refuses_the_job_and_keeps_the_others(store, tmp_path):
    store.add(job(1, request_id=""))
    store._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match="disk is full"):
        store.add(job(2, labels={"long": "x" * 100_000}))
    assert store.get("job-2") is None
    assert store.find_request("anonymous", "r-1") is None
    assert reopened(store, tmp_path).get("job-1") is not None


async def test_a_job_goes_on_where_its_state_cannot_be_stored(store):
    kept = job()
    store.add(kept)
    store._database.execute("PRAGMA query_only = ON")
    kept.start()
    store.save(kept)
    assert store.get("job-1").status.state == "running"


async def test_what_the_disk_did_not_take_is_stored_when_it_takes_something_again(store, tmp_path):
    kept, other = (job(number, request_id="") for number in (1, 2))
    for each in (kept, other):
        store.add(each)
    store._database.execute("PRAGMA query_only = ON")
    kept.start()
    assert not store.save(kept)
    store._database.execute("PRAGMA query_only = OFF")
    assert store.save(other)
    assert reopened(store, tmp_path).get("job-1").status.state == "running"


async def test_what_the_disk_did_not_take_is_stored_at_the_end(store, tmp_path):
    kept = job()
    store.add(kept)
    store._database.execute("PRAGMA query_only = ON")
    kept.start()
    store.save(kept)
    store._database.execute("PRAGMA query_only = OFF")
    assert reopened(store, tmp_path).get("job-1").status.state == "running"


def damaged(path, change) -> None:
    """Change the records of a file that nobody uses, as text."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for job_id, record in database.execute("SELECT job_id, record FROM jobs").fetchall():
            database.execute("UPDATE jobs SET record = CAST(? AS TEXT) WHERE job_id = ?", (change(record), job_id))
        database.commit()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.encode().replace(b"job-1", b"job\xff1"),
        lambda record: record.replace("job-1", "job-9"),
        lambda record: record.replace('"queue_position": 0', '"queue_position": -9223372036854775808'),
        lambda record: record.replace('"create_time": ', '"create_time": -'),
        lambda record: record.replace('"mobile"', r'"\ud800"'),
        lambda record: record.replace('"end_time": null', '"end_time": NaN'),
        lambda record: record.replace(
            '"journal": []', '"journal": [{"time": 1e300, "level": "info", "text": "admitted"}]'
        ),
        lambda record: record.replace(
            '"error": null', '"error": {"reason": "STORAGE_UNAVAILABLE", "arguments": ["soon"]}'
        ),
    ],
    ids=[
        "no UTF-8",
        "another name",
        "a place below 0",
        "before all time",
        "half a character",
        "no time",
        "a line of no time",
        "no seconds",
    ],
)
async def test_a_record_that_cannot_be_told_is_left_out_and_the_others_are_not(store, tmp_path, change, caplog):
    for number in (1, 2):
        store.add(job(number, request_id=""))
    store.close()
    damaged(tmp_path / "jobs.sqlite3", lambda record: change(record) if "job-1" in record else record)
    found = JobStore(tmp_path / "jobs.sqlite3", retention_s=60.0)
    assert [each.job_id for each in found.all()] == ["job-2"]
    assert [record.job for record in caplog.records] == ["job-1"]


@pytest.mark.parametrize("column", ["job_id", "record"])
async def test_a_row_that_lost_a_column_is_left_out_and_the_others_are_not(store, tmp_path, column):
    for number in (1, 2):
        store.add(job(number, request_id=""))
    store.close()
    path = tmp_path / "jobs.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        layout = "CREATE TABLE jobs (job_id TEXT PRIMARY KEY, record TEXT)"
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'jobs'", (layout,))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"UPDATE jobs SET {column} = NULL WHERE job_id = 'job-1'")
    found = JobStore(path, retention_s=60.0)
    assert [each.job_id for each in found.all()] == ["job-2"]


async def test_a_damaged_page_ends_the_start_with_an_explanation(store, tmp_path):
    for number in range(1, 60):
        store.add(job(number, request_id=""))
    store.close()
    path = tmp_path / "jobs.sqlite3"
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data) - 4096, 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="with nothing damaged in it"):
        JobStore(path, retention_s=60.0)


async def test_a_damaged_layout_ends_the_start_with_an_explanation(store, tmp_path):
    store.add(job())
    store.close()
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE jobs", b"CREATE \xff\xfe\xfd jobs"))
    with pytest.raises(ConfigurationError, match=r"jobs.sqlite3 cannot be used \(its texts are damaged\)"):
        JobStore(path, retention_s=60.0)
