"""Frames: which previews a watcher wants, which are due to it, and which it never saw."""

import time
from dataclasses import dataclass

from styleserve.observing.happenings import PreviewDropped, PreviewSent
from styleserve.observing.observer import Observer

#: What the server allows of previews.
MAX_PREVIEW_SIDE = 512
MIN_PREVIEW_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class PreviewWish:
    """Which previews a watcher wants: at most `max_side` pixels, `interval_s` apart, `max_count` (0: all) of them."""

    max_side: int = 256
    interval_s: float = 1.0
    max_count: int = 0


class Frames:
    """Which previews one watcher still has coming, of those after `last_sequence`."""

    def __init__(self, wish: PreviewWish | None, observer: Observer, last_sequence: int) -> None:
        self._wish = wish
        self._observer = observer
        self._last_sequence = last_sequence
        self._num_taken = 0
        self._due = 0.0

    @property
    def has_all(self) -> bool:
        """Whether the watcher has had as many as it wanted."""
        return self._wish is not None and 0 < self._wish.max_count <= self._num_taken

    def is_due(self) -> bool:
        """Whether the watcher may have a preview now."""
        return self._wish is not None and not self.has_all and time.monotonic() >= self._due

    def miss(self, sequence: int) -> None:
        """The preview of this number is gone; it was dropped if it was due to the watcher and had not been taken."""
        if sequence > self._last_sequence and self.is_due():
            self._observer.hear(PreviewDropped())

    def take(self, sequence: int) -> PreviewWish:
        """Note that the preview of this number is sent; returns what was wished."""
        assert self._wish is not None
        self._observer.hear(PreviewSent())
        self._last_sequence = sequence
        self._num_taken += 1
        self._due = time.monotonic() + self._wish.interval_s
        return self._wish
