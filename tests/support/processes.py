"""The processes of a server that a test started, seen from outside: which they are, and what they take."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: By this variable of the environment every process of a server is known, also one whose parent is gone.
MARK = "STYLESERVE_TESTED_SERVER"
Role = Literal["front", "engine", "tracker"]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """A process: its part in the server, and what it takes."""

    pid: int
    role: Role
    memory_bytes: int
    handles: int
    threads: int


def marked_environment(mark: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a server by whose mark `processes` finds it."""
    return {**environment, MARK: mark}


def processes(mark: str) -> list[Process]:
    """All processes of the server with this mark that are alive."""
    wanted = f"{MARK}={mark}".encode()
    return [process for folder in Path("/proc").glob("[0-9]*") for process in _read(folder, wanted)]


def kill(mark: str, role: Role) -> None:
    """End the server's processes of this part, without a word."""
    for process in processes(mark):
        if process.role == role:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _read(folder: Path, wanted: bytes) -> Iterator[Process]:
    """The process of this folder of /proc, if it is one that is wanted and does not end meanwhile."""
    with contextlib.suppress(OSError, IndexError):
        if wanted not in (folder / "environ").read_bytes().split(b"\0"):
            return
        command = (folder / "cmdline").read_bytes()
        numbers = (folder / "stat").read_text().rpartition(")")[2].split()
        yield Process(
            pid=int(folder.name),
            role=_role(command),
            memory_bytes=int(numbers[21]) * _PAGE_BYTES,
            handles=len(list((folder / "fd").iterdir())),
            threads=int(numbers[17]),
        )


def _role(command: bytes) -> Role:
    if b"spawn_main" in command:
        return "engine"
    return "tracker" if b"resource_tracker" in command else "front"
