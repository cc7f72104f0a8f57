"""What is free: the machine's or the container's, whichever is less."""

from styleserve import memory

MEMINFO = "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


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
