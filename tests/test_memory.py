"""What is free: the machine's or the container's, whichever is less; and how many heaps threads have."""

import os
import platform
import subprocess
import sys

import pytest

from styleserve import memory

MEMINFO = "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
#: As many threads have something at once, and the C library tells what it has of heaps.
HEAPS_OF_THREADS = """
import ctypes, sys, threading
from styleserve import __main__
if sys.argv[1] == "set":
    __main__.set_heaps()
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
    inherited = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment = inherited | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | variables
    command = [sys.executable, "-c", HEAPS_OF_THREADS, how]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert (told.count("<heap nr=") <= 2) == are_few
