"""Styles are read from YAML, and an author learns all that is wrong at once: file, key, what is allowed."""

import hashlib
import os
import re

import pytest
import yaml

from styleserve import images
from styleserve.catalog.reader import read_folder
from styleserve.recipes import RecipeChanges
from support.toy import plain_image

IMAGE = images.encode(images.Picture(images.noise(32, 40, seed=3)), "png").data


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dots.png").write_bytes(IMAGE)
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "dots.png").write_bytes(IMAGE)
    return tmp_path


def write(folder, text, name="dots.yaml"):
    (folder / name).write_text(text)
    return read_folder(folder, "mine")


def test_a_style_has_what_its_file_says(folder):
    reading = write(
        folder,
        """
title: Dots
artist: A. Painter
date: 1889
source: https://example.org/dots
license: CC0-1.0
tags: [dots, small]
image: dots.png
recipe:
  preset: classic
  iterations: 40
  color: content_matched
  weights: {content: 2, style: 0.5}
""",
    )
    assert reading.problems == ()
    (style,) = reading.styles
    assert (style.name, style.title, style.artist, style.date) == ("styles/dots", "Dots", "A. Painter", "1889")
    assert (style.license, style.tags, style.origin) == ("CC0-1.0", ("dots", "small"), "mine")
    assert style.image.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert style.recipe == RecipeChanges(
        preset="classic", iterations=40, color="content_matched", content_weight=2, style_weight=0.5
    )


def test_the_version_changes_with_image_and_settings_only(folder):
    text = "title: Dots\nimage: dots.png\n"
    (first,) = write(folder, text).styles
    (retitled,) = write(folder, text.replace("Dots", "Points")).styles
    (resettled,) = write(folder, text + "recipe: {iterations: 3}\n").styles
    (folder / "dots.png").write_bytes(images.encode(images.Picture(plain_image(0.5, 20, 20)), "png").data)
    (repainted,) = write(folder, text).styles
    assert first.version == retitled.version
    assert len({first.version, resettled.version, repainted.version}) == 3
    assert len(first.version) == 12


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("image: dots.png", "title: got none; allowed: a title"),
        ("title: Dots", "image: got None; allowed: a file's name, or a mapping of url and sha256"),
        ("title: Dots\nimage: dts.png", "image: got 'dts.png'; allowed: a file that is there"),
        ("title: Dots\nimage: ../dots.png", "image: got '../dots.png'; allowed: the name of a file in the style's own"),
        ("title: Dots\nimage: within/dots.png", "image: got 'within/dots.png'; allowed: the name of a file in the"),
        ("title: Dots\nimage: dots.yaml", "image: got 'dots.yaml'; allowed: an image: the first bytes"),
        ("title: Dots\nimage: dots.png\ntgas: [a]", "unknown key 'tgas'; allowed: title, .*did you mean 'tags'"),
        ("title: Dots\nimage: dots.png\ntags: dots", "tags: got 'dots'; allowed: a list of words"),
        ("title: [1]\nimage: dots.png", "title: got \\[1\\]; allowed: text"),
        (
            "title: Dots\nimage: {url: 'ftp://x', sha256: a}",
            "image.url: got 'ftp://x'; allowed: an address of https or http",
        ),
        ("title: Dots\nimage: {url: 'https:'}", r"(?s)image.url: got 'https:'.*image.sha256: got None"),
        ("title: Dots\nimage: {url: 'https://x/y', sha256: ABC}", "image.sha256: got 'ABC'; allowed: 64 lower-case"),
        ("title: Dots\nimage: {url: 'https://x/y', sha: a}", "image: unknown key 'sha'"),
        ("title: Dots\nimage: dots.png\nrecipe: 3", "recipe: got 3; allowed: a mapping of preset"),
        ("title: Dots\nimage: dots.png\nrecipe: {preset: standrad}", "recipe.preset: got 'standrad'; .*'standard'"),
        ("title: Dots\nimage: dots.png\nrecipe: {iterations: many}", "recipe.iterations: got 'many'; .*whole number"),
        ("title: Dots\nimage: dots.png\nrecipe: {iterations: 1e9}", "recipe.iterations"),
        ("title: Dots\nimage: dots.png\nrecipe: {strength: 2}", "recipe.strength: got 2; allowed: 0 to 1"),
        ("title: Dots\nimage: dots.png\nrecipe: {weights: {content: .nan}}", "recipe.weights.content: got nan"),
        ("title: Dots\nimage: dots.png\nrecipe: {weights: {contents: 1}}", "unknown key 'contents'.*'content'"),
        ("title: Dots\nimage: dots.png\nrecipe: {optimiser: adam}", "unknown key 'optimiser'.*'optimizer'"),
        ("title: Dots\ntitle: Dots\nimage: dots.png", "line 2: the key 'title' stands twice"),
        ('title: Dots\nimage: "a\\0b"', r"image: got 'a\\x00b'; allowed: a file that is there"),
        (f"title: Dots\nimage: {'x' * 5000}", "image: got 'x{198}…; allowed: a file that is there"),
        ('title: Dots\nimage: "\\ud800.png"', r"image: got '\\ud800.png'; allowed: a file that is there"),
        ("title: Dots\nimage: {url: 'http://[', sha256: a}", r"image.url: got 'http://\['; allowed: an address"),
        ("title: Dots\nimage: {1: 2}", "image: unknown key 1; allowed: url, sha256"),
        ("title: Dots\nimage: dots.png\nrecipe: {1: 2, weights: {3: 4}}", "(?s)unknown key 1;.*unknown key 3;"),
        (f"title: [{'x, ' * 9000}]\nimage: dots.png", r"title: got \['x'.{190,}…; allowed: text"),
        ("title: [unclosed", "line"),
        ("just text", "got no mapping"),
        ("", "got no mapping"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_what_is_allowed(folder, lines, complaint):
    reading = write(folder, lines)
    assert reading.styles == ()
    text = "\n".join(map(str, reading.problems))
    assert str(folder / "dots.yaml") in text

    assert re.search(complaint, text), text


def test_all_problems_of_all_files_come_at_once(folder):
    write(folder, "title: Dots\nimage: none.png\nrecipe: {iterations: -1, seed: -2}\ncolour: red")
    reading = write(folder, "image: dots.png", name="Bad Name.yaml")
    text = "\n".join(map(str, reading.problems))
    for word in ("none.png", "recipe.iterations", "recipe.seed", "colour", "Bad Name", "title"):
        assert word in text
    assert len(reading.problems) == 6


def test_a_sound_file_is_read_beside_a_broken_one(folder):
    write(folder, "nonsense", name="broken.yaml")
    reading = write(folder, "title: Dots\nimage: dots.png")
    assert [style.style_id for style in reading.styles] == ["dots"]
    assert len(reading.problems) == 1


def test_images_that_are_pipes_or_larger_than_allowed_are_problems(folder):
    os.mkfifo(folder / "pipe.png")
    with (folder / "large.png").open("wb") as file:
        file.write(IMAGE)
        file.truncate(10**12)
    for name, complaint in (("pipe.png", "allowed: a file that is there"), ("large.png", "allowed: up to 67108864")):
        (problem,) = write(folder, f"title: Dots\nimage: {name}").problems
        assert complaint in str(problem)


def test_a_folder_may_be_links_into_one_within_as_kubernetes_mounts_it(folder):
    (folder / "..2026").mkdir()
    (folder / "..data").symlink_to("..2026")
    (folder / "..2026" / "linked.png").write_bytes(IMAGE)
    (folder / "..2026" / "linked.yaml").write_text("title: Linked\nimage: linked.png\n")
    for name in ("linked.png", "linked.yaml"):
        (folder / name).symlink_to(f"..data/{name}")
    (style,) = read_folder(folder, "mine").styles
    assert style.image.sha256 == hashlib.sha256(IMAGE).hexdigest()


def test_links_of_image_or_folder_that_lead_out_of_it_are_refused(folder):
    inner = folder / "within"
    (inner / "out.png").symlink_to("../dots.png")
    (inner / "above").symlink_to("..")
    (inner / "around.png").symlink_to("above/dots.png")
    for name in ("out.png", "around.png"):
        (problem,) = write(inner, f"title: Dots\nimage: {name}\n").problems
        assert "allowed: the name of a file in the style's own folder" in str(problem)


def test_a_remote_image_is_known_by_its_digest(folder):
    entry = {"title": "Far", "image": {"url": "https://example.org/far.jpg", "sha256": "a" * 64}}
    (style,) = write(folder, yaml.safe_dump(entry)).styles
    assert (style.image.url, style.image.sha256, style.image.path) == ("https://example.org/far.jpg", "a" * 64, None)


@pytest.mark.parametrize(
    ("url", "is_address"),
    [
        ("https://example.org:8443/x.jpg", True),
        ("http://[::1]:80/x.jpg", True),
        ("http://127.0.0.1/x.jpg", True),
        ("https://example.org./x.jpg", True),
        ("https://example.org:99999/x.jpg", False),
        ("https://example.org:0/x.jpg", False),
        ("https://example.org:http/x.jpg", False),
        ("https://:443/x.jpg", False),
        ("https://somebody@/x.jpg", False),
        ("https://a..b/x.jpg", False),
        (f"https://{'a' * 64}/x.jpg", False),
    ],
)
def test_an_address_has_a_host_and_no_port_that_is_none(folder, url, is_address):
    reading = write(folder, yaml.safe_dump({"title": "Far", "image": {"url": url, "sha256": "a" * 64}}))
    complaints = [] if is_address else [f"image.url: got {url!r}; allowed: an address of https or http"]
    assert [problem.description for problem in reading.problems] == complaints


def test_a_folder_that_is_not_there_is_a_problem(tmp_path):
    (problem,) = read_folder(tmp_path / "none", "mine").problems
    assert str(problem).startswith(f"{tmp_path / 'none'}: No such file or directory; allowed: a folder")


def test_a_folder_that_may_not_be_read_is_a_problem_and_not_an_empty_one(folder):
    write(folder, "title: Dots\nimage: dots.png\n")
    folder.chmod(0o311)
    user = os.geteuid()
    try:
        if user == 0:  # whom no mode keeps from reading
            os.seteuid(65534)
        reading = read_folder(folder, "mine")
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
    assert ["Permission denied; allowed: a folder" in str(problem) for problem in reading.problems] == [True]
