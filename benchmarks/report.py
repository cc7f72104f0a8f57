"""What every benchmark says about itself: the machine, the versions, a table, a JSON file."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = str | int | float | Sequence["Value"] | Mapping[str, "Value"] | None

_ROOT = Path(__file__).resolve().parents[1]
FOLDER = _ROOT / "docs" / "benchmarks"
_PACKAGES = ("styleserve", "tensorflow-cpu", "tensorflow", "torch", "scipy", "numpy", "grpcio")
#: What tells processors of one name apart, as Linux calls it.
_NUMBERS = {"cpu family": "family", "model": "model", "stepping": "stepping"}
#: Abilities of a processor that decide how fast it multiplies.
_DECISIVE = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")


def machine() -> dict[str, Value]:
    """Processor, cores, versions, and the commit that was measured; files of older runs have less of it."""
    return {
        **processor(),
        "cores": os.cpu_count(),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
    }


def processor(root: Path = Path("/")) -> dict[str, Value]:
    """The first processor: its name, and, where Linux tells them, its numbers and decisive flags.

    Virtual machines give processors of several generations one name. `root` is where `proc` is.
    """
    try:
        first = (root / "proc" / "cpuinfo").read_text().partition("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return {"processor": platform.processor() or platform.machine()}
    told = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in first.splitlines())}
    numbers = {ours: int(told[theirs]) for theirs, ours in _NUMBERS.items() if told.get(theirs, "").isdecimal()}
    flags = set(told.get("flags", "").split())
    return {
        "processor": told.get("model name") or platform.machine(),
        **numbers,
        "flags": [flag for flag in _DECISIVE if flag in flags],
    }


def machine_name(described: Mapping[str, Value] | None = None) -> str:
    """One line for a machine as `machine` describes it, or for this one.

    Equal for those with equal processors and as many cores.
    """
    known = {**processor(), "cores": os.cpu_count()} if described is None else described
    numbers = [f"{name} {known[name]}" for name in _NUMBERS.values() if name in known]
    flags = known.get("flags", ())
    assert isinstance(flags, Sequence)
    return ", ".join([str(known["processor"]), *numbers, f"{known['cores']} cores", *map(str, flags)])


def commit(folder: Path = _ROOT) -> str | None:
    """The commit of the tree in `folder`, `-dirty` where files outside docs have changed; None without one."""
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs")
    return f"{head}-dirty" if head and changed else head


def write(name: str, results: Mapping[str, Value]) -> Path:
    """Write `results` with the machine's description to docs/benchmarks/NAME.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")
    return path


def read(name: str) -> Mapping[str, Value]:
    """What `write` wrote, empty when nothing did."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, None where there is none or it fails."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
