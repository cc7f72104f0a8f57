"""Digests: how the SHA-256 of images and tokens is written, wherever somebody writes one."""

import re

_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Whether it is 64 lower-case hex digits."""
    return _SHA256_PATTERN.fullmatch(text) is not None
