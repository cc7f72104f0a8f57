"""Looks: passes of the network over an image for a canvas's targets, a tile at a time, so that others have turns."""

import inspect
from collections.abc import Generator
from typing import Generic, TypeAlias, TypeVar

import tensorflow as tf

from styleserve.evaluation import Pixels
from styleserve.model import tiling
from styleserve.model.judge import Judge
from styleserve.model.tiling import Box

Tensor: TypeAlias = tf.Tensor
FoundT = TypeVar("FoundT")
#: Work that yields each tile before it is seen, and returns what was found in all of them.
Tiles: TypeAlias = Generator[Box, None, FoundT]


class Look(Generic[FoundT]):
    """Tiles on their way: `coming` is the one to be seen next, `found` is there after the last; both None at first."""

    def __init__(self, tiles: Tiles[FoundT]) -> None:
        self.coming: Box | None = None
        self.found: FoundT | None = None
        self._tiles = tiles

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it: all is found, or it has failed."""
        return inspect.getgeneratorstate(self._tiles) == inspect.GEN_CLOSED

    def begin(self) -> None:
        """Find out what comes first, if that was not done yet; nothing may be to be seen at all."""
        if self.coming is None and self.found is None:
            self.advance()

    def advance(self) -> None:
        """See the coming tile, or begin."""
        try:
            self.coming = next(self._tiles)
        except StopIteration as end:
            self.coming, self.found = None, end.value
        if self.coming is None and self.found is None:
            raise RuntimeError("this look has failed before, for another canvas that shared it")

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


def content_features(judge: Judge, content: Pixels, side: int) -> Tiles[list[Tensor]]:
    """Look for the content's features, [1, H_l, W_l, C_l] a layer, put together from those of the tiles."""
    height, width = content.shape[1:3]
    rows: dict[int, list[tuple[Tensor, ...]]] = {}
    for core, tile in tiling.tiles(judge.form.content_taps, height, width, side):
        yield tile
        features = judge.traced("content_features")(tf.constant(tile.of(content)), core.within(tile).to_tensor())
        rows.setdefault(core.top, []).append(features)
    return [
        tf.concat([tf.concat([features[layer] for features in row], axis=2) for row in rows.values()], axis=1)
        for layer in range(len(judge.form.content_taps))
    ]
