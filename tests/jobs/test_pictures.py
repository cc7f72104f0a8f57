"""What the engine is sent of a job's style images: as they came, unless to decode one took too much of its memory."""

import dataclasses

import numpy as np
import pytest

from styleserve import images
from styleserve.decoding import Decoder
from styleserve.images import ImageLimits, Picture
from styleserve.jobs import pictures
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.pictures import Pictures
from styleserve.jobs.submission import ChosenStyle, Output, Submission
from styleserve.presets import PRESETS

RANDOM = np.random.default_rng(5)
SIDE = 64
#: A style is decoded to no less than this, so that a narrow one has an image left.
SEEN_SIDE = 512


@pytest.fixture
def studio(tmp_path):
    return Pictures(ImageStore(tmp_path), Decoder(ImageLimits())), ImageStore(tmp_path).shelf("anonymous")


def noise(side: int, image_format: str) -> bytes:
    return images.encode(Picture(RANDOM.random((side, side, 3), dtype=np.float32)), image_format).data


def sent(studio, style: bytes, is_catalogued: bool = False, content: bytes = b"", color: str = "style"):
    reader, shelf = studio
    submission = Submission(
        content_digest=shelf.put(content or noise(SIDE, "png")),
        styles=(ChosenStyle(shelf.put(style), "a", is_catalogued, 1.0, 1.0),),
        recipe=dataclasses.replace(PRESETS["classic"], color=color),
        output=Output(SIDE, SIDE),
        fingerprint="f",
        labels={},
    )
    return reader.specify("j", submission, None)[0].styles[0]


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_a_style_image_that_would_take_much_memory_is_sent_as_large_as_it_is_seen(studio, image_format, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_STYLE_PIXELS", 600**2)
    style = noise(601, image_format)
    found = sent(studio, style)
    assert images.measure(found.data, ImageLimits()) == (SEEN_SIDE, SEEN_SIDE)
    decoded, expected = (images.decode(data, ImageLimits(), fit_side=SEEN_SIDE).pixels for data in (found.data, style))
    np.testing.assert_array_equal(decoded, expected)
    assert sent(studio, style).key == found.key
    assert found.key != sent(studio, noise(601, image_format)).key


def test_a_style_image_of_many_bytes_is_sent_as_large_as_it_is_seen_whatever_its_format(studio, monkeypatch):
    style = noise(600, "jpeg")
    monkeypatch.setattr(pictures, "_MOST_STYLE_BYTES", len(style) - 1)
    assert images.measure(sent(studio, style).data, ImageLimits()) == (SEEN_SIDE, SEEN_SIDE)


def test_others_are_sent_as_they_came(studio, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_STYLE_PIXELS", 600**2)
    for style, is_catalogued in ((noise(600, "png"), False), (noise(700, "jpeg"), False), (noise(700, "png"), True)):
        assert sent(studio, style, is_catalogued).data == style


def test_a_style_is_matched_to_the_colours_that_are_seen_of_the_content(studio):
    pixels, alpha = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE), np.float32)
    pixels[:9], alpha[:9] = (0.8, 0.4, 0.2), 1.0
    content = images.encode(Picture(pixels, alpha), "png").data
    matched = images.decode(
        sent(studio, noise(SIDE, "png"), content=content, color="content_matched").data, ImageLimits()
    )
    np.testing.assert_allclose(matched.pixels.mean(axis=(0, 1)), pixels[0, 0], atol=0.01)


def test_a_style_that_is_matched_to_one_content_is_not_known_as_what_is_matched_to_another(studio):
    style = noise(SIDE, "png")
    one, other = (sent(studio, style, True, noise(SIDE, "png"), color="content_matched") for _ in range(2))
    assert one.data != other.data
    assert one.key != other.key
    assert not one.is_catalogued
