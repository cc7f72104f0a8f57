"""An image with the statistics of natural ones, made from a seed: by it the strength of a layer's activations is known.

Dead leaves (Lee, Mumford and Huang 2001): opaque discs of random colour fall on each other, their radii r distributed
as r^-3, which gives the edges, occlusions and scale invariance of photographs.
"""

import numpy as np

from styleserve.evaluation import Pixels

_NUM_LEAVES = 4000
_SMALLEST_RADIUS = 2.0
#: Colours stay within this range, since photographs seldom use the whole of it.
_DARKEST, _BRIGHTEST = 0.0, 0.7


def natural_image(side: int, seed: int = 0) -> Pixels:
    """Dead leaves on a square of `side` pixels, [side, side, 3]."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), (_DARKEST + _BRIGHTEST) / 2, np.float32)
    rows, columns = np.mgrid[:side, :side]
    largest = side / 2
    quantiles = random.random(_NUM_LEAVES)
    radii = _SMALLEST_RADIUS / np.sqrt(1 - quantiles * (1 - (_SMALLEST_RADIUS / largest) ** 2))
    centres = random.random((_NUM_LEAVES, 2)) * side
    colours = random.uniform(_DARKEST, _BRIGHTEST, (_NUM_LEAVES, 3)).astype(np.float32)
    for radius, (row, column), colour in zip(radii, centres, colours, strict=True):
        top, left = int(max(0, row - radius)), int(max(0, column - radius))
        near = np.s_[top : int(row + radius) + 1, left : int(column + radius) + 1]
        covered = (rows[near] - row) ** 2 + (columns[near] - column) ** 2 < radius**2
        image[near][covered] = colour
    return image
