"""Looks: passes of the network over an image for a canvas's targets, a tile at a time, so that others have turns."""

from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from styleserve.evaluation import Pixels
from styleserve.model import tiling
from styleserve.model.judge import Judge
from styleserve.model.tiling import Box

Tensor: TypeAlias = tf.Tensor
FoundT = TypeVar("FoundT")
#: What the network sees at some layers: on the device, or where there is room for more.
Features: TypeAlias = Sequence[Tensor | npt.NDArray[np.generic]]
#: Work that yields each tile before it is seen, and returns what was found in all of them.
Tiles: TypeAlias = Generator[Box, None, FoundT]


class Look(Generic[FoundT]):
    """Tiles on their way: `coming` is the one to be seen next, `found` is there after the last; both None at first.

    `see` begins to see all of them. A tile that fails is a fault for whoever advances then; the next one begins anew,
    so that what one canvas met ends no other that shares the look.
    """

    def __init__(self, see: Callable[[], Tiles[FoundT]]) -> None:
        self.coming: Box | None = None
        self.found: FoundT | None = None
        self._see = see
        self._tiles: Tiles[FoundT] | None = None

    def begin(self) -> None:
        """Find out what comes first, if that was not done yet; nothing may be to be seen at all."""
        if self.coming is None and self.found is None:
            self.advance()

    def advance(self) -> None:
        """See the coming tile, or begin."""
        tiles = self._tiles or self._see()
        self._tiles, self.coming = None, None
        try:
            self.coming = next(tiles)
            self._tiles = tiles
        except StopIteration as end:
            self.found = end.value

    def finish(self) -> FoundT:
        """See all that is left."""
        while self.found is None:
            self.advance()
        return self.found


def gram_matrices(judge: Judge, style: Pixels, side: int) -> Tiles[list[Tensor]]:
    """Look for the Gram matrices G / M of a style image, [1, H, W, 3], not rescaled, a layer each.

    The halo is as wide as the style's layers look, so that nothing but them and the side changes a bit of the sums.
    """
    height, width = style.shape[1:3]
    totals: list[Tensor] = []
    for core, tile in tiling.tiles(judge.form.style_taps, height, width, side):
        yield tile
        sums = judge.traced("gram_sums")(tf.constant(tile.of(style)), core.within(tile).to_tensor())
        totals = [total + own for total, own in zip(totals, sums, strict=True)] if totals else list(sums)
    return [
        total / ((height // tap.stride) * (width // tap.stride))
        for total, tap in zip(totals, judge.form.style_taps, strict=True)
    ]


def content_features(judge: Judge, content: Pixels, side: int) -> Tiles[Features]:
    """Look for the content's features, [1, H_l, W_l, C_l] a layer.

    Those of a canvas of several tiles, which is large, are laid into arrays as they come, so that none is there twice.
    """
    height, width = content.shape[1:3]
    taps = judge.form.content_taps
    whole: list[npt.NDArray[np.generic]] = []
    for core, tile in tiling.tiles(taps, height, width, side):
        yield tile
        features = judge.traced("content_features")(tf.constant(tile.of(content)), core.within(tile).to_tensor())
        if core == Box(0, 0, height, width):
            return list(features)
        parts = [own.numpy() for own in features]
        whole = whole or [
            np.empty((1, height // tap.stride, width // tap.stride, tap.channels), part.dtype)
            for tap, part in zip(taps, parts, strict=True)
        ]
        for array, part, tap in zip(whole, parts, taps, strict=True):
            core.of(array, tap.stride)[...] = part
    return whole
