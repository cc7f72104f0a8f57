"""Files: opened without waiting; written beside their place and moved there, whole, and synchronised where asked."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO


def open_regular(path: Path) -> BufferedReader:
    """Open a file to be read; raises OSError, also when it is something that may keep its reader waiting, as a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """All of a regular file, or of a larger one the first `max_bytes` and one more; raises OSError."""
    with open_regular(path) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        return file.read(min(num_bytes, max_bytes) + 1)  # as much memory is set aside as is asked for


def write_durably(place: Path, data: bytes) -> None:
    """Put a file at `place`, or leave what was there; raises OSError, with nothing left beside it."""
    with _beside(place) as file:
        file.write(data)
        settle(file, place)


def write_soon(place: Path, data: bytes) -> None:
    """As `write_durably`, but without waiting for the disk: after a power cut the file may be missing, or damaged."""
    with _beside(place) as file:
        file.write(data)
        file.close()
        os.replace(file.name, place)


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[IO[bytes]]:
    """A file beside `place` that is to be moved there; nothing is left of it when that raises OSError."""
    file = tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", suffix=".partial", delete=False)  # noqa: SIM115 (closed below)
    try:
        try:
            yield file
        finally:
            file.close()
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        raise


def settle(file: IO[bytes], place: Path, moving: contextlib.AbstractContextManager[object] | None = None) -> None:
    """Move an open file that was written beside its place there, within `moving`, and close it; raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    with moving or contextlib.nullcontext():
        os.replace(file.name, place)
    synchronise(place.parent)


def synchronise(folder: Path) -> None:
    """Wait until the disk has what was created, moved and removed in the folder; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
