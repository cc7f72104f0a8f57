"""The content's colours, kept by statistics or by luminance."""

import numpy as np

from styleserve import colors, images


def test_matched_colours_have_the_references_mean_and_covariance():
    random = np.random.default_rng(0)
    pixels = (0.5 + 0.1 * random.standard_normal((50, 50, 3))).astype(np.float32)
    mixed = random.standard_normal((60, 40, 3)) @ (0.05 * random.random((3, 3)))
    reference = (np.array([0.3, 0.5, 0.6]) + mixed).astype(np.float32)
    matched = colors.match_colors(pixels, reference)
    np.testing.assert_allclose(matched.mean(axis=(0, 1)), reference.mean(axis=(0, 1)), atol=1e-3)
    covariances = [np.cov(image.reshape(-1, 3), rowvar=False) for image in (matched, reference)]
    np.testing.assert_allclose(*covariances, atol=2e-4)


def test_matching_to_a_plain_image_is_finite():
    plain = np.full((20, 20, 3), 0.5, np.float32)
    assert np.isfinite(colors.match_colors(plain, images.noise(20, 20, 0))).all()
    assert np.isfinite(colors.match_colors(images.noise(20, 20, 0), plain)).all()


def test_transferred_luminance_keeps_the_colours():
    made, content = 0.5 + 0.2 * images.noise(20, 20, 0), 0.4 + 0.2 * images.noise(20, 20, 1)
    merged = colors.transfer_luminance(made, content)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(merged @ weights, made @ weights, atol=1e-3)
    differences = [(image[..., 0] - image @ weights) for image in (merged, content)]
    np.testing.assert_allclose(*differences, atol=1e-3)
