"""Sizes are numbers and units."""

import pytest

from styleserve.config import Config
from styleserve.errors import ConfigurationError
from styleserve.sizes import parse_limit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        ("2GB", 2 * 10**9),
        ("1500MB", 1_500_000_000),
        ("1.5 gb", 1_500_000_000),
        ("2GiB", 2**31),
        ("512mib", 2**29),
        ("4000000000B", 4 * 10**9),
    ],
)
def test_a_limit_is_a_number_and_a_unit(text, expected):
    assert parse_limit(text) == expected


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "0GB", "0.4B", "two GB", "", "2GBs"])
def test_anything_else_is_refused_with_what_is_allowed(text):
    with pytest.raises(ConfigurationError, match=r"memory_limit: got .*allowed: auto, or a size such as 1500MB"):
        Config(memory_limit=text)
