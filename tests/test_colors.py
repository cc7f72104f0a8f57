"""The content's colours, kept by statistics or by luminance."""

import tracemalloc

import numpy as np
import pytest

from styleserve import colors, images
from styleserve.images import Picture


def test_matched_colours_have_the_references_mean_and_covariance():
    random = np.random.default_rng(0)
    pixels = (0.5 + 0.1 * random.standard_normal((50, 50, 3))).astype(np.float32)
    mixed = random.standard_normal((60, 40, 3)) @ (0.05 * random.random((3, 3)))
    reference = (np.array([0.3, 0.5, 0.6]) + mixed).astype(np.float32)
    matched = colors.match_colors(pixels, Picture(reference))
    np.testing.assert_allclose(matched.mean(axis=(0, 1)), reference.mean(axis=(0, 1)), atol=1e-3)
    covariances = [np.cov(image.reshape(-1, 3), rowvar=False) for image in (matched, reference)]
    np.testing.assert_allclose(*covariances, atol=2e-4)


def test_matching_to_a_plain_image_is_finite():
    plain = np.full((20, 20, 3), 0.5, np.float32)
    assert np.isfinite(colors.match_colors(plain, Picture(images.noise(20, 20, 0)))).all()
    assert np.isfinite(colors.match_colors(images.noise(20, 20, 0), Picture(plain))).all()


def test_colours_are_matched_to_what_is_visible():
    pixels, seen = images.noise(30, 20, 0), 0.3 + 0.2 * images.noise(30, 20, 1)
    alpha = np.repeat(np.float32([[1.0, 0.0]]), 30, axis=0).repeat(20, axis=1)
    half_seen = np.concatenate([seen, np.zeros_like(seen)], axis=1)
    matched = colors.match_colors(pixels, Picture(half_seen, alpha))
    np.testing.assert_allclose(matched, colors.match_colors(pixels, Picture(seen)), atol=1e-6)
    all_hidden = colors.match_colors(pixels, Picture(half_seen, np.zeros_like(alpha)))
    np.testing.assert_allclose(all_hidden, colors.match_colors(pixels, Picture(half_seen)), atol=1e-6)
    one_seen = np.zeros_like(alpha)
    one_seen[0, 0] = 1
    alone = colors.match_colors(pixels, Picture(half_seen, one_seen))
    np.testing.assert_allclose(alone.mean(axis=(0, 1)), half_seen[0, 0], atol=1e-2)


def test_transferred_luminance_keeps_the_colours():
    made, content = 0.5 + 0.2 * images.noise(20, 20, 0), 0.4 + 0.2 * images.noise(20, 20, 1)
    merged = colors.transfer_luminance(made, content)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(merged @ weights, made @ weights, atol=1e-3)
    differences = [(image[..., 0] - image @ weights) for image in (merged, content)]
    np.testing.assert_allclose(*differences, atol=1e-3)


def mean_and_root(pixels):
    """As `match_colors` needs them, of the whole image at once in double precision."""
    colours = pixels.reshape(-1, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(colours, rowvar=False) + 1e-6 * np.eye(3))
    return colours.mean(axis=0), vectors @ np.diag(np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("size", [(300, 401), (3, 70_000)])
def test_the_bands_of_an_image_make_what_the_whole_makes(size):
    pixels, reference = images.noise(*size, 0), 0.3 + 0.4 * images.noise(*size, 1)
    (mean, root), (reference_mean, reference_root) = mean_and_root(pixels), mean_and_root(reference)
    matched = (pixels - mean) @ (reference_root @ np.linalg.inv(root)).T + reference_mean
    np.testing.assert_allclose(colors.match_colors(pixels, Picture(reference)), np.clip(matched, 0, 1), atol=1e-6)
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    merged = np.concatenate([(pixels @ yiq.T)[..., :1], (reference @ yiq.T)[..., 1:]], axis=-1) @ np.linalg.inv(yiq).T
    np.testing.assert_allclose(colors.transfer_luminance(pixels, reference), np.clip(merged, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "change", [lambda pixels, colours: colors.match_colors(pixels, Picture(colours)), colors.transfer_luminance]
)
def test_little_more_memory_is_taken_than_for_the_image_that_is_made(change):
    pixels, reference = images.noise(1500, 1000, 0), images.noise(1500, 1000, 1)
    tracemalloc.start()
    made = change(pixels, reference)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.dtype == np.float32
    assert most < 1.6 * made.nbytes
