"""A style's image comes from beside its file, from the operator's folder, or from the web, once."""

import asyncio
import dataclasses
import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from styleserve import detached, images
from styleserve.catalog.reader import read_folder
from styleserve.catalog.style import ImageReference
from styleserve.catalog.style_images import StyleImages
from styleserve.decoding import Decoder
from styleserve.errors import StyleImageUnavailableError
from styleserve.images import ImageLimits
from support import web

IMAGE = images.encode(images.Picture(images.noise(32, 32, seed=3)), "png").data
DIGEST = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture
def local_style(tmp_path):
    (tmp_path / "dots.png").write_bytes(IMAGE)
    (tmp_path / "dots.yaml").write_text("title: Dots\nimage: dots.png\n")
    return read_folder(tmp_path, "mine").styles[0]


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with web.serve({"/dots.png": IMAGE}) as site:
        yield site


def remote(style, url, digest=DIGEST):
    return dataclasses.replace(style, image=ImageReference(digest, url=url))


def images_of(cache_dir, folder=None):
    return StyleImages(cache_dir, Decoder(ImageLimits()), folder)


async def load(style_images, style):
    """As a request does."""
    await style_images.fetch(style)
    return style_images.load(style)


def test_a_local_image_is_read(local_style, tmp_path):
    style_images = images_of(tmp_path / "cache")
    assert style_images.is_at_hand(local_style)
    assert style_images.load(local_style) == IMAGE


def test_an_image_that_changed_since_the_start_is_not_passed_off_as_the_old_one(local_style, tmp_path):
    (tmp_path / "dots.png").write_bytes(IMAGE + b"more")
    with pytest.raises(StyleImageUnavailableError):
        images_of(tmp_path / "cache").load(local_style)


async def test_a_remote_image_is_fetched_once_and_then_at_hand(local_style, site, tmp_path):
    style = remote(local_style, f"{site.address}/dots.png")
    assert not images_of(tmp_path / "cache").is_at_hand(style)
    for _ in range(2):
        assert await load(images_of(tmp_path / "cache"), style) == IMAGE
    assert site.asked == ["/dots.png"]
    assert images_of(tmp_path / "cache").is_at_hand(style)


async def test_callers_of_the_same_image_wait_for_one_download_which_goes_on_when_one_leaves(
    local_style, site, tmp_path
):
    style_images = images_of(tmp_path / "cache")
    site.may_answer.clear()
    callers = [asyncio.create_task(load(style_images, remote(local_style, f"{site.address}/dots.png"))) for _ in "abc"]
    await asyncio.to_thread(site.was_asked.wait)
    callers[0].cancel()
    await asyncio.wait(callers, timeout=0.1)
    site.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert [await caller for caller in callers[1:]] == [IMAGE, IMAGE]
    assert site.asked == ["/dots.png"]


async def test_an_image_that_two_styles_have_at_two_places_is_fetched_from_both(local_style, site, tmp_path):
    style_images = images_of(tmp_path / "cache")
    site.may_answer.clear()
    places = ("/none.png", "/dots.png")
    callers = [asyncio.create_task(load(style_images, remote(local_style, site.address + place))) for place in places]
    await asyncio.wait(callers, timeout=0.1)
    site.may_answer.set()
    with pytest.raises(StyleImageUnavailableError):
        await callers[0]
    assert await callers[1] == IMAGE


async def test_downloads_leave_the_threads_that_requests_are_read_in(local_style, site, tmp_path):
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    site.may_answer.clear()
    caller = asyncio.create_task(load(images_of(tmp_path / "cache"), remote(local_style, f"{site.address}/dots.png")))
    await asyncio.wrap_future(detached.begin("site", site.was_asked.wait))
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 5) == "read"
    site.may_answer.set()
    assert await caller == IMAGE


def test_the_end_of_the_process_does_not_wait_for_a_download(local_style, site, tmp_path):
    async def serve() -> None:
        style = remote(local_style, f"{site.address}/dots.png")
        caller = asyncio.create_task(images_of(tmp_path / "cache").fetch(style))
        await asyncio.to_thread(site.was_asked.wait)
        caller.cancel()

    site.may_answer.clear()
    patience = threading.Timer(10, site.may_answer.set)
    patience.start()
    asyncio.run(serve())
    assert not site.may_answer.is_set()
    patience.cancel()


async def test_the_operators_folder_is_searched_by_content_before_the_web(local_style, site, tmp_path):
    folder = tmp_path / "paintings"
    folder.mkdir()
    (folder / "whatever-its-name").write_bytes(IMAGE)
    style = remote(local_style, f"{site.address}/dots.png")
    assert await load(images_of(tmp_path / "cache", folder), style) == IMAGE
    assert site.asked == []


def test_files_that_come_change_and_go_in_the_operators_folder_count_at_once(local_style, site, tmp_path):
    folder = tmp_path / "paintings"
    folder.mkdir()
    style_images = images_of(tmp_path / "cache", folder)
    style = remote(local_style, f"{site.address}/dots.png")
    assert not style_images.is_at_hand(style)
    (folder / "one").write_bytes(IMAGE)
    assert style_images.is_at_hand(style)
    (folder / "one").write_bytes(IMAGE[::-1])
    assert not style_images.is_at_hand(style)
    (folder / "two").write_bytes(IMAGE)
    assert style_images.is_at_hand(style)
    (folder / "two").unlink()
    assert not style_images.is_at_hand(style)


async def test_what_cannot_be_read_or_waits_for_a_writer_is_passed_over_and_told_once(
    local_style, site, tmp_path, caplog
):
    folder = tmp_path / "paintings"
    folder.mkdir()
    (folder / "broken").symlink_to("/proc/self/mem")  # not even root reads its beginning
    os.mkfifo(folder / "pipe")
    with (folder / "backup.tar").open("w+b") as file:
        file.truncate(ImageLimits().max_bytes + 1)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "dots").write_bytes(IMAGE)
    style_images = images_of(tmp_path / "cache", folder)
    far = remote(local_style, f"{site.address}/dots.png")
    large = remote(local_style, f"{site.address}/large.png", digest)
    for _ in range(2):
        assert not style_images.is_at_hand(large)
        assert await load(style_images, far) == IMAGE
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    for part in (f"{folder}/broken is passed over: ", f"{folder}/backup.tar is passed over: more than 67108864 bytes"):
        assert any(line.startswith(part) for line in told), told


async def test_a_folder_that_is_gone_is_told_once_and_the_web_is_asked(local_style, site, tmp_path, caplog):
    folder = tmp_path / "paintings"
    folder.mkdir()
    style_images = images_of(tmp_path / "cache", folder)
    style = remote(local_style, f"{site.address}/dots.png")
    shutil.rmtree(folder)
    for _ in range(2):
        assert await load(style_images, style) == IMAGE
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{folder} is passed over: No such file or directory"
    ]


async def test_an_image_that_cannot_be_fetched_is_told_with_what_to_do(local_style, site, tmp_path):
    with pytest.raises(StyleImageUnavailableError, match="--style-images"):
        await images_of(tmp_path / "cache").fetch(remote(local_style, f"{site.address}/none.png"))


@pytest.mark.parametrize(
    ("painting", "explanation"),
    [
        (b"GIF89a" + bytes(64), "the first bytes are those of no image we read"),
        (images.encode(images.Picture(images.noise(8, 64, seed=0)), "png").data, "got 64 x 8 pixels"),
    ],
    ids=["of another format", "too narrow"],
)
async def test_what_was_fetched_and_is_no_image_that_a_style_can_have_is_told_to_the_operator(
    local_style, site, tmp_path, caplog, painting, explanation
):
    site.files["/painting"] = painting
    style = remote(local_style, f"{site.address}/painting", hashlib.sha256(painting).hexdigest())
    style_images = images_of(tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(StyleImageUnavailableError):
            await load(style_images, style)
    assert caplog.text.count(f"cannot be the image of styles/dots: {explanation}") == 2
    assert site.asked == ["/painting"]
