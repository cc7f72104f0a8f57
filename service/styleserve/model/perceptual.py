"""PerceptualEvaluator: judges canvases by a network's features, a batch with one forward and one backward pass."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import tensorflow as tf

from styleserve import images
from styleserve.costs import STYLE_TILE_SIDE
from styleserve.evaluation import Evaluation, Losses, Objective, Pixels, StyleImage
from styleserve.images import MAX_SIDE, MIN_SIDE
from styleserve.model import looks, tiling
from styleserve.model.calibration import natural_image
from styleserve.model.form import Form, Precision
from styleserve.model.judge import Judge
from styleserve.model.latest import Latest
from styleserve.model.looks import Features, Look, Tiles
from styleserve.model.objective import PendingLooks, PerceptualObjective, Sources
from styleserve.model.style_pictures import StylePictures
from styleserve.model.targets import Grams, TargetKey, TargetStore
from styleserve.model.vgg import VggNetwork, taps_of
from styleserve.model.weights import Weights
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.recipes import CALIBRATED_SIDE, Recipe, plan_scales, style_side

Tensor: TypeAlias = tf.Tensor
#: Longest sides up to which a catalogued style's targets are made before anybody asks.
PREPARED_SIDE = 512
#: Targets in memory, each of up to 2.4 MB.
_MOST_TARGETS = 32
#: Side of the image that tells how strong each layer's activations are.
_CALIBRATION_SIDE = 128
#: Root mean square of the features of a content that is all but plain, in mean activations; natural ones have over 1.
_LEAST_FEATURES = 0.1
#: Bound of a content that may not move at all: excess is counted in bounds.
_LEAST_BOUND = 1e-3


class PerceptualEvaluator:
    """The evaluator of the service.

    `precision` is that of the network, but for L-BFGS-B, whose line search compares losses that differ by less than
    bfloat16's rounding: it always gets float32. Every traced function is traced once per form, for all sizes.
    `network` makes the network of its weights in an arithmetic; another that has the same taps can stand in.
    """

    def __init__(
        self,
        weights: Weights,
        precision: Precision,
        store: TargetStore,
        network: Callable[[Weights, tf.DType], VggNetwork] = VggNetwork,
    ) -> None:
        self._digest = weights.digest
        self._blocks = weights.blocks
        self._leeway = weights.leeway
        self._precision = precision
        self._networks = {"float32": network(weights, tf.float32)}
        if precision == "bfloat16":
            self._networks["bfloat16"] = network(weights, tf.bfloat16)
        self._store = store
        self._cache: Latest[TargetKey, Grams] = Latest(_MOST_TARGETS)
        self._pictures = StylePictures()
        self._gains = {name: 1.0 / mean for name, mean in {**self._measure_means(), **weights.means}.items()}
        self._judges: dict[Form, Judge] = {}
        self._looks: WeakValueDictionary[TargetKey, Look[Grams]] = WeakValueDictionary()

    def calibrate(self, content: Pixels, recipe: Recipe) -> tuple[Recipe, int]:
        """The recipe with its leeway as a share of the norm of the content's features, taken at one size for all."""
        if not recipe.loss.bounds_content:
            return recipe, 0
        reference = images.fit(content, CALIBRATED_SIDE)
        judge = self._judge(self._form(recipe, *reference.shape[:2]))
        features = _content_look(judge, reference, tile_side=None).finish()
        norms = [judge.strength(tap, of_layer) for tap, of_layer in zip(judge.form.content_taps, features, strict=True)]
        bound = self._leeway * recipe.content_leeway / max(*norms, _LEAST_FEATURES)
        return dataclasses.replace(recipe, content_bound=max(bound, _LEAST_BOUND)), 1

    def objective(
        self, content: Pixels, styles: Sequence[StyleImage], recipe: Recipe, tile_side: int | None = None
    ) -> PerceptualObjective:
        """Say what has to be looked at for a canvas of the content's shape.

        Styles are resized so that their longest side is `scale` times the content's.
        """
        height, width = content.shape[:2]
        longest = max(height, width)
        form = self._form(recipe, height, width)
        judge = self._judge(form)
        seen_at = [_seen_at(style, form, longest) for style in styles]
        sources = Sources(
            weights=(
                recipe.content_weight,
                recipe.style_weight,
                recipe.total_variation_weight,
                recipe.content_bound,
            ),
            styles=[
                [self._style_look(style, form, side) for style, side in zip(styles, sides, strict=True)]
                for sides in zip(*seen_at, strict=True)
            ],
            shares=[style.weight for style in styles],
            content=_content_look(judge, content, tile_side),
        )
        return PerceptualObjective(judge, height, width, tile_side, sources)

    def has_targets(self, style: StyleImage, recipe: Recipe, height: int, width: int) -> bool:
        """Whether the style's Gram matrices for a canvas of this size are in memory or on disk."""
        form = self._form(recipe, height, width)
        keys = [self._target_key(style, form, side) for side in _seen_at(style, form, max(height, width))]
        return all(key in self._cache or (style.is_catalogued and key in self._store) for key in keys)

    def evaluate(self, canvases: Sequence[Pixels], objectives: Sequence[Objective]) -> list[Evaluation | None]:
        """Judge canvases of one batch key; in tiles, one of each."""
        known = [objective for objective in objectives if isinstance(objective, PerceptualObjective)]
        assert len(known) == len(canvases)
        if known[0].tile_side is not None:
            return [own.judge_tile(canvas) for own, canvas in zip(known, canvases, strict=True)]
        targets = [_batch(tensors) for tensors in zip(*(own.tensors() for own in known), strict=True)]
        judged, gradients = self._judge(known[0].form).traced("judge")(tf.constant(np.stack(canvases)), targets)
        return [
            Evaluation(Losses(*terms), gradient)
            for terms, gradient in zip(judged.numpy().tolist(), gradients.numpy(), strict=True)
        ]

    def prepare(self, style: StyleImage) -> PendingLooks:
        """The style's targets for the default preset, up to 512 pixels, the smallest first."""
        recipe = PRESETS[DEFAULT_PRESET]
        form = self._form(recipe, PREPARED_SIDE, PREPARED_SIDE)
        scales = plan_scales(recipe, PREPARED_SIDE, PREPARED_SIDE)
        seen_at = {side for scale in scales for side in _seen_at(style, form, scale.width)}
        return PendingLooks(recipe, [self._style_look(style, form, side) for side in sorted(seen_at)])

    def signature(self, form: Hashable) -> tuple[tf.TensorSpec, ...]:
        """Types of an objective's tensors for any number of canvases of any size."""
        assert isinstance(form, Form)
        return form.target_types

    def judge(self, form: Hashable, canvases: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Losses [B, 4] (total, content, style, total variation) and gradients [B, H, W, 3]; to be traced."""
        return self._judge(form).judge(canvases, targets)

    def halo(self, recipe: Recipe) -> int:
        """How many pixels around its core a tile needs."""
        return tiling.halo(self._form(recipe, MAX_SIDE, MAX_SIDE).taps)

    def target_bytes_per_pixel(self, recipe: Recipe) -> float:
        """Bytes of a canvas's targets that grow with it: the content's features."""
        form = self._form(recipe, MAX_SIDE, MAX_SIDE)
        size = tf.as_dtype(form.precision).size
        return float(sum(size * tap.channels / tap.stride**2 for tap in form.content_taps))

    def _style_look(self, style: StyleImage, form: Form, side: int) -> Look[Grams]:
        """The look at a style for its Gram matrices without gains; the one that other canvases wait for, if any do."""
        key = self._target_key(style, form, side)
        look = self._looks.get(key)
        if look is None or look.found is not None:
            look = self._looks[key] = Look(partial(self._style_grams, style, form, key))
        return look

    def _style_grams(self, style: StyleImage, form: Form, key: TargetKey) -> Tiles[Grams]:
        """Find the matrices of a key; only an image that is not known is decoded and seen."""
        known = self._cache.read(key)
        if known is None and style.is_catalogued:
            known = self._store.read(key)
        if known is not None:
            self._cache.write(key, known)
            return known
        seen = self._pictures.seen_at(style, key.side)
        matrices = yield from looks.gram_matrices(self._judge(form), seen[np.newaxis], key.tile_side)
        grams = tuple(matrix[0].numpy() for matrix in matrices)
        self._cache.write(key, grams)
        if style.is_catalogued:
            self._store.write(key, grams)
        return grams

    def _target_key(self, style: StyleImage, form: Form, side: int) -> TargetKey:
        return TargetKey(
            image=style.key,
            network=self._digest,
            layers=tuple(tap.name for tap in form.style_taps),
            replicate_edges=form.design.replicate_edges,
            precision=form.precision,
            side=side,
            tile_side=STYLE_TILE_SIDE,
        )

    def _form(self, recipe: Recipe, height: int, width: int) -> Form:
        """The form of a canvas; one too small to be seen at half its size is compared at its own alone."""
        design = recipe.loss
        if min(height, width) < 2 ** (design.style_sizes - 1) * MIN_SIDE:
            design = dataclasses.replace(design, style_sizes=1)
        return Form(design, "float32" if recipe.needs_float32 else self._precision, self._blocks)

    def _measure_means(self) -> dict[str, float]:
        """The mean activation of each layer, on an image with the statistics of natural ones."""
        image = tf.constant(natural_image(_CALIBRATION_SIDE)[np.newaxis])

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def means() -> dict[str, Tensor]:
            features = self._networks["float32"].features(image, list(taps_of(self._blocks)), replicate_edges=True)
            return {name: tf.reduce_mean(feature) for name, feature in features.items()}

        return {name: max(float(mean), 1e-6) for name, mean in means().items()}

    def _judge(self, form: Hashable) -> Judge:
        """The judge of a form, which is made when it is first needed."""
        assert isinstance(form, Form)
        if form not in self._judges:
            self._judges[form] = Judge(form, self._networks[form.precision], self._gains)
        return self._judges[form]


def _seen_at(style: StyleImage, form: Form, longest: int) -> list[int]:
    """The longest sides at which a style is seen for a canvas whose longest side is `longest`, one for each shrink."""
    return [style_side(style.scale * longest / shrink) for shrink in form.shrinks]


def _batch(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor of those of several canvases, [1, ...] each; that of a single one as it is, for a copy takes time."""
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, axis=0)


def _content_look(judge: Judge, content: Pixels, tile_side: int | None) -> Look[Features]:
    side = tile_side or tiling.aligned(max(content.shape))
    return Look(partial(looks.content_features, judge, content[np.newaxis], side))
