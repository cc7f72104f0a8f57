"""Styles are prepared one after the other: an image is read when the engine is done with the one before."""

import asyncio

import pytest

from styleserve.errors import StyleImageUnavailableError
from styleserve.events import Prepared, Unprepared
from styleserve.jobs.preparation import MAX_LOSSES, Preparation


class Catalogue:
    """Images whose reading is noted; those of `missing` cannot be read."""

    def __init__(self, missing: dict[str, Exception] | None = None) -> None:
        self.missing = missing or {}
        self.read: list[str] = []

    def images(self, digests: str):
        return {digest: lambda digest=digest: self._read(digest) for digest in digests}

    def _read(self, digest: str) -> bytes:
        self.read.append(digest)
        if digest in self.missing:
            raise self.missing[digest]
        return digest.encode()


class Engine:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.preparation = Preparation(lambda command: self.asked.put_nowait(command.style.key))

    async def next_asked(self) -> str:
        return await asyncio.wait_for(self.asked.get(), 5)


@pytest.mark.parametrize("outcome", [Prepared, Unprepared])
async def test_an_image_is_read_when_the_engine_is_done_with_the_one_before_or_cannot_do_it(outcome):
    catalogue, engine = Catalogue(), Engine()
    engine.preparation.want(catalogue.images("abc"))
    engine.preparation.begin()
    assert await engine.next_asked() == "a"
    engine.preparation.want(catalogue.images("abc"))
    await asyncio.sleep(0.1)
    assert catalogue.read == ["a"]
    engine.preparation.hear(outcome("a"))
    assert await engine.next_asked() == "b"
    assert catalogue.read == ["a", "b"]
    assert engine.preparation.prepared == ({"a"} if outcome is Prepared else set())
    engine.preparation.end()


async def test_an_image_that_is_not_to_be_had_is_left_out_until_it_is_wanted_again(caplog):
    catalogue, engine = Catalogue({"a": StyleImageUnavailableError(1, "styles/a"), "b": OSError("broken")}), Engine()
    engine.preparation.begin()
    engine.preparation.want(catalogue.images("abc"))
    assert await engine.next_asked() == "c"
    assert [record.getMessage() for record in caplog.records] == ["the style image b cannot be read"]
    engine.preparation.hear(Prepared("c"))
    catalogue.missing.clear()
    engine.preparation.want(catalogue.images("ac"))
    assert await engine.next_asked() == "a"
    engine.preparation.end()


async def test_an_image_that_engines_are_lost_over_is_left_alone(caplog):
    catalogue, engine = Catalogue(), Engine()
    engine.preparation.want(catalogue.images("ab"))
    for _ in range(MAX_LOSSES):
        engine.preparation.begin()
        assert await engine.next_asked() == "a"
        engine.preparation.end()
    engine.preparation.begin()
    assert await engine.next_asked() == "b"
    engine.preparation.hear(Prepared("b"))
    engine.preparation.end()
    assert [record.getMessage() for record in caplog.records] == [
        "the style image a is not prepared: 2 engines were lost over it"
    ]


async def test_an_engine_that_is_lost_between_two_images_is_held_against_neither(caplog):
    catalogue, engine = Catalogue(), Engine()
    for digest in "abc":
        engine.preparation.begin()
        engine.preparation.want(catalogue.images(digest))
        assert await engine.next_asked() == digest
        engine.preparation.hear(Prepared(digest))
        engine.preparation.end()
    assert not caplog.records


async def test_what_was_wanted_while_there_was_nothing_left_to_do_is_asked_for():
    catalogue, engine = Catalogue({"a": StyleImageUnavailableError(1, "styles/a")}), Engine()
    engine.preparation.begin()
    engine.preparation.want(catalogue.images("a"))
    await asyncio.sleep(0.1)
    engine.preparation.want(catalogue.images("b"))
    assert await engine.next_asked() == "b"
    engine.preparation.end()
