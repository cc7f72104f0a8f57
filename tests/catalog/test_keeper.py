"""A keeper's change is made once it is on the disk, whoever is told of it, and a stop does not wait for ever."""

import asyncio
import shutil
import threading

import pytest

from styleserve.catalog import keeper
from styleserve.catalog.created import CreatedStyles, Draft
from styleserve.catalog.keeper import CatalogChanges, CatalogKeeper
from styleserve.catalog.style import Catalog
from styleserve.catalog.style_images import StyleImages
from styleserve.decoding import Decoder
from styleserve.images import ImageLimits
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


def swap(link, target):
    """Have a link lead elsewhere at once, as Kubernetes and git-sync do."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


def mounted(folder):
    """A folder of one style, as Kubernetes mounts it."""
    folder.mkdir()
    (folder / "..data").symlink_to("..2024_a")
    for name, data in (("dots.png", DRAFT.image), ("dots.yaml", b"title: Dots\nimage: dots.png\n")):
        (folder / name).symlink_to(f"..data/{name}")
        for version in ("..2024_a", "..2024_b"):
            (folder / version).mkdir(exist_ok=True)
            (folder / version / name).write_bytes(data)
    return folder


async def test_a_mount_that_is_swapped_leaves_its_styles_at_hand_and_as_they_were(tmp_path):
    folder = mounted(tmp_path / "mine")
    catalogs = CatalogKeeper([folder], CreatedStyles(tmp_path / "created"), lambda _: None)
    swap(folder / "..data", "..2024_b")
    shutil.rmtree(folder / "..2024_a")
    style_images = StyleImages(tmp_path / "cache", Decoder(ImageLimits()))
    assert style_images.load(catalogs.catalog.find("styles/dots")) == DRAFT.image
    assert await catalogs.reload() == CatalogChanges((), (), ())


async def test_a_folder_that_is_a_link_may_lead_to_another_of_the_same_styles(tmp_path):
    for name in ("a", "b"):
        mounted(tmp_path / name)
    (tmp_path / "mine").symlink_to("a")
    catalogs = CatalogKeeper([tmp_path / "mine"], CreatedStyles(tmp_path / "created"), lambda _: None)
    swap(tmp_path / "mine", "b")
    shutil.rmtree(tmp_path / "a")
    assert await catalogs.reload() == CatalogChanges((), (), ())
    assert catalogs.catalog.find("styles/dots").origin == "mine"


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
