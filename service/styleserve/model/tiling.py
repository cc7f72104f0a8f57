"""Tiling: judging a canvas that is too large for the memory in tiles, exactly.

All that the losses need are sums over positions (`losses`), and those of the tiles add up to those of the canvas. So
the first pass adds up the sums tile by tile; of the totals follow the losses and their slope in each sum; the second
pass goes over the tiles again and pulls the slopes back to the pixels. A tile is its core, which counts, and a halo as
wide as the network looks, so that every feature of the core is what it is in the whole canvas: there are no seams, and
no departure but the rounding of sums. The price is one more forward pass, and the halos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from styleserve.evaluation import Piece, Pixels
from styleserve.model.form import Form
from styleserve.model.judge import Judge
from styleserve.model.weights import BLOCKS
from styleserve.recipes import MAX_STYLE_SIZES

Tensor: TypeAlias = tf.Tensor
ArrayT = TypeVar("ArrayT", Tensor, Pixels)

#: Cores begin at multiples of this many pixels, so that every pooling pairs the same pixels as in the whole canvas.
ALIGNMENT: int = 2 ** (len(BLOCKS) - 1) * 2 ** (MAX_STYLE_SIZES - 1)


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

    def of(self, array: ArrayT, stride: int = 1) -> ArrayT:
        """That part of [B, H, W, C] whose positions are `stride` pixels apart."""
        rows = slice(self.top // stride, self.bottom // stride)
        part: ArrayT = array[:, rows, self.left // stride : self.right // stride]
        return part

    def to_tensor(self) -> Tensor:
        """As [top, left, bottom, right]."""
        return tf.constant([self.top, self.left, self.bottom, self.right])


def halo(form: Form) -> int:
    """How far the taps look where the canvas is shrunk most, rounded up so that a tile begins where its poolings do."""
    of_content, of_style = (max(tap.radius for tap in taps) for taps in (form.content_taps, form.style_taps))
    widest = max(of_content, form.shrinks[-1] * of_style)
    return aligned(widest)


def aligned(side: int) -> int:
    """The least multiple of the alignment that is not less."""
    return -(-side // ALIGNMENT) * ALIGNMENT


def cores(height: int, width: int, side: int) -> Iterator[Box]:
    """Parts of at most `side` x `side` pixels that cover the canvas once."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


class TiledEvaluation:
    """Evaluates one canvas of `height` x `width` pixels, a tile a call, in tiles whose cores are `side` pixels wide.

    The calls for the sums of the tiles come before those for what is pulled back to them. After the last it begins
    anew. Canvas and gradient are arrays, of which the device sees a tile at a time.
    """

    def __init__(self, judge: Judge, targets: Sequence[Tensor], height: int, width: int, side: int) -> None:
        self.side = side
        self._judge = judge
        self._weights, self._contents, self._grams = judge.unpack(targets)
        self._height, self._width = height, width
        self._tiles = list(tiles(judge.form, height, width, side))
        self._begin()

    def _begin(self) -> None:
        self._num_done = 0
        self._totals: list[Tensor] = []
        self._losses: Tensor = None
        self._slopes: list[Tensor] = []
        self._gradient = np.empty(0, np.float32)

    @property
    def piece(self) -> Piece:
        """What the next call does; to pull back takes a pass of the network there and one back, sums one there."""
        is_sum, tile = self._num_done < len(self._tiles), self._next_tile()[1]
        num_pixels = sum(own.num_pixels for _, own in self._tiles)
        share = (1 if is_sum else 2) * tile.num_pixels / (3 * num_pixels)
        return Piece((is_sum, tile.bottom - tile.top, tile.right - tile.left), share)

    def advance(self, canvas: Pixels) -> tuple[Tensor, Pixels] | None:
        """Do the next piece for the canvas, [1, H, W, 3]; of the last come losses, [1, 4], and gradient, [1, H, W, 3].

        None before.
        """
        if self._num_done < len(self._tiles):
            self._add_sums(canvas)
        else:
            self._pull_back(canvas)
        self._num_done += 1
        if self._num_done < 2 * len(self._tiles):
            return None
        evaluation = self._losses, self._gradient
        self._begin()
        return evaluation

    def _add_sums(self, canvas: Pixels) -> None:
        sums = self._judge.traced("sums")(*self._arguments(canvas))
        totals = self._totals
        self._totals = [total + own for total, own in zip(totals, sums, strict=True)] if totals else list(sums)

    def _pull_back(self, canvas: Pixels) -> None:
        if self._num_done == len(self._tiles):
            size = tf.constant([self._height, self._width])
            judged = self._judge.traced("losses_and_slopes")(self._totals, self._weights, list(self._grams), size)
            self._losses, *self._slopes = judged
            self._gradient = np.zeros(canvas.shape, np.float32)
        (pulled,) = self._judge.traced("pull_back")(*self._arguments(canvas), self._slopes)
        _, tile = self._next_tile()
        self._gradient[:, tile.top : tile.bottom, tile.left : tile.right] += pulled.numpy()

    def _arguments(self, canvas: Pixels) -> tuple[Tensor, list[Tensor], Tensor]:
        core, tile = self._next_tile()
        taps = self._judge.form.content_taps
        contents = [core.of(content, tap.stride) for content, tap in zip(self._contents, taps, strict=True)]
        return tf.constant(tile.of(canvas)), contents, core.within(tile).to_tensor()

    def _next_tile(self) -> tuple[Box, Box]:
        return self._tiles[self._num_done % len(self._tiles)]


def tiles(form: Form, height: int, width: int, side: int) -> Iterator[tuple[Box, Box]]:
    """The cores of a canvas, each with the tile around it."""
    assert side % ALIGNMENT == 0
    margin = halo(form)
    return ((core, core.widened(margin, height, width)) for core in cores(height, width, side))
