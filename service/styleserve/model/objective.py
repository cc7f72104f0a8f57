"""PerceptualObjective: the targets of one canvas, which are looked for a tile at a time and then judged against.

`PendingLooks` are targets that no canvas waits for yet.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from styleserve.evaluation import WHOLE, Evaluation, Losses, Piece, Pixels
from styleserve.model.judge import Judge
from styleserve.model.looks import Features, Look
from styleserve.model.targets import Grams, blend
from styleserve.model.tiling import Box, TiledEvaluation
from styleserve.recipes import Recipe

Tensor: TypeAlias = tf.Tensor


@dataclass(frozen=True, slots=True)
class Sources:
    """Of what an objective's tensors are made.

    `weights` are those of content, style and total variation, and the content's bound. `styles` are the looks at every
    style of a blend, for each size at which it is compared; `shares` are the styles' parts of the blend, which sum to
    1. `content` is the look at the content.
    """

    weights: tuple[float, float, float, float]
    styles: Sequence[Sequence[Look[Grams]]]
    shares: Sequence[float]
    content: Look[Features]

    @property
    def looks(self) -> list[Look[Grams] | Look[Features]]:
        """All of them, in the order in which they are done."""
        return [*(look for of_size in self.styles for look in of_size), self.content]

    def tensors(self, judge: Judge) -> tuple[Tensor, ...]:
        """The weights, [1, 4]; the content's features, [1, H_l, W_l, C_l] a layer; Gram matrices, [1, C_l, C_l]."""
        grams = [
            gram for of_size in self.styles for gram in blend([look.finish() for look in of_size], list(self.shares))
        ]
        return (
            tf.constant([self.weights], tf.float32),
            *self.content.finish(),
            *(
                tf.constant(gram[np.newaxis] * judge.gram_gain(tap.name))
                for gram, (tap, _, _) in zip(grams, judge.form.style_comparisons, strict=True)
            ),
        )


class PerceptualObjective:
    """The targets of one canvas of `height` x `width` pixels; `tile_side` is that of the tiles it is judged in.

    Its looks are begun one after the other, so that no more than one image of them is in memory.
    """

    def __init__(self, judge: Judge, height: int, width: int, tile_side: int | None, sources: Sources) -> None:
        self.form = judge.form
        self.height = height
        self.width = width
        self.tile_side = tile_side
        self.network_passes = 0
        self._judge = judge
        self._sources: Sources | None = sources
        self._left = deque(sources.looks)
        self._tensors: tuple[Tensor, ...] = ()
        self._in_tiles: TiledEvaluation | None = None
        self._begin_next()

    @property
    def is_ready(self) -> bool:
        """Whether all targets are there."""
        return not self._left

    @property
    def piece(self) -> Piece:
        """What comes next: a tile of a look, with a pass of the network there, or what there is to be judged.

        Of a look that is yet to be begun, because another canvas has done the one before, no tile is known.
        """
        if not self.is_ready:
            tile = self._left[0].coming or Box(0, 0, self.height, self.width)
            share = tile.num_pixels / (3 * self.height * self.width)
            return Piece(("look", tile.bottom - tile.top, tile.right - tile.left), share)
        return WHOLE if self._in_tiles is None else self._in_tiles.piece

    @property
    def batch_key(self) -> Hashable:
        """Equal for canvases that one traced call can judge together."""
        return self.form, self.height, self.width, self.tile_side, self.is_ready

    def look(self) -> None:
        """See one tile of what is still to be seen."""
        self._begin_next()
        look = self._left[0]
        look.advance()
        self.network_passes += look.found is not None
        self._begin_next()

    def tensors(self) -> tuple[Tensor, ...]:
        """All that the loss needs beside the canvas; what was not seen yet is seen now."""
        while not self.is_ready:
            self.look()
        return self._tensors

    def judge_tile(self, canvas: Pixels) -> Evaluation | None:
        """Judge the next tile of a canvas that is judged in tiles; the judgement comes after the last."""
        self.tensors()
        assert self._in_tiles is not None
        judged = self._in_tiles.advance(canvas[np.newaxis])
        if judged is None:
            return None
        losses, gradient = judged
        return Evaluation(Losses(*losses[0].numpy().tolist()), gradient[0])

    def _begin_next(self) -> None:
        """Begin the first look that has something to see; put the tensors together when there is none any more."""
        while self._left:
            self._left[0].begin()
            if self._left[0].found is None:
                return
            self._left.popleft()
        if self._sources is not None:
            self._tensors = self._sources.tensors(self._judge)
            self._sources = None
            if self.tile_side is not None:
                self._in_tiles = TiledEvaluation(self._judge, self._tensors, self.height, self.width, self.tile_side)


class PendingLooks:
    """Looks at one style for targets of `recipe`, done and kept one after the other before anybody asks for them.

    To decode the style for one of them is a piece of its own, in which the network sees nothing. A canvas may share a
    look, and come further with it meanwhile.
    """

    def __init__(self, recipe: Recipe, looks: Sequence[Look[Grams]]) -> None:
        self.recipe = recipe
        self._left = deque(looks)

    @property
    def is_ready(self) -> bool:
        """Whether all is found."""
        return not self._left

    @property
    def coming_pixels(self) -> int:
        """Pixels of the tile that the network sees next; 0 where a look is yet to be begun, or all is found."""
        coming = self._left[0].coming if self._left else None
        return 0 if coming is None else coming.num_pixels

    def look(self) -> int:
        """Begin the next look, or see a tile; returns how many passes of the network that completes."""
        look = self._left[0]
        sees = look.coming is not None
        if sees:
            look.advance()
        else:
            look.begin()
        if look.found is None:
            return 0
        self._left.popleft()
        return int(sees)
