"""A style's image comes from beside its file, from the operator's folder, or from the web, once."""

import dataclasses
import hashlib
import os
import shutil

import pytest

from styleserve import images
from styleserve.catalog.reader import read_folder
from styleserve.catalog.style import ImageReference
from styleserve.catalog.style_images import StyleImages
from styleserve.errors import StyleImageUnavailableError
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


def remote(style, url):
    return dataclasses.replace(style, image=ImageReference(DIGEST, url=url))


def test_a_local_image_is_read(local_style, tmp_path):
    style_images = StyleImages(tmp_path / "cache")
    assert style_images.is_at_hand(local_style)
    assert style_images.load(local_style) == IMAGE


def test_an_image_that_changed_since_the_start_is_not_passed_off_as_the_old_one(local_style, tmp_path):
    (tmp_path / "dots.png").write_bytes(IMAGE + b"more")
    with pytest.raises(StyleImageUnavailableError):
        StyleImages(tmp_path / "cache").load(local_style)


def test_a_remote_image_is_fetched_once_and_then_at_hand(local_style, site, tmp_path):
    style = remote(local_style, f"{site.address}/dots.png")
    assert not StyleImages(tmp_path / "cache").is_at_hand(style)
    for _ in range(2):
        assert StyleImages(tmp_path / "cache").load(style) == IMAGE
    assert site.asked == ["/dots.png"]
    assert StyleImages(tmp_path / "cache").is_at_hand(style)


def test_the_operators_folder_is_searched_by_content_before_the_web(local_style, site, tmp_path):
    folder = tmp_path / "paintings"
    folder.mkdir()
    (folder / "whatever-its-name").write_bytes(IMAGE)
    style = remote(local_style, f"{site.address}/dots.png")
    assert StyleImages(tmp_path / "cache", folder).load(style) == IMAGE
    assert site.asked == []


def test_files_that_come_change_and_go_in_the_operators_folder_count_at_once(local_style, site, tmp_path):
    folder = tmp_path / "paintings"
    folder.mkdir()
    style_images = StyleImages(tmp_path / "cache", folder)
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


def test_what_cannot_be_read_or_waits_for_a_writer_is_passed_over_and_told_once(local_style, site, tmp_path, caplog):
    folder = tmp_path / "paintings"
    folder.mkdir()
    (folder / "broken").symlink_to("/proc/self/mem")  # not even root reads its beginning
    os.mkfifo(folder / "pipe")
    with (folder / "backup.tar").open("w+b") as file:
        file.truncate(images.ImageLimits().max_bytes + 1)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "dots").write_bytes(IMAGE)
    style_images = StyleImages(tmp_path / "cache", folder)
    far = remote(local_style, f"{site.address}/dots.png")
    large = dataclasses.replace(far, image=dataclasses.replace(far.image, sha256=digest))
    for _ in range(2):
        assert not style_images.is_at_hand(large)
        assert style_images.load(far) == IMAGE
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    for part in (f"{folder}/broken is passed over: ", f"{folder}/backup.tar is passed over: more than 67108864 bytes"):
        assert any(line.startswith(part) for line in told), told


def test_a_folder_that_is_gone_is_told_once_and_the_web_is_asked(local_style, site, tmp_path, caplog):
    folder = tmp_path / "paintings"
    folder.mkdir()
    style_images = StyleImages(tmp_path / "cache", folder)
    style = remote(local_style, f"{site.address}/dots.png")
    shutil.rmtree(folder)
    for _ in range(2):
        assert style_images.load(style) == IMAGE
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{folder} is passed over: No such file or directory"
    ]


def test_an_image_that_cannot_be_fetched_is_told_with_what_to_do(local_style, site, tmp_path):
    with pytest.raises(StyleImageUnavailableError, match="--style-images"):
        StyleImages(tmp_path / "cache").load(remote(local_style, f"{site.address}/none.png"))
