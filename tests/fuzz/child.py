"""One target's inputs in a process of their own, whose memory is bounded: python -m fuzz.child TARGET FIRST LAST.

Input `n` of a target is always the same, of databases by the same SQLite. The number of each is written before it is
tried, so that whoever reads knows which one ended the process; what a target raises is written as JSON; so is the
memory, at the end.
"""

import json
import logging
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest import mock

from fuzz.faulty import FAULTY
from fuzz.mutations import make_input
from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS, Target

#: Of addresses; libraries alone take one of them.
MEMORY_LIMIT = 4 * 2**30
#: By then caches and pools are as large as they get.
_WARM_SHARE = 0.25
#: What the clocks show while seeds are made: seconds since 1970, and since the machine was started.
_NOW, _RUNNING_S = 1.8e9, 12_000.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: The runner's own tests are of targets that are at fault.
_TARGETS: Mapping[str, Callable[[Path], Target]] = {**TARGETS, **FAULTY}
_SEEDS: Mapping[str, Callable[[Path], Iterator[bytes]]] = {**SEEDS, **dict.fromkeys(FAULTY, lambda _: iter([b"seed"]))}


def seeds_of(target: str) -> list[bytes]:
    """The target's seeds, in their order: the same bytes on every day."""
    clocks = mock.patch.multiple(time, time=lambda: _NOW, monotonic=lambda: _RUNNING_S)
    with tempfile.TemporaryDirectory() as folder, clocks:
        return list(_SEEDS[target](Path(folder)))


def input_of(target: str, seeds: list[bytes], number: int) -> bytes:
    """The input of this number: the seeds themselves first."""
    return seeds[number] if number < len(seeds) else make_input(target, seeds, random.Random(f"{target} {number}"))


def main(target: str, first: int, last: int) -> None:
    """Try the inputs from `first` up to and without `last`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    warnings.simplefilter("ignore")  # as in a server, where they go to the log
    logging.basicConfig(handlers=[logging.NullHandler()], level=logging.DEBUG)
    seeds, warm_bytes = seeds_of(target), 0
    with tempfile.TemporaryDirectory() as folder:
        read = _TARGETS[target](Path(folder))
        for number in range(first, last):
            _tell(number)
            try:
                read(input_of(target, seeds, number))
            except Exception as error:
                _tell({"number": number, "raised": "".join(traceback.format_exception(error))})
            if number == first + int(_WARM_SHARE * (last - first)):
                warm_bytes = _resident_bytes()
    _tell({"grown_bytes": _resident_bytes() - warm_bytes, "peak_bytes": _peak_bytes()})


def _tell(what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def _peak_bytes() -> int:
    """Not `getrusage`'s, which begins with that of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
