"""Sizes: bytes as people write them."""

import re

from styleserve.errors import ConfigurationError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
#: What stands before a unit is less.
_LARGEST_NUMBER = 1e15
_SIZE_PATTERN = re.compile(r"(\d+(?:\.\d+)?) *([KMGT]?B|[KMG]iB)", re.IGNORECASE)


def parse_limit(text: str) -> int | None:
    """Bytes of a limit such as `2GB` or `1500MB`, or None for `auto`; raises ConfigurationError."""
    return None if text == "auto" else parse_size(text, "auto, or ")


def parse_size(text: str, others_allowed: str = "") -> int:
    """Bytes of a size such as `2GB`; raises ConfigurationError, which names what else is allowed."""
    match = _SIZE_PATTERN.fullmatch(text.strip())
    if match is not None and float(match[1]) < _LARGEST_NUMBER:
        num_bytes = round(float(match[1]) * _UNITS[match[2].upper()])
        if num_bytes > 0:
            return num_bytes
    raise ConfigurationError(f"got {text!r}; allowed: {others_allowed}a size such as 1500MB, 2GB or 2GiB")
