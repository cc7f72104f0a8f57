"""Files: written beside their place and moved there, whole and synchronised before they have their name."""

import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO


def write_durably(place: Path, data: bytes) -> None:
    """Put a file at `place`, or leave what was there; raises OSError, with nothing left beside it."""
    file = tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", suffix=".partial", delete=False)  # noqa: SIM115 (closed below)
    try:
        try:
            file.write(data)
            settle(file, place)
        finally:
            file.close()
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        raise


def settle(file: IO[bytes], place: Path, moving: AbstractContextManager[object] | None = None) -> None:
    """Move an open file that was written beside its place there, within `moving`, and close it; raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    with moving or nullcontext():
        os.replace(file.name, place)
    synchronise(place.parent)


def synchronise(folder: Path) -> None:
    """Wait until the disk has what was created, moved and removed in the folder; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
