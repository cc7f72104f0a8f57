"""Packs: the built-in styles, a folder of one's own, and a third party's package that is really installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from styleserve import images
from styleserve.catalog.packs import check_folder, load_catalog
from styleserve.errors import CatalogError, StyleNotFoundError

SAMPLE_PACK = Path(__file__).parents[1] / "support" / "sample_pack"
IMAGE = images.encode(images.Picture(images.noise(32, 32, seed=3)), "png").data


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "dots.png").write_bytes(IMAGE)
    (folder / "my-dots.yaml").write_text("title: Dots\nimage: dots.png\n")
    return folder


def test_the_built_in_pack_comes_through_the_entry_point():
    styles = load_catalog([]).styles
    assert len([style for style in styles if style.image.path is not None]) >= 8
    assert {"starry-night", "the-scream", "great-wave", "shipwreck", "udnie", "water-lilies"} <= {
        style.style_id for style in styles
    }
    assert {style.origin for style in styles} == {"builtin"}


def test_no_built_in_image_is_above_300_kilobytes():
    for style in load_catalog([]).styles:
        if style.image.path is not None:
            assert style.image.path.stat().st_size <= 300_000, style.name


def test_a_folder_adds_its_styles(folder):
    catalog = load_catalog([folder])
    style = catalog.find("styles/my-dots")
    assert (style.title, style.origin) == ("Dots", "mine")
    assert catalog.find(style.versioned_name) is style


def test_styles_are_sorted_by_name(folder):
    names = [style.name for style in load_catalog([folder]).styles]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("styles/my-dot", "styles/my-dots"),
        ("my-dots", "styles/my-dots"),
        ("styles/my-dots@0123456789ab", "'styles/my-dots@0123456789ab'; the nearest: styles/my-dots@"),
        ("styles/my-dots@", "'styles/my-dots@'; the nearest: styles/my-dots@"),
    ],
)
def test_a_wrong_name_gets_the_nearest(folder, name, nearest):
    with pytest.raises(StyleNotFoundError) as caught:
        load_catalog([folder]).find(name)
    assert nearest in str(caught.value)


def test_a_name_that_is_taken_is_refused_naming_both_files(folder):
    (folder / "mosaic.yaml").write_text("title: Mine\nimage: dots.png\n")
    with pytest.raises(CatalogError) as caught:
        load_catalog([folder])
    assert str(folder / "mosaic.yaml") in str(caught.value)
    assert str(Path("styles") / "mosaic.yaml") in str(caught.value)
    assert "mosaic" in "".join(map(str, check_folder(folder).problems))


def test_checking_the_built_in_folder_finds_nothing(folder):
    built_in = load_catalog([]).find("styles/mosaic").file.parent
    assert check_folder(built_in).problems == ()
    assert check_folder(folder).problems == ()


def test_all_problems_of_all_folders_are_told_at_once(folder, tmp_path):
    (folder / "broken.yaml").write_text("image: [")
    with pytest.raises(CatalogError) as caught:
        load_catalog([folder, tmp_path / "none"])
    assert len(caught.value.problems) == 2


def test_an_installed_pack_is_found_and_its_code_is_not_run(tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree(SAMPLE_PACK, pack)
    (pack / "sample_styles" / "dots.png").write_bytes(IMAGE)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--no-index", "--target", site, pack], check=True, capture_output=True)
    script = (
        "import json; from styleserve.catalog.packs import load_catalog;"
        "print(json.dumps({style.style_id: style.origin for style in load_catalog([]).styles}))"
    )
    paths = os.pathsep.join([str(site), *(path for path in sys.path if path)])
    output = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ).stdout
    origins = json.loads(output)
    assert origins["sample-dots"] == "sample"
    assert origins["mosaic"] == "builtin"


@pytest.fixture
def announce(tmp_path, monkeypatch):
    """Installs a package `outer`, which cannot be imported and holds `outer.dots`; announces the module of a name."""
    inner = tmp_path / "outer" / "dots"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text("raise RuntimeError('this code was run')\n")
    (inner / "__init__.py").touch()
    (inner / "dots.png").write_bytes(IMAGE)
    (inner / "inner-dots.yaml").write_text("title: Dots\nimage: dots.png\n")
    information = tmp_path / "outer-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outer\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name: (information / "entry_points.txt").write_text(f"[styleserve.styles]\nthird = {name}\n")


def test_a_pack_within_a_package_is_found_and_the_code_of_neither_is_run(announce):
    announce("outer.dots")
    assert load_catalog([]).find("styles/inner-dots").origin == "third"
    assert "outer" not in sys.modules


@pytest.mark.parametrize("name", ["outer.none", "none.dots", "ast", "json.decoder"])
def test_what_is_no_package_is_told_with_the_name_that_was_announced(announce, name):
    announce(name)
    with pytest.raises(CatalogError, match=f"got '{name}'; allowed: an importable package"):
        load_catalog([])
