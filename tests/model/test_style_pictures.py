"""Style images at the sizes at which the network sees them."""

import dataclasses

import numpy as np
import pytest

from styleserve import images
from styleserve.errors import InvalidImageError
from styleserve.evaluation import StyleImage
from styleserve.images import MAX_SIDE, MIN_SIDE, ImageLimits, Picture
from styleserve.model.style_pictures import StylePictures, decoded_side, style_size
from styleserve.recipes import style_side


def painting(key: str, height: int = 600, width: int = 800) -> StyleImage:
    pixels = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    return StyleImage(key, images.encode(Picture(pixels), "jpeg").data)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((100, 200), 50, (25, 50)),
        ((100, 200), 400, (200, 400)),
        ((1000, 1000), 99999, (MAX_SIDE, MAX_SIDE)),
        ((10, 1000), 100, (MIN_SIDE, 1600)),
    ],
)
def test_a_style_image_is_sized_within_what_the_network_can_take(size, side, expected):
    assert style_size(*size, style_side(side)) == expected


@pytest.mark.parametrize("side", [64, 300, 512, 700])
def test_a_style_is_seen_as_large_as_wanted_whatever_it_was_seen_at_before(side):
    style, pictures = painting("style"), StylePictures()
    pictures.seen_at(style, 128)
    decoded = images.decode(style.data, ImageLimits(), fit_side=decoded_side(side)).pixels
    wanted = images.resize(decoded, *style_size(600, 800, side))
    assert max(wanted.shape) == side
    np.testing.assert_array_equal(pictures.seen_at(style, side), wanted)


def test_a_style_is_decoded_once_for_all_small_sizes_and_a_large_picture_of_it_does_not_stay():
    style, pictures = painting("style"), StylePictures()
    unreadable = dataclasses.replace(style, data=b"")
    pictures.seen_at(style, 64)
    assert pictures.seen_at(unreadable, 512).shape == (384, 512, 3)
    pictures.seen_at(style, 700)
    with pytest.raises(InvalidImageError):
        pictures.seen_at(unreadable, 700)


def test_as_many_styles_stay_as_a_blend_may_have():
    styles, pictures = [painting(f"style {rank}", 30, 40) for rank in range(9)], StylePictures()
    unreadable = [dataclasses.replace(style, data=b"") for style in styles]
    for style in styles[:8]:
        pictures.seen_at(style, 20)
    for style in unreadable[:8]:
        pictures.seen_at(style, 40)
    pictures.seen_at(styles[8], 20)
    with pytest.raises(InvalidImageError):
        pictures.seen_at(unreadable[0], 20)
