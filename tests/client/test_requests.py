"""What a caller writes becomes a request: images of every kind, and no option that does not exist."""

import io
import re
from typing import get_type_hints

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from styleserve_client import Previews, Style, requests

ORANGE = (230, 120, 40)


def sent(image: Image.Image) -> Image.Image:
    """The image as the server gets it."""
    return Image.open(io.BytesIO(requests.read_image(image)))


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr", "HSV", "RGBA", "RGBX", "P"])
def test_pil_images_of_every_colour_mode_keep_their_colours(mode):
    image = Image.new("RGB", (20, 16), ORANGE).convert(mode)
    np.testing.assert_allclose(np.asarray(sent(image).convert("RGB")).mean(axis=(0, 1)), ORANGE, atol=4)


def test_lab_keeps_its_colours():
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.new("RGB", (20, 16), ORANGE), srgb, lab, outputMode="LAB")
    assert image.mode == "LAB"
    assert sent(image).getpixel((0, 0)) == pytest.approx(ORANGE, abs=4)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("LA", (20, 16)).convert("La"),
        Image.new("RGBA", (20, 16), (*ORANGE, 0)).convert("RGBa"),
        Image.new("PA", (20, 16)),
    ],
    ids=lambda image: image.mode,
)
def test_transparency_is_kept(image):
    assert sent(image).convert("RGBA").getpixel((0, 0))[3] == 0


@pytest.mark.parametrize(("values", "expected"), [(np.int32(70_000), 65535), (np.int32(999), 999)])
def test_integers_are_grey_of_16_bits(values, expected):
    assert sent(Image.fromarray(np.full((16, 20), values))).getpixel((0, 0)) == expected


def test_floats_are_grey_from_0_to_255():
    assert sent(Image.fromarray(np.full((16, 20), 99.6, np.float32))).getpixel((0, 0)) in (99, 100)


def test_a_rotated_photograph_is_sent_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    assert sent(Image.open(buffer)).size == (20, 30)


def test_styles_are_sent_with_their_weights_and_the_sizes_of_their_textures():
    request = requests.build(b"content", ["mosaic", Style(b"image", weight=3.0), Style("waves", scale=0.5)], {})
    sent = [(style.style, style.image.inline, style.weight, style.scale) for style in request.styles]
    assert sent == [("styles/mosaic", b"", 1.0, 1.0), ("", b"image", 3.0, 1.0), ("styles/waves", b"", 1.0, 0.5)]


def test_an_option_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match=r"unknown option 'iteratons'.*did you mean 'iterations'"):
        requests.build(b"content", "mosaic", {"iteratons": 1})


@pytest.mark.parametrize(
    "name", [name for name, kind in get_type_hints(requests.StylizeOptions).items() if kind is int]
)
@pytest.mark.parametrize("is_negative", [False, True])
def test_a_whole_number_that_its_field_does_not_hold_is_refused_by_name(name, is_negative):
    most = 2**63 - 1 if name == "seed" else 2**31 - 1
    value = -most - 2 if is_negative else most + 1
    with pytest.raises(ValueError, match=f"{name}: got {value}; allowed: {-most - 1} to {most}"):
        requests.build(b"content", "mosaic", {name: value})


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), np.int64(7)])
def test_a_whole_number_that_its_field_holds_is_for_the_server_to_judge(value):
    assert requests.build(b"content", "mosaic", {"iterations": value}).recipe.iterations == value


def test_numbers_of_a_new_style_are_refused_by_name_too():
    with pytest.raises(ValueError, match="iterations: got 1099511627776; allowed: -2147483648 to 2147483647"):
        requests.build_style("own", b"image", "My own", {"iterations": 2**40})


@pytest.mark.parametrize("name", ["queue_timeout_s", "run_timeout_s"])
@pytest.mark.parametrize("seconds", [1e20, -1e20, float("inf"), float("nan")])
def test_seconds_that_no_duration_holds_are_refused_by_name(name, seconds):
    message = f"{name}: got {seconds}; allowed: a finite number of seconds, up to 315576000000"
    with pytest.raises(ValueError, match=re.escape(message)):
        requests.build(b"content", "mosaic", {name: seconds})


@pytest.mark.parametrize(
    ("previews", "name"), [(Previews(max_side=2**40), "max_side"), (Previews(interval_s=1e20), "interval_s")]
)
def test_numbers_of_previews_are_refused_by_name(previews, name):
    with pytest.raises(ValueError, match=f"{name}: got .*; allowed: "):
        requests.preview_options(previews)
