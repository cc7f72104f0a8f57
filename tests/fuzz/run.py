"""Runs inputs by the thousand, and names those that crash, hang, raise or grow the memory:

PYTHONPATH=tests python -m fuzz.run --target images --inputs 20000
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.child import input_of, seeds_of
from fuzz.targets import TARGETS

#: How long an input may take; a busy machine is slow, and the slowest take a second.
LIMIT_S = 30.0
#: How much a process may grow between the first quarter of its inputs and the last.
MOST_GROWN_BYTES = 24 * 2**20
#: Of each target, 100,000 in all: many where an input takes a millisecond, fewer where it is ten.
NUM_INPUTS = {
    "images": 15_000,
    "requests": 20_000,
    "calls": 20_000,
    "styles": 5_000,
    "configs": 5_000,
    "weights": 10_000,
    "checkpoints": 13_000,
    "records": 6_000,
    "databases": 6_000,
}
_TESTS = Path(__file__).parents[1]
_MOST_FINDINGS = 20


@dataclass
class Outcome:
    """What became of a target's inputs; `findings` say what was wrong with which, and where that one is kept."""

    target: str
    num_inputs: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    grown_bytes: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        memory = f"at most {self.peak_bytes / 1e6:5.0f} MB, grown by {self.grown_bytes / 1e6:5.1f} MB"
        work = f"{self.num_inputs:7} inputs {self.seconds:7.1f} s"
        return f"{self.target:12} {work}, {memory}, {len(self.findings)} findings"


def run(target: str, num_inputs: int, kept: Path, limit_s: float = LIMIT_S) -> Outcome:
    """Try inputs in children, a new one after each that ended before its last input; findings are written to `kept`."""
    outcome, seeds = Outcome(target), seeds_of(target)
    begun, first = time.monotonic(), 0
    while first < num_inputs and len(outcome.findings) < _MOST_FINDINGS:
        number = first
        for told in _told_by_child(target, first, num_inputs, limit_s):
            match told:
                case int():
                    number = told
                case {"raised": text}:
                    _keep(outcome, kept, number, f"raised {str(text).strip().splitlines()[-1]}", seeds, str(text))
                case {"peak_bytes": peak, "grown_bytes": grown}:
                    outcome.peak_bytes, outcome.grown_bytes = (
                        max(outcome.peak_bytes, peak),
                        max(outcome.grown_bytes, grown),
                    )
                    number = num_inputs
                case {"ended": how}:
                    _keep(outcome, kept, number, str(how), seeds)
        first = number + 1
    outcome.num_inputs, outcome.seconds = min(first, num_inputs), time.monotonic() - begun
    if outcome.grown_bytes > MOST_GROWN_BYTES:
        outcome.findings.append(f"{target}: the memory grew by {outcome.grown_bytes} bytes")
    return outcome


def _told_by_child(target: str, first: int, last: int, limit_s: float) -> Iterator[object]:
    """Each line of a child; and how it ended, unless it came to its end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *sys.path[1:]])}
    command = [sys.executable, "-m", "fuzz.child", target, str(first), str(last)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as child:
        assert child.stdout is not None
        rest, told = b"", None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while selector.select(limit_s if told is not None else LIMIT_S):
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    told = json.loads(line)
                    yield told
            else:
                child.kill()
                yield {"ended": f"took more than {limit_s:g} s"}
                return
        status = child.wait()
        if status != 0 or not isinstance(told, dict):
            yield {"ended": f"ended its process with status {status}"}


def _keep(outcome: Outcome, kept: Path, number: int, what: str, seeds: list[bytes], text: str = "") -> None:
    path = kept / f"{outcome.target}-{number}"
    path.write_bytes(input_of(outcome.target, seeds, number))
    if text:
        path.with_suffix(".txt").write_text(text)
    outcome.findings.append(f"{outcome.target}: input {number} {what}; it is kept in {path}")


def main() -> int:
    """The command line; the exit status is the number of findings, at most 99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument(
        "--inputs", type=int, help="for each target; otherwise 100,000 in all, where they are quick more"
    )
    parser.add_argument("--kept", type=Path, help="folder for inputs that were findings; a new one unless given")
    options = parser.parse_args()
    kept = options.kept or Path(tempfile.mkdtemp(prefix="fuzz-"))
    num_findings = 0
    for target, num_inputs in NUM_INPUTS.items():
        if options.target in (target, "all"):
            outcome = run(target, options.inputs or num_inputs, kept)
            print(outcome, *outcome.findings, sep="\n  ", flush=True)
            num_findings += len(outcome.findings)
    return min(99, num_findings)


if __name__ == "__main__":
    sys.exit(main())
