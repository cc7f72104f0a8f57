"""What is asked of jobs that come out of records and databases: that they can be told, found and kept again."""

from pathlib import Path

from styleserve.errors import StorageError
from styleserve.jobs.job import Job
from styleserve.jobs.records import Records
from styleserve.jobs.store import JobStore
from styleserve.rpc import responses

RETENTION_S = 60.0


def read_record(data: bytes) -> None:
    """Read a record; the store leaves out one that raises, whatever it raises."""
    records = Records()
    try:
        job = records.read(data.decode("utf-8"), RETENTION_S)
    except Exception:
        return
    _use(job)
    records.write(job)


def read_database(path: Path) -> None:
    """Open a database and use all that is in it; raises ConfigurationError."""
    store = JobStore(path, RETENTION_S)
    try:
        for job in store.all():
            _use(job)
            assert store.get(job.job_id) is job
            store.save(job)
        if store.get("job-new") is None and store.all():
            admitted = Job.admit("job-new", 10**6, store.all()[0].submission, RETENTION_S)
            store.add(admitted)
            store.remove([admitted])
    except StorageError:
        pass  # a disk that fails is told so
    finally:
        store.close()


def _use(job: Job) -> None:
    responses.job(job.status).SerializeToString()
    assert job.submission.digests
    assert job.has_ended in (True, False)
