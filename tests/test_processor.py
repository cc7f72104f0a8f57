"""The processor's abilities are read where Linux tells them."""

import os

import pytest

from styleserve import processor
from styleserve.__main__ import set_environment


def tell(root, text):
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(text)


def test_flags_are_those_of_the_first_processor(tmp_path):
    tell(tmp_path, "processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu avx512f\n")
    assert processor.flags(tmp_path) == {"fpu", "avx2"}


def test_a_system_that_tells_nothing_has_no_flags(tmp_path):
    assert not processor.flags(tmp_path)
    tell(tmp_path, "CPU architecture: 8\n")
    assert not processor.flags(tmp_path)


@pytest.mark.parametrize(("flags", "asked"), [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False), (set(), True)])
def test_an_allocator_that_would_not_count_is_asked_to(monkeypatch, flags, asked):
    monkeypatch.setattr(processor, "flags", lambda: flags)
    monkeypatch.setattr("os.environ", {})
    set_environment()
    assert ("TF_CPU_ALLOCATOR_USE_BFC" in os.environ) == asked
