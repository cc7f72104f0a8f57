"""Detail: what a canvas of a coarse scale cannot show and its photograph can is added to it when it grows."""

import numpy as np

from styleserve import images
from styleserve.images import Pixels
from styleserve.recipes import Recipe


def grow(canvas: Pixels, content: Pixels, recipe: Recipe) -> Pixels:
    """The canvas [h, w, 3] at the content's size [H, W, 3], with the content's detail if the recipe's pyramid adds it.

    With c the content, c' the content at the canvas's size and U enlarging it is U(canvas) + c - U(c'), clipped to
    [0, 1]: a Laplacian pyramid put together again (Burt and Adelson 1983), with the finer bands of the content. None
    of it comes to a canvas that began as noise and is to be the style alone.
    """
    if canvas.shape == content.shape:
        return canvas
    height, width = content.shape[:2]
    grown = images.resize(canvas, height, width)
    has_content = recipe.init == "content" or recipe.content_weight > 0
    if recipe.pyramid is not None and recipe.pyramid.adds_detail and has_content:
        grown += content
        grown -= images.resize(images.resize(content, *canvas.shape[:2]), height, width)
        np.clip(grown, 0, 1, out=grown)
    return grown
