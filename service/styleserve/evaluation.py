"""The waist of the hourglass: what an evaluator is asked and what it answers.

Above it are optimizers and the engine, which know nothing of networks; below it is whatever can judge a canvas. A toy
evaluator of ten lines stands in for the network in tests.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from styleserve import images
from styleserve.recipes import Recipe

Pixels: TypeAlias = images.Pixels


@dataclass(frozen=True, slots=True)
class Losses:
    """The weighted loss terms of one canvas; `total` is their sum."""

    total: float
    content: float
    style: float
    total_variation: float

    @property
    def is_finite(self) -> bool:
        """Whether every term is a number."""
        return all(np.isfinite((self.total, self.content, self.style, self.total_variation)))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judgement of one canvas: its losses and the gradient of the total, [H, W, 3]."""

    losses: Losses
    gradient: Pixels


@dataclass(frozen=True, slots=True)
class StyleImage:
    """One style of a blend.

    `key` is the SHA-256 of `data`, the encoded image. `weight` is its share, all shares of a blend summing to 1;
    `scale` the size of its texture relative to the canvas. Targets of catalogued images are kept on disk.
    """

    key: str
    data: bytes
    weight: float = 1.0
    scale: float = 1.0
    is_catalogued: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """What is done next for a canvas: a look at a part of its targets, or a part of its evaluation.

    It takes `share` of the time of a whole evaluation. Pieces of one canvas with equal kinds cost the same.
    """

    kind: Hashable
    share: float


#: A canvas that is judged at once.
WHOLE = Piece(None, 1.0)


class Objective(Protocol):
    """What one canvas is judged against; opaque to all but the evaluator that made it.

    Its targets are computed a piece at a time, so that others need not wait for all of them; what is missing when it is
    needed is computed then.
    """

    @property
    def batch_key(self) -> Hashable:
        """Canvases whose objectives have equal keys may be evaluated together; the canvas's shape is part of it."""
        ...

    @property
    def network_passes(self) -> int:
        """Passes of the network that its targets have cost by now; 0 when every one was known."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether all of its targets are there."""
        ...

    def look(self) -> None:
        """Compute the next piece of the targets of one that is not ready."""
        ...

    @property
    def tile_side(self) -> int | None:
        """Side of the tiles that the canvas is judged in; None when it is judged whole."""
        ...

    @property
    def piece(self) -> Piece:
        """What comes next of the targets, then of the evaluation; that is `WHOLE` for a canvas that is judged whole."""
        ...


class PendingTargets(Protocol):
    """Targets of one style that are computed before anybody asks, a piece at a time; `recipe` is whose they are."""

    @property
    def recipe(self) -> Recipe:
        """What they are for."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether all are kept."""
        ...

    @property
    def coming_pixels(self) -> int:
        """Pixels of the style that the network sees in the next piece; 0 where that is none of its passes."""
        ...

    def look(self) -> int:
        """Do the next piece; returns the network passes that ended with it."""
        ...


class Evaluator(Protocol):
    """Judges canvases.

    Law: an evaluation never depends on its batch-mates; nothing is averaged over the batch.
    """

    def calibrate(self, content: Pixels, recipe: Recipe) -> tuple[Recipe, int]:
        """Settle what of a recipe depends on the content; once a job, of the content at the size of the result.

        Returns the network passes that it cost beside the recipe.
        """
        ...

    def objective(
        self, content: Pixels, styles: Sequence[StyleImage], recipe: Recipe, tile_side: int | None = None
    ) -> Objective:
        """What a canvas of the content's shape is judged against, with its targets to be computed.

        With a `tile_side` the canvas will be judged in tiles of so many pixels, which needs less memory.
        """
        ...

    def has_targets(self, style: StyleImage, recipe: Recipe, height: int, width: int) -> bool:
        """Whether the style's targets of a canvas of this size are known, so that an objective takes no look at it."""
        ...

    def evaluate(self, canvases: Sequence[Pixels], objectives: Sequence[Objective]) -> Sequence[Evaluation | None]:
        """Judge canvases of one batch key, each against its own objective, in one pass of the network a canvas.

        Of a canvas that is judged in tiles, a call judges one piece, so that others need not wait for all of them. It
        answers None until the last: then ask again, with the same canvas. Objectives know what was done.
        """
        ...

    def prepare(self, style: StyleImage) -> PendingTargets:
        """The style's targets for the default preset, to be computed and kept as far as they are not kept yet."""
        ...
