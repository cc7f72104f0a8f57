"""Memory: what the machine or its container has free, and what this process takes of it."""

import contextlib
import ctypes
import mmap
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

#: The share of what is free that an engine takes by default; the front, its images and the system live on the rest.
_DEFAULT_SHARE = 0.8
#: Files of a control group, as versions 2 and 1 name them: its limits, and what is used. Whoever is above `memory.high`
#: is held up until memory was given back.
_GROUP_FILES = (
    (("memory.max", "memory.high"), "memory.current"),
    (("memory.limit_in_bytes",), "memory.usage_in_bytes"),
)
#: Cached files count as used, and are given back when memory is short.
_RECLAIMABLE = ("inactive_file", "total_inactive_file")
#: By these the GNU C library is told about its heaps.
_HEAP_VARIABLES = {"GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
#: Parameters of its `mallopt`: the bytes from which what is free at a heap's end is given back, those from which an
#: allocation has pages of its own, and how many heaps there are.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NUM_HEAPS = 2


def keep_heaps_small(environment: Mapping[str, str], large_bytes: int = 128 * 1024) -> None:
    """Have all threads of this process share a few heaps, which give back what is free from `large_bytes` on.

    Whatever takes so much has pages of its own, which go when it does. Where the operator has set anything about heaps
    in the process's environment, they are left alone.

    The GNU C library gives nearly every thread a heap, and each keeps much of what it once held. It also raises both
    thresholds with every larger allocation that was ever freed, to as much as 64 MB, so that a heap keeps the more the
    longer it lives. Where many threads decode and encode images in turn that was a quarter of the front's memory. What
    threads have already, they keep, so this is for the beginning of a process. Other libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc" and _HEAP_VARIABLES.isdisjoint(environment):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in {
            _TRIM_THRESHOLD: large_bytes,
            _MMAP_THRESHOLD: large_bytes,
            _ARENA_MAX: _NUM_HEAPS,
        }.items():
            mallopt(option, value)


def trim_heaps() -> None:
    """Give back what the GNU C library's heaps of this process have free; other libraries are left as they are."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def drop_pages(address: int, num_bytes: int) -> None:
    """Give back the pages that lie within these bytes, whose content is of no use any more: they become zeros."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    start, end = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, (address + num_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if start < end:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def default_limit(root: Path = Path("/")) -> int | None:
    """Bytes that an engine takes when nobody limits it; None where the system does not tell what is free."""
    free = free_bytes(root)
    return None if free is None else round(_DEFAULT_SHARE * free)


def free_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that may still be taken: what the machine has free, or the container this process is in, if that is less.

    `root` is where `proc` and `sys` are.
    """
    found = [_machine_free(root), *(_group_free(folder) for folder in _groups(root))]
    return min((free for free in found if free is not None), default=None)


def resident_bytes(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process takes; None where the system does not tell."""
    try:
        pages = (root / "proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * mmap.PAGESIZE


def peak_resident_bytes(root: Path = Path("/")) -> int:
    """The most bytes that this process took since `forget_peak`; since it began where the system does not forget."""
    try:
        lines = (root / "proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def forget_peak(root: Path = Path("/")) -> None:
    """Begin the peak anew with what is taken now, where the system can."""
    with contextlib.suppress(OSError):
        (root / "proc/self/clear_refs").write_text("5")


def _machine_free(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kibibytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kibibytes is None else int(kibibytes) * 1024


def _groups(root: Path) -> list[Path]:
    """Folders of the control groups that hold this process, innermost first; each of them limits it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            mount = root / "sys/fs/cgroup" / controllers
            inner = mount / path.strip("/")
            folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount)]
    return folders


def _group_free(folder: Path) -> int | None:
    for limit_names, used_name in _GROUP_FILES:
        limits = [limit for name in limit_names if (limit := _read_number(folder / name)) is not None]
        used = _read_number(folder / used_name)
        if limits and used is not None:
            return max(0, min(limits) - used + _reclaimable(folder))
    return None


def _reclaimable(folder: Path) -> int:
    try:
        entries = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return max((int(entries[name]) for name in _RECLAIMABLE if name in entries), default=0)


def _read_number(path: Path) -> int | None:
    """The number in a file; None when it says `max` or is not there."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
