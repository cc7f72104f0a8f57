"""What the README and the documents show is true: code runs, commands exist, tables say what the program says."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from styleserve import images
from styleserve.callers import Callers
from styleserve.catalog import keeper
from styleserve.catalog.reader import read_folder
from styleserve.cli.main import cli
from styleserve.config import Config, environment_name
from styleserve.download import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from styleserve.jobs import engine_keeper
from styleserve.model.acquisition import IMAGENET
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


def manifests() -> list[dict[str, Any]]:
    """What Kubernetes would be given."""
    parts = [part for _, block in blocks("yaml") for part in yaml.safe_load_all(block)]
    return [part for part in parts if "kind" in part]


def image_says(pattern: str) -> str:
    """The one thing in the Dockerfile that matches."""
    (found,) = re.findall(pattern, (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return found


def stop_s() -> float:
    """Seconds that a server takes at most to stop, at its default `--drain-s`."""
    calls_s = server._DRAIN_NOTICE_S + server._GRACE_S + keeper._PATIENCE_S
    return Config().drain_s + calls_s + process.STOP_TIMEOUT_S + process.KILL_TIMEOUT_S


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
    if ">>" in arguments:
        appended = folder / arguments[-1]
        assert f"echo callers: > {appended.name}\n    {' '.join(command)}\n" in (ROOT / "docs/operating.md").read_text()
        done = CliRunner().invoke(cli, arguments[: arguments.index(">>")])
        appended.write_text(f"callers:\n{done.stdout}")
        assert len(Callers(appended)) == 1
        return
    if "--network" in arguments or "--styles" in arguments:  # for a private server, beside which none is named
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
    assert int(told) >= stop_s()


def test_variables_in_the_documents_are_settings_or_say_how_to_call():
    options = [option for name in ("serve", "info") for option in cli.commands[name].params]
    known = {option.envvar for option in options if option.envvar}
    text = (ROOT / "docs" / "operating.md").read_text()
    assert set(re.findall(r"STYLESERVE_[A-Z_]+", text)) <= known


def test_the_first_start_is_told_to_take_as_long_as_it_may():
    text = " ".join((ROOT / "docs" / "operating.md").read_text().split())
    (told,) = re.findall(
        r"abandoned after (\d+) minutes, or earlier after (\d+) s without a connection or (\d+) s", text
    )
    assert [float(told[0]) * 60, *map(float, told[1:])] == [IMAGENET.timeout_s, CONNECT_TIMEOUT_S, READ_TIMEOUT_S]
    (told,) = re.findall(r"--health-start-period (\d+)m", text)
    assert float(told) * 60 > IMAGENET.timeout_s
    assert text.count(IMAGENET.file_name) == 1


def test_the_manifest_fits_the_image_and_the_server():
    (pods,) = (part["spec"] for part in manifests() if part["kind"] == "StatefulSet")
    (service,) = (part for part in manifests() if part["kind"] == "Service")
    assert pods["serviceName"] == service["metadata"]["name"]
    assert pods["selector"]["matchLabels"] == pods["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert pods["replicas"] == 1
    pod = pods["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= stop_s()
    identity = pod["securityContext"]
    uid = int(image_says(r"--uid (\d+)"))
    assert identity["runAsUser"] == identity["runAsGroup"] == identity["fsGroup"] == uid
    assert f"runs as uid {uid}" in (ROOT / "docs" / "operating.md").read_text()
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert sorted(mounts.values()) == sorted(json.loads(image_says(r"^VOLUME (.*)$")))
    assert mounts.keys() == {claim["metadata"]["name"] for claim in pods["volumeClaimTemplates"]}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["grpc"] == int(image_says(r"^EXPOSE (\d+)$")) == service["spec"]["ports"][0]["port"]
    names = {environment_name(setting.name): setting.name for setting in fields(Config)}
    settings = Config(**{names[each["name"]]: each["value"] for each in container["env"]})
    assert settings.metrics == f"0.0.0.0:{ports['metrics']}"


def test_the_manifests_probes_leave_a_server_alone_that_is_busy_starting():
    (pods,) = (part["spec"] for part in manifests() if part["kind"] == "StatefulSet")
    (container,) = pods["template"]["spec"]["containers"]
    starting, ready, live = (container[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    assert starting["periodSeconds"] * starting["failureThreshold"] >= engine_keeper.LONGEST_WARM_UP_S
    assert IMAGENET.timeout_s < engine_keeper.LONGEST_WARM_UP_S
    assert starting["grpc"] == ready["grpc"] == live["tcpSocket"]


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command[1] for command in commands("make")} <= targets


def test_yaml_in_the_documents_is_a_style_callers_or_settings(tmp_path):
    for document, block in blocks("yaml"):
        entries = next(yaml.safe_load_all(block))
        if "kind" in entries:
            continue  # see the tests of the manifest
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
