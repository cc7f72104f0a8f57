"""A keeper's change is made once it is on the disk, whoever is told of it, and a stop does not wait for ever."""

import asyncio
import threading

import pytest

from styleserve.catalog import keeper
from styleserve.catalog.created import CreatedStyles, Draft
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.style import Catalog
from styleserve.recipes import RecipeChanges
from support.service import png

DRAFT = Draft("dots", {"title": "Dots"}, (), RecipeChanges(), png(0.5))


async def test_a_change_is_answered_although_what_hears_of_it_fails(tmp_path, caplog):
    def fail(_: Catalog) -> None:
        raise OSError("nobody listens")

    catalogs = CatalogKeeper([], CreatedStyles(tmp_path), fail)
    made = await catalogs.create(DRAFT)
    assert catalogs.catalog.find("styles/dots") == made
    await catalogs.delete("styles/dots")
    assert made not in catalogs.catalog.styles
    assert caplog.text.count("OSError: nobody listens") == 2


def test_the_end_of_the_process_does_not_wait_for_a_change_that_does_not_end(tmp_path, monkeypatch, caplog):
    answered, reading, has_waited = threading.Event(), threading.Event(), []

    def read_for_ever(*_: object) -> Catalog:
        reading.set()
        if not answered.wait(10):
            has_waited.append(True)
        return Catalog([])

    async def serve() -> None:
        catalogs = CatalogKeeper([], CreatedStyles(tmp_path), lambda _: None)
        monkeypatch.setattr(keeper, "load_catalog", read_for_ever)
        change = asyncio.create_task(catalogs.reload())
        await asyncio.to_thread(reading.wait)
        await catalogs.stop()
        with pytest.raises(asyncio.CancelledError):
            await change

    monkeypatch.setattr(keeper, "_PATIENCE_S", 0.01)
    asyncio.run(serve())
    assert "is given up" in caplog.text
    assert not has_waited
    answered.set()
