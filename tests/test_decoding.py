"""Decoding: many callers at once get their images one after the other where they would not fit together."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from styleserve import images
from styleserve.decoding import Decoder
from styleserve.errors import InvalidImageError
from styleserve.images import ImageLimits, Picture

LARGE = images.encode(Picture(images.noise(40, 50, 0)), "png").data
SMALL = images.encode(Picture(images.noise(20, 20, 0)), "png").data
LIMITS = ImageLimits(max_pixels=2000)


class Doors:
    """Stands in the way of `images.decode`: says who is inside, and lets them out one by one."""

    def __init__(self, monkeypatch) -> None:
        self.inside: list[int] = []
        self.entered = threading.Semaphore(0)
        self.exits = threading.Semaphore(0)
        self._decode = images.decode
        monkeypatch.setattr(images, "decode", self._pass)

    def _pass(self, data: bytes, *arguments: object) -> Picture:
        picture = self._decode(data, *arguments)
        self.inside.append(picture.pixels.shape[0] * picture.pixels.shape[1])
        self.entered.release()
        assert self.exits.acquire(timeout=20)
        return picture


@pytest.fixture
def doors(monkeypatch) -> Doors:
    return Doors(monkeypatch)


def test_two_of_the_largest_are_decoded_at_once_and_others_wait_their_turn(doors):
    decoder = Decoder(LIMITS)
    with ThreadPoolExecutor(6) as threads:
        pictures = [threads.submit(decoder.decode, LARGE) for _ in range(6)]
        for num_done in range(5):
            assert doors.entered.acquire(timeout=20)
            assert len(doors.inside) - num_done <= 2
            doors.exits.release()
        doors.exits.release()
        assert [future.result().pixels.shape for future in pictures] == [(40, 50, 3)] * 6


def test_many_small_ones_are_decoded_at_once(doors):
    decoder = Decoder(LIMITS)
    with ThreadPoolExecutor(10) as threads:
        pictures = [threads.submit(decoder.decode, SMALL) for _ in range(10)]
        for _ in range(10):
            assert doors.entered.acquire(timeout=20)
        for _ in range(10):
            doors.exits.release()
        assert len([future.result() for future in pictures]) == 10


def test_a_broken_image_gives_its_room_back():
    decoder = Decoder(LIMITS)
    for _ in range(5):
        with contextlib.suppress(InvalidImageError):
            decoder.measure(LARGE[:-900])
    assert decoder.measure(LARGE) == (40, 50)


def test_what_the_header_refuses_is_refused_without_waiting():
    with pytest.raises(InvalidImageError, match="pixels"):
        Decoder(ImageLimits(max_pixels=100)).decode(LARGE)
