"""The losses as pure functions of tensors, each with its equation: sums over positions, and what is made of them.

F_l is the feature map of layer l, [B, H_l, W_l, C_l]; P_l that of the content. N_l = C_l filters, M_l = H_l W_l
positions. Eq. numbers are those of Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural
Networks", CVPR 2016. Every loss is a function of sums over positions, and sums over the parts of an image add up to
those of the whole: by that a canvas that is too large for the memory is judged in tiles, without approximation.
Elements are float32 and their sums float64 (those of differences after each line of channels), since a sum in float32
misleads a line search; every loss is [B] float64.

Three gradients are written out, where TensorFlow's own take longer: those of the Gram matrix, of differences and of the
variation.
"""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from styleserve.recipes import FeatureDistance

Tensor: TypeAlias = tf.Tensor

#: Keeps distances and their gradients finite where there is no difference.
EPSILON = 1e-8


@tf.custom_gradient  # type: ignore[untyped-decorator]
def gram_sum(features: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The Gram matrix, eq. 3: G_ij = sum_k F_ik F_jk over the positions k, [B, C, C] float32.

    With the slope S in G its gradient is F (S + S^T), of which S is symmetric in every loss that compares two Gram
    matrices, so 2 F S: one product, in the arithmetic of the features. Both products are of the positions in two
    halves, so that they are of several matrices also for a single canvas, which would otherwise get another kernel,
    other rounding, and so a picture that depends on whether others were beside it.
    """
    shape = tf.shape(features)
    positions, channels = shape[1] * shape[2], features.shape[-1]
    flat = tf.reshape(features, [shape[0], positions, channels])
    even = tf.cond(positions % 2 == 0, lambda: flat, lambda: tf.pad(flat, [[0, 0], [0, 1], [0, 0]]))
    halves = tf.reshape(even, [2 * shape[0], (positions + 1) // 2, channels])
    wide = tf.cast(halves, tf.float32)

    def gradient(slope: Tensor) -> Tensor:
        pairs = tf.reshape(halves, [shape[0], 2, (positions + 1) // 2, channels])
        pulled = tf.matmul(pairs, tf.cast(2 * slope, features.dtype)[:, tf.newaxis])
        return tf.reshape(tf.reshape(pulled, tf.shape(even))[:, :positions], shape)

    grams = tf.matmul(wide, wide, transpose_a=True)
    return tf.reduce_sum(tf.reshape(grams, [shape[0], 2, channels, channels]), axis=1), gradient


def difference_sums(values: Tensor, target: Tensor, distance: FeatureDistance) -> Tensor:
    """What a distance needs of d = values - target over all axes but the first, [B, 3] float64.

    The sums of d^2, |d| and target^2; 0 in the place of those that the distance has no use for.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def sums(values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        difference = values - target
        squares = _sum_lines(tf.square(difference))
        absolutes = _sum_lines(tf.abs(difference)) if distance == "normalized" else tf.zeros_like(squares)
        target_squares = _sum_lines(tf.square(target)) if distance == "relative" else tf.zeros_like(squares)

        def gradient(slopes: Tensor) -> Tensor:
            of_square, of_absolute, _ = tf.unstack(tf.cast(slopes, tf.float32), axis=1)
            pulled = _beside(2 * of_square, difference) * difference
            if distance == "normalized":
                pulled += _beside(of_absolute, difference) * tf.sign(difference)
            return pulled

        return tf.stack([squares, absolutes, target_squares], axis=1), gradient

    return sums(values)


def content(sums: Tensor, num_values: Tensor, distance: FeatureDistance) -> Tensor:
    """Distance of features F to the content's P, of the `difference_sums` of `num_values` values.

    - `sum_square`: 1/2 sum (F - P)^2 (eq. 1)
    - `mean_square`: mean (F - P)^2
    - `normalized`: sum d^2 / (sum |d| + 1e-8), d = F - P
    - `relative`: sqrt((sum d^2 + 1e-8) / (sum P^2 + 1e-8))
    """
    return sums[:, 0] / 2 if distance == "sum_square" else _distance(sums, num_values, distance)


def excess(distance: Tensor, bound: Tensor) -> Tensor:
    """(max(0, D - b) / b)^2 for a bound b above 0: nothing up to it, and without a kink in its slope there."""
    return tf.square(tf.maximum(distance - bound, 0.0) / bound)


def style(gram: Tensor, target: Tensor, distance: FeatureDistance) -> Tensor:
    """Distance of a Gram matrix G / M to the target A / M, both [B, C, C].

    - `sum_square`: 1/(4 N^2 M^2) sum (G - A)^2 (eq. 4), which is 1/4 mean (G/M - A/M)^2
    - `mean_square`: mean (G/M - A/M)^2
    - `normalized`: sum d^2 / (sum |d| + 1e-8), d = G/M - A/M
    - `relative`: sqrt((sum d^2 + 1e-8) / (sum (A/M)^2 + 1e-8))
    """
    num_values = tf.shape(gram)[1] * tf.shape(gram)[2]
    loss = _distance(difference_sums(gram, target, distance), num_values, distance)
    return loss / 4 if distance == "sum_square" else loss


def variation_sums(canvases: Tensor, is_squared: bool) -> Tensor:
    """Sums of |x_down - x| and |x_right - x| over all neighbours, or of their squares, [B, 2] float64."""
    shape = tf.shape(canvases)
    rows = tf.reshape(canvases, [shape[0], shape[1], shape[2] * canvases.shape[-1]])
    down, right = _variation(rows, is_squared, canvases.shape[-1])
    return tf.stack([down, right], axis=1)


def total_variation(sums: Tensor, height: Tensor, width: Tensor, is_mean: bool) -> Tensor:
    """Total variation of a canvas of `height` x `width` pixels, of its `variation_sums`.

    The sum of the absolute differences (anisotropic, as `tf.image.total_variation`); or, as a mean, that of the squared
    ones down plus that of the squared ones to the right, which means the same at every size.
    """
    if not is_mean:
        return sums[:, 0] + sums[:, 1]
    down, right = 3 * (height - 1) * width, 3 * height * (width - 1)
    return sums[:, 0] / tf.cast(down, tf.float64) + sums[:, 1] / tf.cast(right, tf.float64)


def _variation(rows: Tensor, is_squared: bool, channels: int) -> Tensor:
    """Sums over the neighbours down and to the right, two [B] float64; rows hold pixel after pixel, [B, H, W * C]."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def sums(rows: Tensor) -> tuple[tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Tensor]]:
        down, right = rows[:, 1:] - rows[:, :-1], rows[:, :, channels:] - rows[:, :, :-channels]
        measure = tf.square if is_squared else tf.abs

        def gradient(slope_down: Tensor, slope_right: Tensor) -> Tensor:
            down_slopes, right_slopes = (
                tf.cast(slope, tf.float32)[:, None, None] * (2 * difference if is_squared else tf.sign(difference))
                for slope, difference in ((slope_down, down), (slope_right, right))
            )
            return _pull_back(down_slopes, 1, axis=1) + _pull_back(right_slopes, channels, axis=2)

        return (_sum(measure(down)), _sum(measure(right))), gradient

    return sums(rows)


def _pull_back(slopes: Tensor, distance: int, axis: int) -> Tensor:
    """From slopes in x[i + distance] - x[i] along the axis to slopes in x."""
    shape = tf.tensor_scatter_nd_update(tf.shape(slopes), [[axis]], [distance])
    edge = tf.zeros(shape, slopes.dtype)
    return tf.concat([edge, slopes], axis) - tf.concat([slopes, edge], axis)


def _distance(sums: Tensor, num_values: Tensor, distance: FeatureDistance) -> Tensor:
    squares, absolutes, target_squares = tf.unstack(sums, axis=1)
    match distance:
        case "sum_square" | "mean_square":
            return squares / tf.cast(num_values, tf.float64)
        case "normalized":
            return squares / (absolutes + EPSILON)
        case "relative":
            return tf.sqrt((squares + EPSILON) / (target_squares + EPSILON))


def _sum(values: Tensor) -> Tensor:
    """Over all axes but the first, in float64."""
    return tf.reduce_sum(tf.cast(values, tf.float64), axis=list(range(1, values.shape.rank)))


def _sum_lines(values: Tensor) -> Tensor:
    """The same, each line of the last axis in float32: a float64 of every element would take longer than the loss."""
    return _sum(tf.reduce_sum(values, axis=-1))


def _beside(factors: Tensor, values: Tensor) -> Tensor:
    """Factors [B] in a shape that multiplies values [B, ...]."""
    return tf.reshape(factors, [-1, *[1] * (values.shape.rank - 1)])
