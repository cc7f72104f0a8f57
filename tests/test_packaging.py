"""What is installed is what is in the tree, and the stubs are those of the contract."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / ".venv" / "protoc" / "bin" / "python"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_package_list_is_that_of_the_tree():
    roots = {
        "styleserve": ROOT / "service" / "styleserve",
        "styleserve_client": ROOT / "clients/python/styleserve_client",
    }
    found = {"styleserve_styles"}
    for name, root in roots.items():
        for init in root.rglob("__init__.py"):
            found.add(".".join((name, *init.parent.relative_to(root).parts)))
    assert set(project()["tool"]["setuptools"]["packages"]) == found


def test_every_pin_is_a_plain_version_without_an_address():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, separator, version = line.partition("==")
        assert separator, line
        assert name, line
        assert version.replace(".", "").isalnum(), line


def test_the_wheel_holds_contract_stubs_and_styles(tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "demo", "build", "dist", "*.egg-info", ".*_cache")
    )
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(copy),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"styleserve/v1/job_pb2.py", "styleserve/v1/job_pb2.pyi", "styleserve/py.typed"} <= names
    assert {"styleserve_client/__init__.py", "styleserve_client/py.typed"} <= names
    committed = {
        f"styleserve_styles/{path.name}"
        for path in (ROOT / "styles").iterdir()
        if path.suffix in (".yaml", ".jpg", ".png")
    }
    assert committed <= names


@pytest.mark.skipif(not GENERATOR.exists(), reason="the pinned generator is not installed; `make setup` installs it")
def test_the_stubs_are_those_of_the_contract():
    result = subprocess.run([GENERATOR, ROOT / "protos" / "generate.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_make_clean_leaves_trainings_and_pictures_alone(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    stay = {tmp_path / "build" / "light" / "1" / "state", tmp_path / "demo" / "painting.png"}
    go = {tmp_path / ".venv" / "bin" / "python", tmp_path / "build" / "lib" / "a.py", tmp_path / "dist" / "a.whl"}
    for path in stay | go:
        path.parent.mkdir(parents=True)
        path.touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {path for path in stay | go if path.exists()} == stay
