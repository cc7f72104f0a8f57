"""What the README and the documents show is true: code runs, commands exist, tables say what the program says."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from styleserve import images
from styleserve.callers import Callers
from styleserve.catalog import keeper
from styleserve.catalog.reader import read_folder
from styleserve.cli.main import cli
from styleserve.config import Config
from styleserve.rpc import server
from styleserve.v1 import server_info_pb2, style_catalog_pb2, style_transfer_pb2
from styleserve.workers import process
from support.service import png
from support.toy_server import serve_in_process

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "clients" / "python" / "examples").glob("*.py"))
SERVICES = {
    service.full_name: {method.name for method in service.methods}
    for module in (style_transfer_pb2, style_catalog_pb2, server_info_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Fenced blocks of a language, with the document's name."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(path.name, block) for path in DOCUMENTS for block in pattern.findall(path.read_text())]


def commands(program: str) -> list[list[str]]:
    """Indented command lines of a program."""
    lines = [line for path in DOCUMENTS for line in path.read_text().splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"    {program} ")]


def put_dots(styles: Path) -> None:
    """A folder with the style that the documents show."""
    styles.mkdir()
    (styles / "dots.png").write_bytes(png(0.5))
    (styles / "dots.yaml").write_text("title: Dots\nimage: dots.png\n")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    put_dots(folder / "styles")
    with serve_in_process(folder, step_s=0) as address:
        yield address


@pytest.fixture
def folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLESERVE_SERVER", address)
    photograph = images.decode(png((0.5, 0.4, 0.3), 48, 64), images.ImageLimits())
    (tmp_path / "photo.jpg").write_bytes(images.encode(photograph, "jpeg").data)
    (tmp_path / "callers.yaml").write_text(next(block for _, block in blocks("yaml") if "token_sha256" in block))
    put_dots(tmp_path / "my-styles")
    return tmp_path


@pytest.mark.parametrize(("document", "code"), blocks("python"))
def test_python_in_the_documents_runs(folder, address, document, code):
    assert "127.0.0.1:50051" in code
    exec(compile(code.replace("127.0.0.1:50051", address), document, "exec"), {})


@pytest.mark.parametrize("command", commands("styleserve"), ids=" ".join)
def test_commands_in_the_documents_work(folder, address, command):
    arguments = command[1:]
    if arguments[0] == "serve":
        (folder / "server.yaml").write_text(next(block for _, block in blocks("yaml") if "max_queue" in block))
        click.Context(cli)
        cli.commands["serve"].make_context("serve", arguments[1:])
        return
    if "--network" in arguments:  # for a private server, beside which none is named
        cli.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        return
    arguments = [address if argument == "127.0.0.1:50051" else argument for argument in arguments]
    if "jobs/NAME" in arguments:
        listed = CliRunner().invoke(
            cli, ["stylize", "photo.jpg", "--style", "mosaic", "-o", "a.png", "--iterations", "1"]
        )
        assert listed.exit_code == 0, listed.output
        name = CliRunner().invoke(cli, ["jobs", "list"]).stdout.split()[0]
        arguments = [name if argument == "jobs/NAME" else argument for argument in arguments]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", commands("grpcurl"), ids=" ".join)
def test_methods_that_grpcurl_is_told_to_call_exist(command):
    target = command[-1]
    if target != "list":
        service, _, method = target.partition("/")
        assert method in SERVICES[service]


def test_the_time_to_stop_a_container_is_as_long_as_the_server_may_take():
    (told,) = re.findall(r"docker stop -t (\d+)", (ROOT / "docs" / "operating.md").read_text())
    calls_s = server._DRAIN_NOTICE_S + server._GRACE_S + keeper._PATIENCE_S
    engine_s = process.STOP_TIMEOUT_S + process.KILL_TIMEOUT_S
    assert int(told) >= Config().drain_s + calls_s + engine_s


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command[1] for command in commands("make")} <= targets


def test_yaml_in_the_documents_is_a_style_or_settings(tmp_path):
    for document, block in blocks("yaml"):
        entries = yaml.safe_load(block)
        if "title" in entries:
            (tmp_path / "shown.yaml").write_text(block)
            (tmp_path / "dots.png").write_bytes(png(0.5))
            assert read_folder(tmp_path, "docs").problems == (), document
        elif "callers" in entries:
            callers = tmp_path / "callers"
            callers.write_text(block)
            assert len(Callers(callers, asks_for_certificates=False)) == len(entries["callers"])
        else:
            assert set(entries) <= {setting.name for setting in fields(Config)}, document


def test_the_table_of_flags_is_the_programs_own():
    rows = re.findall(
        r"^\| `--([a-z-]+) ?([A-Z:]*)` \| (.*?) \| (.*?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert [name.replace("-", "_") for name, *_ in rows] == [setting.name for setting in fields(Config)]
    for (_, metavar, default, text), setting in zip(rows, fields(Config), strict=True):
        assert metavar == setting.metadata["metavar"]
        assert text == setting.metadata["help"]
        if setting.default is not MISSING and setting.default not in (None, ()):
            assert default == f"`{setting.default}`"


def test_links_in_the_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("http") or (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(folder, address, example):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(example), "photo.jpg", "--server", address]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("*.png"))
