"""Files are read within bounds, and take no more memory than they have bytes."""

import tracemalloc

import pytest

from styleserve.files import read_bounded

MIB = 1024 * 1024


def test_a_small_file_takes_as_much_memory_as_it_has_bytes_whatever_the_bound(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"a" * MIB)
    tracemalloc.start()
    try:
        data = read_bounded(path, 64 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data == b"a" * MIB
    assert peak < 2 * MIB


@pytest.mark.parametrize("num_bytes", [0, 9, 10, 11, 1000])
def test_of_a_larger_file_one_byte_beyond_the_bound_is_read(tmp_path, num_bytes):
    path = tmp_path / "file"
    path.write_bytes(b"b" * num_bytes)
    assert len(read_bounded(path, 10)) == min(num_bytes, 11)
