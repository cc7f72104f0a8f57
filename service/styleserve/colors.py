"""Colours: keeping the content's, in two ways.

L. Gatys, M. Bethge, A. Hertzmann, E. Shechtman: "Preserving color in neural artistic style transfer", 2016.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from styleserve.images import Picture, Pixels

#: RGB to Y, the luminance, and I and Q, the colour, of NTSC 1953; rows are Y, I, Q.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
#: Pictures are gone through so many pixels at a time: only these are in double precision at once.
_BAND_PIXELS = 2**16


def match_colors(pixels: Pixels, reference: Picture) -> Pixels:
    """Give `pixels` the colour mean and covariance of what is visible of `reference`, clipped to [0, 1].

    x' = A (x - mu_x) + mu_r with A = S_r^(1/2) S_x^(-1/2), S the covariances of RGB (section 3.1 of the
    paper, with the symmetric roots).
    """
    mean, root = _mean_and_root(Picture(pixels))
    reference_mean, reference_root = _mean_and_root(reference)
    transform = reference_root @ np.linalg.inv(root)
    matched = np.empty_like(pixels)
    for rows in _bands(pixels):
        matched[rows] = np.clip((pixels[rows] - mean) @ transform.T + reference_mean, 0, 1)
    return matched


def transfer_luminance(pixels: Pixels, colours: Pixels) -> Pixels:
    """The luminance Y of `pixels` with the I and Q of `colours`, both [H, W, 3], clipped to [0, 1].

    Section 3.2 of the paper. Departs from it: there the transfer itself runs on luminance; here the picture is made in
    colour and its luminance is taken.
    """
    back = np.linalg.inv(_YIQ)
    luminance, chrominance = back[:, :1] @ _YIQ[:1], back[:, 1:] @ _YIQ[1:]
    merged = np.empty_like(pixels)
    for rows in _bands(pixels):
        merged[rows] = np.clip(pixels[rows] @ luminance.T + colours[rows] @ chrominance.T, 0, 1)
    return merged


def _bands(pixels: Pixels) -> Iterator[slice]:
    """The rows, some at a time."""
    height, width, _ = pixels.shape
    num_rows = max(1, _BAND_PIXELS // width)
    return (slice(top, top + num_rows) for top in range(0, height, num_rows))


def _mean_and_root(picture: Picture) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean colour and the symmetric square root of the covariance, which is kept off zero for plain images.

    Transparent pixels do not count, unless all are.
    """
    pixels, alpha = picture.pixels, picture.alpha
    is_counted = np.ones(pixels.shape[:2], bool) if alpha is None or not alpha.any() else alpha > 0
    num, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for rows in _bands(pixels):
        colours = pixels[rows][is_counted[rows]].astype(np.float64)
        num += len(colours)
        total += colours.sum(axis=0)
        products += colours.T @ colours
    mean = total / num
    covariance = (products - num * np.outer(mean, mean)) / max(1, num - 1)
    values, vectors = np.linalg.eigh(covariance + 1e-6 * np.eye(3))
    return mean, vectors @ np.diag(np.sqrt(values)) @ vectors.T
