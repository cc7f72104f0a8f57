"""Targets that are at fault, by which the runner's own tests show that it would notice."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

#: The input at which each shows it.
FAULTY_NUMBER = 7


def _at_fault(show: Callable[[], object]) -> Callable[[Path], Callable[[bytes], None]]:
    """A target that is sound but for one of its inputs."""

    def make(folder: Path) -> Callable[[bytes], None]:
        numbers = iter(range(10**9))

        def read(data: bytes) -> None:
            if next(numbers) == FAULTY_NUMBER:
                show()

        return read

    return make


def _raise() -> None:
    raise LookupError("of the insides")


_kept: list[bytearray] = []

FAULTY: Mapping[str, Callable[[Path], Callable[[bytes], None]]] = {
    "raises": _at_fault(_raise),
    "crashes": _at_fault(os.abort),
    "hangs": _at_fault(lambda: time.sleep(3600)),
    "grows": _at_fault(lambda: _kept.append(bytearray(100 * 2**20))),
    "devours": _at_fault(lambda: bytearray(100 * 2**30)),
}
