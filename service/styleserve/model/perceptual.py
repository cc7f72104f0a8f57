"""PerceptualEvaluator: judges canvases by VGG19's features, a whole batch with one forward and one backward pass."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from styleserve import images
from styleserve.evaluation import Evaluation, Losses, Objective, Pixels, StyleImage
from styleserve.model import losses
from styleserve.model.calibration import natural_image
from styleserve.model.targets import MAX_STYLE_SIDE, Grams, TargetCache, TargetKey, TargetStore, blend, style_size
from styleserve.model.vgg import TAPS, Tap, Vgg19
from styleserve.model.weights import Weights
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.recipes import LossDesign, Recipe, plan_scales

Tensor: TypeAlias = tf.Tensor
Precision: TypeAlias = Literal["float32", "bfloat16"]

#: Longest sides up to which a catalogued style's targets are made before anybody asks.
PREPARED_SIDE = 512
#: Side of the image that tells how strong each layer's activations are.
_CALIBRATION_SIDE = 128


@dataclass(frozen=True, slots=True)
class Form:
    """All of a loss that is fixed when it is traced: its design and the arithmetic of the network."""

    design: LossDesign
    precision: Precision

    @property
    def content_taps(self) -> tuple[Tap, ...]:
        """Where content is compared."""
        return tuple(TAPS[name] for name, _ in self.design.content_layers)

    @property
    def style_taps(self) -> tuple[Tap, ...]:
        """Where style is compared."""
        return tuple(TAPS[name] for name, _ in self.design.style_layers)


@dataclass(frozen=True, slots=True)
class PerceptualObjective:
    """The targets of one canvas of `height` x `width` pixels.

    `tensors` are the weights of content, style and total variation, [1, 3]; the content's features, [1, H_l, W_l, C_l]
    a layer; and the style's Gram matrices, [1, C_l, C_l] a layer.
    """

    form: Form
    height: int
    width: int
    tensors: tuple[Tensor, ...]
    network_passes: int

    @property
    def batch_key(self) -> Hashable:
        """Equal for canvases that one traced call can judge together."""
        return self.form, self.height, self.width


class PerceptualEvaluator:
    """The evaluator of the service.

    `precision` is that of the network under Adam; a line search compares losses that differ by less than bfloat16's
    rounding, so L-BFGS-B always gets float32. Every traced function is traced once per form, for all sizes.
    """

    def __init__(self, weights: Weights, precision: Precision, store: TargetStore) -> None:
        self._digest = weights.digest
        self._precision = precision
        self._networks = {"float32": Vgg19(weights, tf.float32)}
        if precision == "bfloat16":
            self._networks["bfloat16"] = Vgg19(weights, tf.bfloat16)
        self._store = store
        self._cache = TargetCache()
        self._gains = self._measure_gains()
        self._functions: dict[Hashable, Callable[..., tuple[Tensor, ...]]] = {}

    def objective(self, content: Pixels, styles: Sequence[StyleImage], recipe: Recipe) -> PerceptualObjective:
        """Compute the targets of a canvas of the content's shape.

        Styles are resized so that their longest side is `scale` times the content's.
        """
        form = self._form(recipe)
        height, width = content.shape[:2]
        known = [self._style_grams(style, form, style.scale * max(height, width)) for style in styles]
        grams = blend([grams for grams, _ in known], [style.weight for style in styles])
        weights = (recipe.content_weight, recipe.style_weight, recipe.total_variation_weight)
        return PerceptualObjective(
            form,
            height,
            width,
            (
                tf.constant([weights], tf.float32),
                *self._content_features(content, form),
                *(
                    tf.constant(gram[np.newaxis] * self._gain(form, tap) ** 2)
                    for gram, tap in zip(grams, form.style_taps, strict=True)
                ),
            ),
            network_passes=1 + sum(passes for _, passes in known),
        )

    def evaluate(self, canvases: Sequence[Pixels], objectives: Sequence[Objective]) -> list[Evaluation]:
        """Judge canvases of one batch key."""
        known = [objective for objective in objectives if isinstance(objective, PerceptualObjective)]
        assert len(known) == len(canvases)
        form = known[0].form
        targets = [tf.concat(tensors, axis=0) for tensors in zip(*(own.tensors for own in known), strict=True)]
        judged, gradients = self._traced("judge", form)(tf.constant(np.stack(canvases)), *targets)
        return [
            Evaluation(Losses(*terms), gradient)
            for terms, gradient in zip(judged.numpy().tolist(), gradients.numpy(), strict=True)
        ]

    def prepare(self, style: StyleImage) -> int:
        """Compute the next of the style's targets for the default preset, up to 512 pixels, that is not kept yet."""
        recipe = PRESETS[DEFAULT_PRESET]
        form = self._form(recipe)
        sides = [scale.width for scale in plan_scales(recipe, PREPARED_SIDE, PREPARED_SIDE)]
        passes = (self._style_grams(style, form, style.scale * side)[1] for side in sides)
        return next((cost for cost in passes if cost > 0), 0)

    def signature(self, form: Hashable) -> tuple[tf.TensorSpec, ...]:
        """Types of an objective's tensors for any number of canvases of any size."""
        assert isinstance(form, Form)
        return (
            tf.TensorSpec([None, 3], tf.float32),
            *(tf.TensorSpec([None, None, None, tap.channels], tf.float32) for tap in form.content_taps),
            *(tf.TensorSpec([None, tap.channels, tap.channels], tf.float32) for tap in form.style_taps),
        )

    def judge(self, form: Hashable, canvases: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Losses [B, 4] (total, content, style, total variation) and gradients [B, H, W, 3]; to be traced.

        Each canvas adds its own total to the sum whose gradient is taken, so none sees another's.
        """
        assert isinstance(form, Form)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(canvases)
            terms = self._terms(form, canvases, targets)
            totals = tf.reduce_sum(terms, axis=1)
        gradients = tape.gradient(totals, canvases)
        return tf.concat([totals[:, None], terms], axis=1), gradients

    def _terms(self, form: Form, canvases: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """The weighted content, style and total variation loss of each canvas, [B, 3] float64."""
        design = form.design
        weights, *rest = targets
        contents, grams = rest[: len(form.content_taps)], rest[len(form.content_taps) :]
        features = self._features(form, canvases, (*form.content_taps, *form.style_taps))
        content = tf.add_n(
            [
                share * losses.content(features[name], target, design.distance)
                for (name, share), target in zip(design.content_layers, contents, strict=True)
            ]
        )
        style = tf.add_n(
            [
                share * losses.style(features[name], target, design.distance)
                for (name, share), target in zip(design.style_layers, grams, strict=True)
            ]
        )
        vary = losses.total_variation_mean if design.mean_total_variation else losses.total_variation_sum
        return tf.stack([content, style, vary(canvases)], axis=1) * tf.cast(weights, tf.float64)

    def _features(self, form: Form, canvases: Tensor, taps: Sequence[Tap]) -> dict[str, Tensor]:
        """Float32 features at the taps, divided by each layer's mean activation where the design asks for it."""
        network = self._networks[form.precision]
        raw = network.features(canvases, [tap.name for tap in taps], form.design.replicate_edges)
        return {tap.name: tf.cast(raw[tap.name], tf.float32) * self._gain(form, tap) for tap in taps}

    def _content_features(self, content: Pixels, form: Form) -> tuple[Tensor, ...]:
        return self._traced("content", form)(tf.constant(content[np.newaxis]))

    def _style_grams(self, style: StyleImage, form: Form, longest_side: float) -> tuple[Grams, int]:
        """A style's Gram matrices without gains, and the network passes they cost: 1, or 0 when they were known."""
        picture = images.decode(style.data, images.ImageLimits(), fit_side=MAX_STYLE_SIDE)
        original_height, original_width = picture.pixels.shape[:2]
        height, width = style_size(original_height, original_width, longest_side)
        key = TargetKey(
            image=style.key,
            network=self._digest,
            layers=tuple(tap.name for tap in form.style_taps),
            replicate_edges=form.design.replicate_edges,
            precision=form.precision,
            height=height,
            width=width,
        )
        known = self._cache.read(key)
        if known is None and style.is_catalogued:
            known = self._store.read(key)
        if known is not None:
            self._cache.write(key, known)
            return known, 0
        resized = images.resize(picture.pixels, height, width)
        grams = tuple(gram[0].numpy() for gram in self._traced("grams", form)(tf.constant(resized[np.newaxis])))
        self._cache.write(key, grams)
        if style.is_catalogued:
            self._store.write(key, grams)
        return grams, 1

    def _form(self, recipe: Recipe) -> Form:
        return Form(recipe.loss, "float32" if recipe.needs_float32 else self._precision)

    def _gain(self, form: Form, tap: Tap) -> float:
        return self._gains[tap.name] if form.design.rescaled else 1.0

    def _measure_gains(self) -> dict[str, float]:
        """One over the mean activation of each layer, on an image with the statistics of natural ones."""
        image = tf.constant(natural_image(_CALIBRATION_SIDE)[np.newaxis])
        features = self._networks["float32"].features(image, list(TAPS), replicate_edges=True)
        return {name: 1.0 / max(float(tf.reduce_mean(feature)), 1e-6) for name, feature in features.items()}

    def _traced(self, purpose: str, form: Form) -> Callable[..., tuple[Tensor, ...]]:
        """One of the evaluator's functions for objectives of one form: traced once, for any batch and any size."""
        key = purpose, form
        if key not in self._functions:
            self._functions[key] = self._trace(purpose, form)
        return self._functions[key]

    def _trace(self, purpose: str, form: Form) -> Callable[..., tuple[Tensor, ...]]:
        pixels = tf.TensorSpec([None, None, None, 3], tf.float32)

        def judge(canvases: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
            return self.judge(form, canvases, targets)

        def content(canvases: Tensor) -> tuple[Tensor, ...]:
            return tuple(self._features(form, canvases, form.content_taps).values())

        def grams(canvases: Tensor) -> tuple[Tensor, ...]:
            network = self._networks[form.precision]
            names = [tap.name for tap in form.style_taps]
            raw = network.features(canvases, names, form.design.replicate_edges)
            return tuple(losses.gram(raw[name]) for name in names)

        function = {"judge": judge, "content": content, "grams": grams}[purpose]
        targets = self.signature(form) if purpose == "judge" else ()
        return tf.function(function, input_signature=[pixels, *targets], autograph=False)  # type: ignore[no-any-return]
