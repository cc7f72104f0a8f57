"""Colours: keeping the content's, in two ways.

L. Gatys, M. Bethge, A. Hertzmann, E. Shechtman: "Preserving color in neural artistic style transfer", 2016.
"""

import numpy as np
import numpy.typing as npt

from styleserve.images import Pixels

#: RGB to Y, the luminance, and I and Q, the colour, of NTSC 1953; rows are Y, I, Q.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def match_colors(pixels: Pixels, reference: Pixels) -> Pixels:
    """Give `pixels` the colour mean and covariance of `reference`, clipped to [0, 1].

    x' = A (x - mu_x) + mu_r with A = S_r^(1/2) S_x^(-1/2), S the covariances of RGB (section 3.1 of the
    paper, with the symmetric roots).
    """
    mean, root = _mean_and_root(pixels)
    reference_mean, reference_root = _mean_and_root(reference)
    transform = reference_root @ np.linalg.inv(root)
    matched = (pixels.reshape(-1, 3) - mean) @ transform.T + reference_mean
    return np.asarray(np.clip(matched, 0, 1), np.float32).reshape(pixels.shape)


def transfer_luminance(pixels: Pixels, colours: Pixels) -> Pixels:
    """The luminance Y of `pixels` with the I and Q of `colours`, both [H, W, 3], clipped to [0, 1].

    Section 3.2 of the paper. Departs from it: there the transfer itself runs on luminance; here the picture is made in
    colour and its luminance is taken.
    """
    luminance = (pixels @ _YIQ.T)[..., :1]
    chrominance = (colours @ _YIQ.T)[..., 1:]
    merged = np.concatenate([luminance, chrominance], axis=-1) @ np.linalg.inv(_YIQ).T
    return np.asarray(np.clip(merged, 0, 1), np.float32)


def _mean_and_root(pixels: Pixels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean colour and the symmetric square root of the covariance, which is kept off zero for plain images."""
    colours = pixels.reshape(-1, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(colours, rowvar=False) + 1e-6 * np.eye(3))
    return colours.mean(axis=0), vectors @ np.diag(np.sqrt(values)) @ vectors.T
