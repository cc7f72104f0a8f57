"""What is free: the machine's or the container's, whichever is less; and what the C library's heaps keep."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from styleserve import memory

MEMINFO = "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
#: As many threads have something at once, and the C library tells what it has of heaps.
HEAPS_OF_THREADS = """
import ctypes, os, sys, threading
from styleserve import memory
if sys.argv[1] == "set":
    memory.keep_heaps_small(os.environ)
library = ctypes.CDLL(None)
library.malloc.restype = library.fdopen.restype = ctypes.c_void_p
all_have = threading.Barrier(6)
threads = [threading.Thread(target=lambda: (library.malloc(5000), all_have.wait())) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, file)
library.fflush(file)
"""
#: An operator's, by which heaps keep what is free.
KEEPING_MUCH = {"MALLOC_TRIM_THRESHOLD_": "64000000", "MALLOC_MMAP_THRESHOLD_": "16000000"}
#: Something large comes and goes, and something half as large after it; the C library tells what its heap's end keeps.
KEPT_BY_A_HEAP = """
import ctypes, os, sys
from styleserve import memory
if sys.argv[1] == "set":
    memory.keep_heaps_small(os.environ)
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghi"] + [("keepcost", ctypes.c_size_t)]
library = ctypes.CDLL(None)
library.malloc.restype, library.mallinfo2.restype = ctypes.c_void_p, Told
for num_bytes in (8_000_000, 4_000_000):
    library.free(ctypes.c_void_p(library.malloc(num_bytes)))
print(library.mallinfo2().keepcost)
"""


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_container_it_is_what_the_machine_has_available(tmp_path):
    root = write(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"})
    assert memory.free_bytes(root) == 8_000_000 * 1024
    assert memory.default_limit(root) < memory.free_bytes(root)


def test_a_container_of_version_2_counts_its_cache_as_free(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "3000000000\n",
        "sys/fs/cgroup/memory.current": "1000000000\n",
        "sys/fs/cgroup/memory.stat": "anon 600000000\ninactive_file 400000000\n",
    }
    assert memory.free_bytes(write(tmp_path, files)) == 2_400_000_000


@pytest.mark.parametrize("most", ["max", "4000000000"])
def test_what_a_container_is_held_up_at_is_a_limit_too(tmp_path, most):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{most}\n",
        "sys/fs/cgroup/memory.high": "3000000000\n",
        "sys/fs/cgroup/memory.current": "1000000000\n",
    }
    assert memory.free_bytes(write(tmp_path, files)) == 2_000_000_000


def test_of_nested_groups_the_tightest_counts(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/system/service\n",
        "sys/fs/cgroup/system/memory.max": "2000000000\n",
        "sys/fs/cgroup/system/memory.current": "1500000000\n",
        "sys/fs/cgroup/system/service/memory.max": "max\n",
        "sys/fs/cgroup/system/service/memory.current": "1000000000\n",
    }
    assert memory.free_bytes(write(tmp_path, files)) == 500_000_000


def test_a_container_of_version_1_is_found_at_the_mount_too(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/docker/0123\n2:cpu:/docker/0123\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000\n",
    }
    assert memory.free_bytes(write(tmp_path, files)) == 900_000_000


def test_a_system_that_tells_nothing_limits_nothing(tmp_path):
    assert memory.free_bytes(tmp_path) is None
    assert memory.default_limit(tmp_path) is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such heaps")
@pytest.mark.parametrize(
    ("how", "variables", "are_few"),
    [("set", {}, True), ("left alone", {}, False), ("set", {"MALLOC_ARENA_MAX": "16"}, False)],
    ids=["as the program does", "left alone", "set by the operator"],
)
def test_threads_share_a_few_heaps_unless_the_operator_has_set_how_many(how, variables, are_few):
    assert (told_by(HEAPS_OF_THREADS, how, variables).count("<heap nr=") <= 2) == are_few


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library does not tell what it keeps")
@pytest.mark.parametrize(
    ("how", "variables", "is_little"),
    [("set", {}, True), ("left alone", {}, False), ("set", KEEPING_MUCH, False)],
    ids=["as the program does", "left alone", "set by the operator"],
)
def test_heaps_give_back_what_is_free_also_after_something_large(how, variables, is_little):
    assert (int(told_by(KEPT_BY_A_HEAP, how, variables)) < 1_000_000) == is_little


def told_by(script: str, how: str, variables: dict[str, str]) -> str:
    """What a process of its own prints, in whose environment nothing else is about heaps."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment = inherited | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | variables
    command = [sys.executable, "-c", script, how]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
