"""Decoding for callers: images are decoded within so many pixels at once, however many callers send them together.

A pixel takes up to 30 bytes while it is decoded, and the limits on one image say nothing of twenty at the same time.
"""

import contextlib
import threading
from collections.abc import Iterator

from styleserve import images
from styleserve.images import ImageLimits, Picture

#: How many images of the largest size may be decoded at the same time; more of smaller ones.
_LARGEST_AT_ONCE = 2


class Decoder:
    """Decodes images within `limits`; it is for several threads, which wait for room."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._num_free = _LARGEST_AT_ONCE * limits.max_pixels
        self._freed = threading.Condition()
        self._turn = threading.Lock()

    def decode(self, data: bytes, fit_side: int | None = None) -> Picture:
        """As `images.decode`."""
        with self._room(data):
            return images.decode(data, self._limits, fit_side)

    def measure(self, data: bytes) -> tuple[int, int]:
        """As `images.measure`."""
        with self._room(data):
            return images.measure(data, self._limits)

    @contextlib.contextmanager
    def _room(self, data: bytes) -> Iterator[None]:
        """Room for the pixels of an image, by its header; raises InvalidImageError."""
        num_pixels = images.count_pixels(data, self._limits)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: num_pixels <= self._num_free)
            self._num_free -= num_pixels
        try:
            yield
        finally:
            with self._freed:
                self._num_free += num_pixels
                self._freed.notify()
