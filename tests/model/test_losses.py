"""Each loss against the same equation written again in NumPy float64, and each gradient against finite differences."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from styleserve.model import losses

RANDOM = np.random.default_rng(7)
# No two values are nearer than 0.01, so that no finite difference below steps over the kink of an absolute value.
FEATURES = RANDOM.permutation(2 * 5 * 7 * 6).reshape(2, 5, 7, 6) / 100
TARGET_FEATURES = RANDOM.random((2, 5, 7, 6))
TARGET_GRAMS = np.array([(f @ f.T) / 35 for f in RANDOM.random((2, 6, 35))])
CANVASES = RANDOM.random((2, 5, 7, 3))
DISTANCES = ("sum_square", "mean_square", "normalized", "relative")


def numpy_gram(features: np.ndarray) -> np.ndarray:
    """G_ij = sum_k F_ik F_jk, as the paper's sum over positions, not divided."""
    flat = features.reshape(-1, features.shape[-1])
    return np.einsum("ki,kj->ij", flat, flat)


def content_loss(features: tf.Tensor, distance: str) -> tf.Tensor:
    target = tf.constant(TARGET_FEATURES, tf.float32)
    return losses.content(losses.difference_sums(features, target, distance), tf.size(features[0]), distance)


def style_loss(features: tf.Tensor, distance: str) -> tf.Tensor:
    return losses.style(losses.gram_sum(features) / 35, tf.constant(TARGET_GRAMS, tf.float32), distance)


def variation_loss(canvases: tf.Tensor, is_mean: bool) -> tf.Tensor:
    sums = losses.variation_sums(canvases[..., :3], is_squared=is_mean)
    return losses.total_variation(sums, tf.constant(5), tf.constant(7), is_mean)


def test_the_gram_matrix_is_the_product_of_filters_summed_over_positions():
    expected = [numpy_gram(features) for features in FEATURES]
    np.testing.assert_allclose(losses.gram_sum(tf.constant(FEATURES, tf.float32)), expected, rtol=1e-5)


def test_sums_of_parts_add_up_to_those_of_the_whole():
    whole, left, right = (tf.constant(part, tf.float32) for part in (FEATURES, FEATURES[:, :, :3], FEATURES[:, :, 3:]))
    target = tf.constant(TARGET_FEATURES, tf.float32)
    np.testing.assert_allclose(losses.gram_sum(left) + losses.gram_sum(right), losses.gram_sum(whole), rtol=1e-5)
    for distance in DISTANCES:
        parts = (
            losses.difference_sums(left, target[:, :, :3], distance),
            losses.difference_sums(right, target[:, :, 3:], distance),
        )
        expected = losses.difference_sums(whole, target, distance)
        np.testing.assert_allclose(parts[0] + parts[1], expected, rtol=1e-6, err_msg=distance)


def test_sums_over_large_maps_are_as_good_as_in_float64():
    values, target = RANDOM.random((2, 1, 300, 300, 64)).astype(np.float32)
    canvas = RANDOM.random((1, 64, 4096, 3)).astype(np.float32)
    difference = values - target
    squares, absolutes, target_squares = (
        np.sum(part, dtype=np.float64) for part in (difference**2, np.abs(difference), target**2)
    )
    expected_sums = {
        "sum_square": [squares, 0, 0],
        "mean_square": [squares, 0, 0],
        "normalized": [squares, absolutes, 0],
        "relative": [squares, 0, target_squares],
    }
    for distance, expected in expected_sums.items():
        sums = losses.difference_sums(tf.constant(values), tf.constant(target), distance)
        np.testing.assert_allclose(sums[0], expected, rtol=1e-9, err_msg=distance)
    for is_squared, measure in ((True, np.square), (False, np.abs)):
        expected = [np.sum(measure(np.diff(canvas, axis=axis)), dtype=np.float64) for axis in (1, 2)]
        np.testing.assert_allclose(
            losses.variation_sums(tf.constant(canvas), is_squared)[0], expected, rtol=1e-9, err_msg=f"{is_squared}"
        )


def test_the_gradient_of_a_gram_matrix_comes_in_the_type_of_the_features():
    features = tf.constant(FEATURES / FEATURES.max(), tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(features)
        gram = losses.gram_sum(features)
        loss = tf.reduce_sum(tf.square(gram)) / 2
    assert gram.dtype == tf.float32
    exact = features.numpy().astype(np.float64)
    expected = [2 * f.reshape(-1, 6) @ numpy_gram(f) for f in exact]
    gradient = tape.gradient(loss, features)
    assert gradient.dtype == tf.bfloat16
    np.testing.assert_allclose(gradient.numpy().astype(np.float64).reshape(2, 35, 6), expected, rtol=0.02)


def test_the_content_losses_are_their_equations():
    expected = {
        "sum_square": [0.5 * np.sum((f - p) ** 2) for f, p in zip(FEATURES, TARGET_FEATURES, strict=True)],
        "mean_square": [np.mean((f - p) ** 2) for f, p in zip(FEATURES, TARGET_FEATURES, strict=True)],
        "normalized": [
            np.sum((f - p) ** 2) / (np.sum(np.abs(f - p)) + 1e-8)
            for f, p in zip(FEATURES, TARGET_FEATURES, strict=True)
        ],
        "relative": [np.linalg.norm(f - p) / np.linalg.norm(p) for f, p in zip(FEATURES, TARGET_FEATURES, strict=True)],
    }
    for distance, values in expected.items():
        computed = content_loss(tf.constant(FEATURES, tf.float32), distance)
        assert computed.dtype == tf.float64
        np.testing.assert_allclose(computed, values, rtol=1e-5, err_msg=distance)


def test_the_style_losses_are_their_equations():
    filters, positions = 6, 35
    pairs = [(numpy_gram(features), gram * positions) for features, gram in zip(FEATURES, TARGET_GRAMS, strict=True)]
    expected = {
        "sum_square": [np.sum((g - a) ** 2) / (4 * filters**2 * positions**2) for g, a in pairs],
        "mean_square": [np.mean((g / positions - a / positions) ** 2) for g, a in pairs],
        "normalized": [
            np.sum((g - a) ** 2 / positions**2) / (np.sum(np.abs(g - a) / positions) + 1e-8) for g, a in pairs
        ],
        "relative": [np.linalg.norm(g - a) / np.linalg.norm(a) for g, a in pairs],
    }
    for distance, values in expected.items():
        computed = style_loss(tf.constant(FEATURES, tf.float32), distance)
        np.testing.assert_allclose(computed, values, rtol=1e-4, err_msg=distance)


def test_the_total_variations_are_their_equations():
    expected_sum = [np.abs(np.diff(x, axis=0)).sum() + np.abs(np.diff(x, axis=1)).sum() for x in CANVASES]
    expected_mean = [(np.diff(x, axis=0) ** 2).mean() + (np.diff(x, axis=1) ** 2).mean() for x in CANVASES]
    canvases = tf.constant(CANVASES, tf.float32)
    np.testing.assert_allclose(variation_loss(canvases, is_mean=False), expected_sum, rtol=1e-5)
    np.testing.assert_allclose(variation_loss(canvases, is_mean=False), tf.image.total_variation(canvases), rtol=1e-5)
    np.testing.assert_allclose(variation_loss(canvases, is_mean=True), expected_mean, rtol=1e-5)


LOSSES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    **{f"content {distance}": partial(content_loss, distance=distance) for distance in DISTANCES},
    **{f"style {distance}": partial(style_loss, distance=distance) for distance in DISTANCES},
    "total variation sum": partial(variation_loss, is_mean=False),
    "total variation mean": partial(variation_loss, is_mean=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_each_loss_is_the_slope_of_finite_differences(name):
    loss = LOSSES[name]
    values = tf.constant(FEATURES, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(loss(values))
    gradient = tape.gradient(total, values).numpy().astype(np.float64)
    for seed in range(3):
        direction = np.random.default_rng(seed).standard_normal(FEATURES.shape)
        step = 1e-3
        above, below = (
            float(tf.reduce_sum(loss(tf.constant(FEATURES + sign * step * direction, tf.float32)))) for sign in (1, -1)
        )
        assert (above - below) / (2 * step) == pytest.approx(np.sum(gradient * direction), rel=2e-3, abs=1e-5)
