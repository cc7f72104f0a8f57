"""A toy evaluator, with arithmetic that fits on a napkin, to drive optimizers, engine and server by.

    style loss(x) = p/2 sum (x - t)^2,     gradient = p (x - t),     t = the blend of the styles' mean colours

The pull p is 1 unless said. Content and total variation are 0. From x = 0.2 towards t = 0.6 on 4 x 4 x 3 values: loss
1/2 * 48 * 0.16 = 3.84. Adam's first move is its learning rate in the gradient's direction, whatever that is: with 0.02
it comes to 0.22, and the loss to 1/2 * 48 * 0.38^2 = 3.4656. L-BFGS-B finds t itself within a few evaluations.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from styleserve import images, memory
from styleserve.costs import Canvases, CostModel, EvaluationCost, Line, Upkeep
from styleserve.engine.checkpoints import CheckpointFolder, Checkpoints
from styleserve.engine.engine import Engine
from styleserve.evaluation import WHOLE, Evaluation, Losses, Objective, Piece, Pixels, StyleImage
from styleserve.events import EngineInfo
from styleserve.optimizers import AnyOptimizer
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.optimizers.lbfgsb import Lbfgsb
from styleserve.presets import PRESETS
from styleserve.recipes import OPTIMIZERS, OptimizerName, Recipe
from styleserve.workers.loop import Report
from support.plodder import Plodder

#: A megapixel costs 10 ms and 1 GB, one of a tile 20 ms and 0.5 GB; a job keeps 76 MB a megapixel beside its content.
TOY_COST = EvaluationCost(
    seconds=Line(0.0, 1e-8),
    working_bytes=Line(0.0, 1000.0),
    tile_seconds=Line(0.0, 2e-8),
    tile_bytes=Line(0.0, 500.0),
    first_seconds=Line(0.0, 0.0),
    content_seconds=Line(0.0, 0.0),
    style_seconds=Line(0.0, 0.0),
    halo=16,
    target_bytes_per_pixel=28.0,
)
TOY_COSTS = CostModel(
    budget_bytes=10**10,
    base_bytes=0,
    costs=((PRESETS["classic"], TOY_COST),),
    upkeep=dict.fromkeys(OPTIMIZERS, Upkeep(Canvases(4))),
)
TOY_INFO = EngineInfo("toy@sha256:000000000000", True, "cpu", "float32", TOY_COSTS)


@dataclass
class ToyObjective:
    """The target canvas, all one colour; `unseen` are pieces of so many pixels that are to be looked at before."""

    target: Pixels
    network_passes: int = 1
    form: Hashable = "toy"
    tile_side: int | None = None
    unseen: list[int] = field(default_factory=list)
    see: Callable[[int], None] = lambda num_pixels: None

    @property
    def piece(self) -> Piece:
        if self.is_ready:
            return WHOLE
        return Piece(self.unseen[0], self.unseen[0] / self.target[..., 0].size)

    @property
    def batch_key(self) -> Hashable:
        return self.target.shape, self.tile_side, self.is_ready

    @property
    def is_ready(self) -> bool:
        return not self.unseen

    def look(self) -> None:
        self.see(self.unseen.pop(0))

    def tensors(self) -> tuple[Any, ...]:
        import tensorflow as tf

        return (tf.constant(self.target[np.newaxis]),)


@dataclass
class ToyPending:
    """Targets of a style of which pieces of so many pixels are `unseen`."""

    unseen: list[int]
    see: Callable[[int], None]
    recipe: Recipe = PRESETS["classic"]

    @property
    def is_ready(self) -> bool:
        return not self.unseen

    @property
    def coming_pixels(self) -> int:
        return self.unseen[0]

    def look(self) -> int:
        self.see(self.unseen.pop(0))
        return 1


@dataclass
class ToyEvaluator:
    """Judges by the toy loss; `batches` notes the size of every batch, `before_step` may slow it down or break it.

    `before_pixels` may too, and is told how many pixels are judged, or looked at: `unseen` says in which pieces that is
    done, and `unprepared` in which those of a style are prepared.
    Styles whose blend is all `diverging_colour` have losses that are no numbers.
    """

    before_step: Callable[[], None] = lambda: None
    diverging_colour: float | None = None
    before_pixels: Callable[[int], None] = lambda num_pixels: None
    pull: float = 1.0
    batches: list[int] = field(default_factory=list)
    unseen: Callable[[Pixels, Sequence[StyleImage]], list[int]] = lambda content, styles: []
    unprepared: tuple[int, ...] = ()
    content_bound: float = 1.0

    def calibrate(self, content: Pixels, recipe: Recipe) -> tuple[Recipe, int]:
        return dataclasses.replace(recipe, content_bound=self.content_bound), 0

    def objective(
        self, content: Pixels, styles: Sequence[StyleImage], recipe: Recipe, tile_side: int | None = None
    ) -> ToyObjective:
        colours = [images.decode(style.data, images.ImageLimits()).pixels.mean(axis=(0, 1)) for style in styles]
        blend = sum(style.weight * colour for style, colour in zip(styles, colours, strict=True))
        if self.diverging_colour is not None and np.allclose(blend, self.diverging_colour):
            blend = np.nan
        target = np.broadcast_to(np.float32(blend), content.shape).copy()
        return ToyObjective(target, tile_side=tile_side, unseen=self.unseen(content, styles), see=self.before_pixels)

    def evaluate(self, canvases: Sequence[Pixels], objectives: Sequence[Objective]) -> list[Evaluation]:
        self._note_batch((len(canvases), *canvases[0].shape))
        return [self._evaluate(*pair) for pair in zip(canvases, objectives, strict=True)]

    def _evaluate(self, canvas: Pixels, objective: Objective) -> Evaluation:
        assert isinstance(objective, ToyObjective)
        difference = canvas - objective.target
        loss = 0.5 * self.pull * float(np.sum(np.square(difference, dtype=np.float64)))
        return Evaluation(Losses(total=loss, content=0.0, style=loss, total_variation=0.0), self.pull * difference)

    def has_targets(self, style: StyleImage, recipe: Recipe, height: int, width: int) -> bool:
        return False

    def prepare(self, style: StyleImage) -> ToyPending:
        return ToyPending(list(self.unprepared), self.before_pixels)

    def signature(self, form: Hashable) -> tuple[Any, ...]:
        import tensorflow as tf

        return (tf.TensorSpec([None, None, None, 3], tf.float32),)

    def judge(self, form: Hashable, canvases: Any, targets: Sequence[Any]) -> tuple[Any, Any]:
        import tensorflow as tf

        tf.py_function(self._note_batch, [tf.shape(canvases)], [])
        difference = canvases - targets[0]
        loss = 0.5 * self.pull * tf.reduce_sum(tf.cast(difference, tf.float64) ** 2, axis=[1, 2, 3])
        zero = tf.zeros_like(loss)
        return tf.stack([loss, zero, loss, zero], axis=1), self.pull * difference

    def _note_batch(self, shape: Any) -> None:
        size, height, width, _ = (int(length) for length in shape)
        self.before_step()
        self.before_pixels(size * height * width)
        self.batches.append(size)


class WavyEvaluator(ToyEvaluator):
    """Pulls each value by its own strength, so that no optimizer finds the end at once."""

    @staticmethod
    def _strength(shape) -> np.ndarray:
        return np.resize(np.geomspace(0.05, 1.0, 97), shape).astype(np.float32)

    def _evaluate(self, canvas, objective):
        evaluation = super()._evaluate(canvas, objective)
        strength = self._strength(canvas.shape)
        loss = 0.5 * float(np.sum(strength * np.square(evaluation.gradient, dtype=np.float64)))
        losses = dataclasses.replace(evaluation.losses, total=loss, style=loss)
        return dataclasses.replace(evaluation, losses=losses, gradient=strength * evaluation.gradient)


@dataclass(frozen=True)
class ToyEngineFactory:
    """Builds an engine with the toy evaluator and every optimizer; picklable, so a process can build it too.

    Without Adam a `Plodder` stands in for it, and a process is there in a second: it imports no TensorFlow.
    """

    before_step: Callable[[], None] = lambda: None
    diverging_colour: float | None = None
    costs: CostModel = TOY_COSTS
    checkpoints_dir: Path | None = None
    checkpoint_s: float = 10.0
    pull: float = 1.0
    network: str = "toy"
    content_bound: float = 1.0
    has_adam: bool = True

    def __call__(self, report: Report) -> tuple[Engine, EngineInfo]:
        evaluator = ToyEvaluator(
            self.before_step, self.diverging_colour, pull=self.pull, content_bound=self.content_bound
        )
        checkpoints = (
            None if self.checkpoints_dir is None else Checkpoints(CheckpointFolder(self.checkpoints_dir), self.network)
        )
        engine = Engine(
            evaluator,
            self._optimizers(evaluator),
            report,
            costs=self.costs,
            checkpoints=checkpoints,
            checkpoint_s=self.checkpoint_s,
            resident_bytes=memory.resident_bytes,
        )
        return engine, dataclasses.replace(TOY_INFO, weights=f"{self.network}@sha256:{'0' * 12}", costs=self.costs)

    def _optimizers(self, evaluator: ToyEvaluator) -> Mapping[OptimizerName, AnyOptimizer]:
        if not self.has_adam:
            return {"adam": Plodder(evaluator), "lbfgs": Lbfgs(evaluator), "lbfgsb": Lbfgsb(evaluator)}
        from styleserve.optimizers.table import every_optimizer

        return every_optimizer(evaluator)


def plain_image(colour: float | tuple[float, float, float], height: int = 4, width: int = 4) -> Pixels:
    """An image of one colour."""
    return np.broadcast_to(np.float32(colour), (height, width, 3)).copy()


def plain_style(colour: float | tuple[float, float, float], weight: float = 1.0) -> StyleImage:
    """A style image of one colour; the key says which."""
    return StyleImage(
        key=f"plain-{colour}",
        data=images.encode(images.Picture(plain_image(colour, 16, 16)), "png").data,
        weight=weight,
    )
