"""The losses as pure functions of tensors, each with its equation; every result is one number a canvas, float64, [B].

F_l is the feature map of layer l, [B, H_l, W_l, C_l]; P_l that of the content. N_l = C_l filters, M_l = H_l W_l
positions. Eq. numbers are those of Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural
Networks", CVPR 2016. Elements are float32 and their sums float64: a sum in float32 misleads a line search.
"""

from typing import TypeAlias

import tensorflow as tf

from styleserve.recipes import FeatureDistance

Tensor: TypeAlias = tf.Tensor

#: Keeps the normalized distance finite where there is no difference.
EPSILON = 1e-8


def gram(features: Tensor) -> Tensor:
    """G_l / M_l: the Gram matrix (eq. 3, G_ij = sum_k F_ik F_jk) divided by the positions, [B, C, C] float32.

    Departs from the paper: divided by M_l here, so that it is a mean that does not grow with the canvas; the style loss
    takes that into account.
    """
    shape = tf.shape(features)
    positions = shape[1] * shape[2]
    flat = tf.reshape(tf.cast(features, tf.float32), [shape[0], positions, features.shape[-1]])
    return tf.matmul(flat, flat, transpose_a=True) / tf.cast(positions, tf.float32)


def content(features: Tensor, target: Tensor, distance: FeatureDistance) -> Tensor:
    """Distance of the features to the content's, both [B, H, W, C].

    - `sum_square`: 1/2 sum (F - P)^2 (eq. 1)
    - `mean_square`: mean (F - P)^2
    - `normalized`: sum d^2 / (sum |d| + 1e-8), d = F - P
    """
    difference = tf.cast(features, tf.float32) - target
    match distance:
        case "sum_square":
            return _sum(tf.square(difference)) / 2
        case "mean_square":
            return _mean(tf.square(difference))
        case "normalized":
            return _normalized(difference)


def style(features: Tensor, target: Tensor, distance: FeatureDistance) -> Tensor:
    """Distance of the features' Gram matrix to the target A / M, [B, C, C].

    - `sum_square`: 1/(4 N^2 M^2) sum (G - A)^2 (eq. 4), which is 1/4 mean (G/M - A/M)^2
    - `mean_square`: mean (G/M - A/M)^2
    - `normalized`: sum d^2 / (sum |d| + 1e-8), d = G/M - A/M
    """
    difference = gram(features) - target
    match distance:
        case "sum_square":
            return _mean(tf.square(difference)) / 4
        case "mean_square":
            return _mean(tf.square(difference))
        case "normalized":
            return _normalized(difference)


def total_variation_sum(canvases: Tensor) -> Tensor:
    """Sum of |x_down - x| and |x_right - x| over all neighbours (anisotropic, as `tf.image.total_variation`)."""
    down, right = _neighbours(canvases)
    return _sum(tf.abs(down)) + _sum(tf.abs(right))


def total_variation_mean(canvases: Tensor) -> Tensor:
    """Mean of (x_down - x)^2 plus mean of (x_right - x)^2: means the same at every size."""
    down, right = _neighbours(canvases)
    return _mean(tf.square(down)) + _mean(tf.square(right))


def _neighbours(canvases: Tensor) -> tuple[Tensor, Tensor]:
    return canvases[:, 1:] - canvases[:, :-1], canvases[:, :, 1:] - canvases[:, :, :-1]


def _normalized(difference: Tensor) -> Tensor:
    return _sum(tf.square(difference)) / (_sum(tf.abs(difference)) + EPSILON)


def _sum(values: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(values, tf.float64), axis=_all_but_batch(values))


def _mean(values: Tensor) -> Tensor:
    return tf.reduce_mean(tf.cast(values, tf.float64), axis=_all_but_batch(values))


def _all_but_batch(values: Tensor) -> list[int]:
    return list(range(1, values.shape.rank))
