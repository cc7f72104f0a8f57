"""Tiling: judging a canvas that is too large for the memory in tiles, exactly.

All that the losses need are sums over positions (`losses`), and those of the tiles add up to those of the canvas. So
the first pass adds up the sums tile by tile; of the totals follow the losses and their slope in each sum; the second
pass goes over the tiles again and pulls the slopes back to the pixels. A tile is its core, which counts, and a halo as
wide as the network looks, so that every feature of the core is what it is in the whole canvas: there are no seams, and
no departure but the rounding of sums. The price is one more forward pass, and the halos. Where style is compared at
several sizes, each has tiles of its own: tiles of the canvas would need halos as wide as the network looks at the
smallest, twice as wide or more, and all sizes would be in memory at once.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from styleserve.evaluation import Piece, Pixels
from styleserve.model.judge import Judge, shrunk, spread
from styleserve.model.vgg import Tap
from styleserve.model.weights import BLOCKS

Tensor: TypeAlias = tf.Tensor
ArrayT = TypeVar("ArrayT", Tensor, Pixels)

#: Cores begin at multiples of this many pixels, so that every pooling pairs the same pixels as in the whole canvas.
ALIGNMENT: int = 2 ** (len(BLOCKS) - 1)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a canvas in pixels; bottom and right are excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def num_pixels(self) -> int:
        """Its size."""
        return (self.bottom - self.top) * (self.right - self.left)

    def widened(self, margin: int, height: int, width: int) -> "Box":
        """The box with a margin on each side, as far as the canvas goes."""
        return Box(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(height, self.bottom + margin),
            min(width, self.right + margin),
        )

    def within(self, other: "Box") -> "Box":
        """The same part in the pixels of a box around it."""
        return Box(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)

    def times(self, factor: int) -> "Box":
        """The same part in the pixels of a canvas that is so many times as large."""
        return Box(factor * self.top, factor * self.left, factor * self.bottom, factor * self.right)

    def of(self, array: ArrayT, stride: int = 1) -> ArrayT:
        """That part of [B, H, W, C] whose positions are `stride` pixels apart."""
        rows = slice(self.top // stride, self.bottom // stride)
        part: ArrayT = array[:, rows, self.left // stride : self.right // stride]
        return part

    def to_tensor(self) -> Tensor:
        """As [top, left, bottom, right]."""
        return tf.constant([self.top, self.left, self.bottom, self.right])


def halo(taps: Sequence[Tap]) -> int:
    """How far the taps look, rounded up so that a tile begins where its poolings do."""
    return aligned(max(tap.radius for tap in taps))


def aligned(side: int) -> int:
    """The least multiple of the alignment that is not less."""
    return -(-side // ALIGNMENT) * ALIGNMENT


def cores(height: int, width: int, side: int) -> Iterator[Box]:
    """Parts of at most `side` x `side` pixels that cover the canvas once."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


@dataclass(frozen=True, slots=True)
class _Part:
    """A tile and its core, in the pixels of the canvas whose sides are divided by `shrink`."""

    shrink: int
    core: Box
    tile: Box

    @property
    def place(self) -> Box:
        """Where the canvas has the tile."""
        return self.tile.times(self.shrink)

    def seen(self, canvas: Pixels) -> Tensor:
        """What the network sees of the canvas."""
        return shrunk(tf.constant(self.place.of(canvas)), self.shrink)

    def core_in_tile(self) -> Tensor:
        """The core in the tile's pixels."""
        return self.core.within(self.tile).to_tensor()


class TiledEvaluation:
    """Evaluates one canvas of `height` x `width` pixels, a tile a call, in tiles whose cores are `side` pixels wide.

    These are the tiles of the canvas and, where style is compared at smaller sizes too, those of the shrunk canvases.
    The calls for the sums of the tiles come before those for what is pulled back to them. After the last it begins
    anew. Canvas and gradient are arrays, of which the device sees a tile at a time.
    """

    def __init__(self, judge: Judge, targets: Sequence[Tensor], height: int, width: int, side: int) -> None:
        self._judge = judge
        self._weights, self._contents, self._grams = judge.unpack(targets)
        self._height, self._width = height, width
        self._parts = [
            _Part(shrink, core, tile)
            for shrink in judge.form.shrinks
            for core, tile in tiles(judge.form.taps, height // shrink, width // shrink, side)
        ]
        self._begin()

    def _begin(self) -> None:
        self._num_done = 0
        self._totals: dict[int, list[Tensor]] = {}
        self._losses: Tensor = None
        self._slopes: dict[int, list[Tensor]] = {}
        self._gradient = np.empty(0, np.float32)

    @property
    def piece(self) -> Piece:
        """What the next call does; to pull back takes a pass of the network there and one back, sums one there."""
        is_sum, part = self._num_done < len(self._parts), self._next_part()
        num_pixels = sum(other.tile.num_pixels for other in self._parts)
        share = (1 if is_sum else 2) * part.tile.num_pixels / (3 * num_pixels)
        return Piece((is_sum, part.shrink, part.tile.bottom - part.tile.top, part.tile.right - part.tile.left), share)

    def advance(self, canvas: Pixels) -> tuple[Tensor, Pixels] | None:
        """Do the next piece for the canvas, [1, H, W, 3]; of the last come losses, [1, 4], and gradient, [1, H, W, 3].

        None before.
        """
        part = self._next_part()
        if self._num_done < len(self._parts):
            self._add_sums(part, canvas)
        else:
            self._pull_back(part, canvas)
        self._num_done += 1
        if self._num_done < 2 * len(self._parts):
            return None
        evaluation = self._losses, self._gradient
        self._begin()
        return evaluation

    def _add_sums(self, part: _Part, canvas: Pixels) -> None:
        seen, core = part.seen(canvas), part.core_in_tile()
        if part.shrink == 1:
            sums = self._judge.traced("full_sums")(seen, self._contents_of(part), core)
        else:
            sums = self._judge.traced("gram_sums")(seen, core)
        totals = self._totals.get(part.shrink)
        added = sums if totals is None else [total + own for total, own in zip(totals, sums, strict=True)]
        self._totals[part.shrink] = list(added)

    def _pull_back(self, part: _Part, canvas: Pixels) -> None:
        if self._num_done == len(self._parts):
            self._judge_totals()
            self._gradient = np.zeros(canvas.shape, np.float32)
        seen, core, slopes = part.seen(canvas), part.core_in_tile(), self._slopes[part.shrink]
        if part.shrink == 1:
            (pulled,) = self._judge.traced("pull_back")(seen, self._contents_of(part), core, slopes)
        else:
            (pulled,) = self._judge.traced("pull_back_grams")(seen, core, slopes)
        part.place.of(self._gradient)[...] += spread(pulled.numpy(), part.shrink)

    def _judge_totals(self) -> None:
        """Losses of the totals of all sizes, and their slopes, those of each size by themselves."""
        totals = list(itertools.chain.from_iterable(self._totals.values()))
        size = tf.constant([self._height, self._width])
        self._losses, *slopes = self._judge.traced("losses_and_slopes")(totals, self._weights, list(self._grams), size)
        left = iter(slopes)
        self._slopes = {shrink: list(itertools.islice(left, len(own))) for shrink, own in self._totals.items()}

    def _contents_of(self, part: _Part) -> list[Tensor]:
        taps = self._judge.form.content_taps
        return [
            tf.convert_to_tensor(part.core.of(content, tap.stride))
            for content, tap in zip(self._contents, taps, strict=True)
        ]

    def _next_part(self) -> _Part:
        return self._parts[self._num_done % len(self._parts)]


def tiles(taps: Sequence[Tap], height: int, width: int, side: int) -> Iterator[tuple[Box, Box]]:
    """The cores of a canvas, each with the tile around it by which the taps see in the core what they see there."""
    assert side % ALIGNMENT == 0
    margin = halo(taps)
    return ((core, core.widened(margin, height, width)) for core in cores(height, width, side))
