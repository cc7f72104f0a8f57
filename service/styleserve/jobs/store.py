"""JobStore: every job until it expires, in memory to be read and on disk before anybody hears of a change.

The disk has one SQLite file, with a write-ahead log and each change synchronised, so that no end of a process and no
power cut takes back what was answered. A write takes about as long as the disk's synchronisation, a few for each job.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from styleserve.errors import ConfigurationError, StorageError
from styleserve.jobs.image_store import Owned
from styleserve.jobs.job import Job
from styleserve.jobs.records import Records, needed_images

logger = logging.getLogger(__name__)

#: Of the file's layout; a server reads its own and older ones.
VERSION = 1
#: What using the file raises when it is damaged; where SQLite quotes what is not UTF-8, it is the quoting that fails.
_DAMAGES = (sqlite3.Error, UnicodeDecodeError)
_LAYOUT = "CREATE TABLE IF NOT EXISTS jobs (job_id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT"
_ALL = "SELECT ifnull(CAST(job_id AS BLOB), x''), ifnull(CAST(record AS BLOB), x'') FROM jobs"


class JobStore:
    """Jobs by ID and by request ID; the event loop's thread alone uses it.

    `unread_ids` and `unread_images` are those of records that cannot be read, as after a return to an older version:
    they stay, with what belongs to them, for a server that can.

    It has the file for itself: a second server on the same folder is refused, with ConfigurationError, and so is a file
    that is damaged or of a newer version.
    """

    def __init__(self, path: Path, retention_s: float) -> None:
        self._records = Records()
        self._database = _open(path)
        self._by_id: dict[str, Job] = {}
        self._by_request: dict[tuple[str, str], Job] = {}
        self._behind: dict[str, Job] = {}
        self.unread_ids: set[str] = set()
        self.unread_images: set[Owned] = set()
        for job in sorted(self._recall(path, retention_s), key=lambda job: job.number):
            self._index(job)

    def add(self, job: Job) -> None:
        """Keep a new job, whose ID and request ID are free; raises StorageError when the disk does not take it."""
        assert not self.is_taken(job.job_id)
        try:
            self._write(job)
        except _DAMAGES:
            logger.exception("%s cannot be stored", job.job_id, extra=job.log_fields)
            raise StorageError from None
        self._index(job)

    def save(self, *jobs: Job) -> bool:
        """Keep how the jobs stand now, all of them for one synchronisation, and say whether the disk took them.

        What it did not take is tried again.
        """
        try:
            self._write(*jobs)
        except _DAMAGES:
            for job in jobs:
                self._behind[job.job_id] = job
                logger.exception(
                    "%s: its state cannot be stored; until the disk takes it, a restart makes it what it was before",
                    job.job_id,
                    extra=job.log_fields,
                )
            return False
        self.catch_up()
        return True

    def catch_up(self) -> None:
        """Store what the disk did not take before, as far as it takes it now."""
        for job in list(self._behind.values()):
            with contextlib.suppress(*_DAMAGES):
                self._write(job)
                logger.info("%s: its state is stored now", job.job_id, extra=job.log_fields)

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return self._by_id.get(job_id)

    def is_taken(self, job_id: str) -> bool:
        """Whether there is a job of this ID, be it one that cannot be read."""
        return job_id in self._by_id or job_id in self.unread_ids

    def find_request(self, caller: str, request_id: str) -> Job | None:
        """The newest job that this request ID of the caller's made, or None."""
        return self._by_request.get((caller, request_id))

    def all(self) -> Sequence[Job]:
        """Every job, the newest first."""
        return list(reversed(self._by_id.values()))  # they come in the order of their numbers

    def remove(self, jobs: Sequence[Job]) -> None:
        """Forget these jobs, all of them for one synchronisation; raises StorageError, and then none is forgotten."""
        try:
            self._change("DELETE FROM jobs WHERE job_id = ?", [(job.job_id,) for job in jobs])
        except _DAMAGES:
            logger.exception("%d ended jobs cannot be forgotten", len(jobs))
            raise StorageError from None
        for job in jobs:
            self._behind.pop(job.job_id, None)
            del self._by_id[job.job_id]
            request = job.submission.caller, job.submission.request_id
            if self._by_request.get(request) is job:
                del self._by_request[request]

    def close(self) -> None:
        """Let go of the file."""
        self.catch_up()
        self._database.close()

    def _recall(self, path: Path, retention_s: float) -> Iterator[Job]:
        """The jobs in the file, in no order; those that cannot be read are told and stay there."""
        for job_id, record in _read(self._database, path):
            try:
                job = self._records.read(record.decode(), retention_s)
                if job.job_id.encode() != job_id:
                    raise ValueError("it is another job's record")
            except Exception:
                self.unread_ids.add(job_id.decode(errors="replace"))
                self.unread_images |= needed_images(record.decode(errors="replace"))
                fields = {"job": job_id.decode(errors="replace")}
                logger.exception(
                    "the record of job %r in %s cannot be read; it is left there", job_id, path, extra=fields
                )
            else:
                yield job

    def _index(self, job: Job) -> None:
        self._by_id[job.job_id] = job
        request = job.submission.caller, job.submission.request_id
        if job.submission.request_id:
            self._by_request[request] = job  # the newest of a request, since they come in the order of their numbers

    def _write(self, *jobs: Job) -> None:
        rows = [(job.job_id, self._records.write(job)) for job in jobs]
        self._change("INSERT OR REPLACE INTO jobs VALUES (?, ?)", rows)
        for job in jobs:
            self._behind.pop(job.job_id, None)

    def _change(self, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
        """Do this with all rows or, where it raises, with none."""
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(statement, rows)


def _open(path: Path) -> sqlite3.Connection:
    """The file with its layout, ours alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            _settle(database)
        except BaseException:
            database.close()
            raise
    except _NewerError as error:
        raise ConfigurationError(
            f"data_dir: got {str(path.parent)!r}, whose {path.name} has version {error} of the layout; allowed: up to "
            f"{VERSION}; it was written by a newer StyleServe: update this one, or choose another folder"
        ) from None
    except (OSError, *_DAMAGES) as error:
        raise _unusable(path, error) from None
    return database


def _read(database: sqlite3.Connection, path: Path) -> list[tuple[bytes, bytes]]:
    """IDs and records, as bytes, so that one which is damaged is no hindrance to the others; a lost one is empty."""
    try:
        return database.execute(_ALL).fetchall()
    except _DAMAGES as error:
        database.close()
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    explanation = "its texts are damaged" if isinstance(error, UnicodeError) else str(error)
    return ConfigurationError(
        f"data_dir: got {str(path.parent)!r}, whose {path.name} cannot be used ({explanation}); allowed: a folder that "
        "can be made and written to, that no other server uses, with nothing damaged in it"
    )


def _settle(database: sqlite3.Connection) -> None:
    """Take the file for ourselves, with the layout of this version; one of a newer version stays as it is."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise _NewerError(version)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(_LAYOUT)
    database.execute(f"PRAGMA user_version = {VERSION}")


class _NewerError(Exception):
    """The file has a layout of a later version, which is the argument."""
