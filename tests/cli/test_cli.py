"""The command line: against a server, with a private one, and what it says when something is wrong."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import pytest
import trustme
from click.testing import CliRunner
from rich.console import Console

from styleserve import images
from styleserve.cli import connection
from styleserve.cli import serve as serve_module
from styleserve.cli.connection import private_server
from styleserve.cli.display import Display
from styleserve.cli.main import cli
from styleserve.cli.plot import plot_losses
from styleserve.cli.serve import data_kept, heed_end
from styleserve.config import FORGOTTEN, Config
from styleserve.errors import ConfigurationError
from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from styleserve_client import Client, Picture, Progressed
from support import carried
from support.rich_errors import refused
from support.service import GREY, png, request, running, wait_until_serving
from support.toy import ToyEngineFactory

STYLESERVE = [sys.executable, "-m", "styleserve"]
SOURCES = os.pathsep.join(path for path in sys.path if path)


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCES, "TF_CPP_MIN_LOG_LEVEL": "2", **variables}


async def until_serving(address: str) -> None:
    async with asyncio.timeout(90), grpc.aio.insecure_channel(address) as channel:
        await wait_until_serving(channel)


@pytest.fixture
async def run(tmp_path, monkeypatch):
    """Runs a command against a server with the toy engine, off the event loop; returns click's result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(png(0.2))
    async with running(tmp_path) as service:
        monkeypatch.setenv("STYLESERVE_SERVER", service.address)

        async def run(*arguments: str):
            return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))

        yield run


async def test_a_picture_is_painted_plotted_and_told_as_json(run):
    result = await run(
        *("stylize", "photo.png", "--style", "plain-grey", "-o", "out.jpg", "--preset", "classic", "--iterations", "5"),
        *("--plot", "loss.png", "--json", "--seed", "3"),
    )
    assert result.exit_code == 0, result.output
    job = json.loads(result.stdout)
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["progress"]["total_iterations"] == 5
    assert "queue_position" not in job
    assert images.sniff(Path("out.jpg").read_bytes()) == "jpeg"
    assert images.sniff(Path("loss.png").read_bytes()) == "png"


async def test_a_picture_is_kept_whatever_becomes_of_the_server_that_painted_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(png(0.2))
    async with running(tmp_path, lambda: time.sleep(0.05)) as service:
        paint = ["stylize", "photo.png", "--style", GREY, "-o", "out.png", "--preset", "classic", "--iterations", "20"]
        painting = asyncio.create_task(
            asyncio.to_thread(CliRunner().invoke, cli, [*paint, "--server", service.address])
        )
        (job,) = await service.admitted(1)
        await service.wait_for(job.name, job_pb2.JOB_STATE_RUNNING, iteration=1)
        await service.server.drain()
        await service.server.stop()
        result = await painting
    assert result.exit_code == 0, result.output
    assert images.sniff(Path("out.png").read_bytes()) == "png"


async def test_a_kept_picture_has_no_losses_and_leaves_the_plot_of_those_that_it_had(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(png(0.2))
    async with running(tmp_path, no_cache=False) as service:
        paint = ["stylize", "photo.png", "--style", GREY, "-o", "out.png", "--plot", "loss.png", "--iterations", "3"]
        command = [*paint, "--server", service.address]
        await asyncio.to_thread(CliRunner().invoke, cli, command)
        drawn = Path("loss.png").read_bytes()
        again = await asyncio.to_thread(CliRunner().invoke, cli, command)
        jobs = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
    assert again.exit_code == 0, again.output
    assert f"kept from {jobs[-1].name}, so there are no losses to draw" in again.stderr
    assert Path("loss.png").read_bytes() == drawn


async def test_files_are_styles_too_and_weights_go_with_them(run):
    Path("white.png").write_bytes(png(1.0))
    arguments = ["stylize", "photo.png", "--style", "white.png", "--weight", "3", "--style", GREY, "--weight", "1"]
    result = await run(*arguments, "-o", "out.png", "--preset", "classic", "--optimizer", "lbfgsb")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "out.png"
    assert images.decode(Path("out.png").read_bytes(), images.ImageLimits()).pixels.mean() == pytest.approx(
        0.9, abs=0.01
    )


async def test_the_start_and_the_colours_are_those_that_were_asked_for(run):
    paint = ["stylize", "photo.png", "--style", GREY, "-o", "out.png", "--iterations", "1", "--json"]
    result = await run(*paint, "--init", "noise", "--color", "content_luminance")
    assert result.exit_code == 0, result.output
    recipe = json.loads(json.loads(result.stdout)["provenance"]["recipe_json"])
    assert (recipe["init"], recipe["color"]) == ("noise", "content_luminance")


async def test_previews_are_kept(run, tmp_path):
    arguments = ["stylize", "photo.png", "--style", GREY, "-o", "out.png", "--preset", "classic"]
    result = await run(*arguments, "--preview-dir", "previews")
    assert result.exit_code == 0, result.output
    assert {images.sniff(path.read_bytes()) for path in (tmp_path / "previews").iterdir()} == {"jpeg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--style", "mosiac", "-o", "out.png"], "styles/mosaic"),
        (["--style", "mosaic", "-o", "out.tiff"], "ends in .png"),
        (["--style", "mosaic", "-o", "out.png", "--weight", "1", "--weight", "2"], "1 --style and 2 --weight"),
        (["--style", "mosaic", "-o", "out.png", "--scale", "1", "--scale", "2"], "1 --style and 2 --scale"),
        (
            ["--style", "mosaic", "--scale", "2", "--style", "waves", "--scale", "20", "-o", "out.png"],
            "styles[1].scale: got 20; allowed: 0.1 to 10",
        ),
        (["--style", "photo.png", "--scale", "0.01", "-o", "out.png"], "styles[0].scale: got 0.01; allowed:"),
        (
            ["--style", "mosaic", "-o", "out.png", "--iterations", "-5"],
            "-5 is not in the range 0<=x<=10000",
        ),
        (["--style", "mosaic", "-o", "out.png", "--preset", "best"], "classic"),
        (["--style", "mosaic", "-o", "out.png", "--server", "127.0.0.1:9"], "styleserve serve"),
        (["--style", "mosaic", "-o", "out.png", "--iterations", "99999999999"], "0<=x<=10000"),
        (["--style", "mosaic", "-o", "out.png", "--seed", "9" * 23], "is not in the range 0<=x<="),
        (["--style", "mosaic", "-o", "out.png", "--max-side", "99999999999"], "is not in the range 16<=x<="),
        (["--style", "mosaic", "-o", "out.png", "--timeout", "nan"], "allowed: a number of seconds"),
        (["--style", "mosaic", "-o", "out.png", "--timeout", "inf"], "is not in the range 0<x<="),
        (
            ["--style", "mosaic", "-o", "nowhere/out.png"],
            "--output: got 'nowhere/out.png'; allowed: a file in a folder",
        ),
        (["--style", "mosaic", "-o", "out.png", "--plot", "nowhere/l.png"], "--plot: got 'nowhere/l.png'"),
        (["--style", "mosaic", "-o", "out.png", "--plot", "loss.xyz"], "ends in .png, .pdf, .svg"),
        (
            ["--style", "./nofile.jpg", "-o", "out.png"],
            "--style: got './nofile.jpg', and there is no such file; allowed:",
        ),
        (["--style", "nofile.JPG", "-o", "out.png"], "or a name of the catalogue (styleserve styles list)"),
        (["--style", "pictures/nofile", "-o", "out.png"], "there is no such file"),
        (["--style", "styles/nofile.webp", "-o", "out.png"], "there is no such file"),
        (["--style", "styles/mosiac", "-o", "out.png"], "the nearest: styles/mosaic"),
        (["--style", "mosaic", "-o", "out.png", "--preview-dir", "/proc/none"], "/proc/none: No such file"),
    ],
)
async def test_what_is_wrong_is_said_in_a_sentence_before_any_job(run, arguments, message):
    result = await run("stylize", "photo.png", *arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert json.loads((await run("jobs", "list", "--json")).stdout) == []


@pytest.mark.parametrize("place", ["flag", "environment"])
@pytest.mark.parametrize("setting", ["--network vgg19", "--weights none.h5", "--precision float32", "--styles a"])
async def test_settings_of_a_private_server_are_refused_beside_one_that_was_named(run, monkeypatch, setting, place):
    address = os.environ["STYLESERVE_SERVER"]
    if place == "flag":
        monkeypatch.delenv("STYLESERVE_SERVER")
    named = ["--server", address] if place == "flag" else []
    result = await run("stylize", "photo.png", "--style", GREY, "-o", "out.png", *named, *setting.split())
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert (
        f"got {setting} for the server at {address}, which has settings of its own; allowed: for a private" in message
    )
    assert "leave out either these or --server and STYLESERVE_SERVER" in message
    assert not Path("out.png").exists()


async def test_a_picture_that_cannot_be_written_leaves_the_one_that_was_there(run, monkeypatch):
    Path("out.png").write_bytes(b"the old one")

    def fail(picture, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Picture, "save", fail)
    result = await run("stylize", "photo.png", "--style", GREY, "-o", "out.png", "--iterations", "1")
    assert (result.exit_code, "No space left" in result.output) == (1, True)
    assert Path("out.png").read_bytes() == b"the old one"
    assert not list(Path().glob(".out*"))


async def test_nobody_at_the_address_is_told_without_trying_again(run):
    begun = time.monotonic()
    for command in (["info"], ["jobs", "list"], ["styles", "list"]):
        assert "no server answers at 127.0.0.1:9" in (await run(*command, "--server", "127.0.0.1:9")).output
    assert time.monotonic() - begun < 3


async def test_a_server_that_is_called_in_the_wrong_way_is_not_taken_for_none(tmp_path):
    authority = trustme.CA()
    files = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(files["cert"])
    certificate.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    credentials = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())

    async def info(address: str, *flags: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, cli, ["info", "--server", address, *flags])
        assert result.exit_code == 1
        return result.output

    async with running(tmp_path, credentials=credentials, tls_cert=files["cert"], tls_key=files["key"]) as service:
        assert "one that speaks TLS is called with --tls or --tls-ca" in await info(service.address)
        assert "by an authority of the system or of --tls-ca" in await info(service.address, "--tls")
    async with running(tmp_path) as service:
        assert "one without TLS is called without these flags" in await info(service.address, "--tls")


async def test_a_proxy_of_the_environment_has_no_part_in_calls_within_this_machine(run, monkeypatch):
    """Nobody answers at the proxy."""
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = connection.Server(os.environ["STYLESERVE_SERVER"])
    assert await asyncio.to_thread(connection._becomes_ready, server)
    painted = await run("stylize", "photo.png", "--style", GREY, "-o", "out.png", "--iterations", "1")
    assert painted.exit_code == 0, painted.output
    loaded = await run(
        "load", "--duration", "0.2", "--rate", "5", "--mix", "{reads: {do: read, side: 64, iterations: 1}}"
    )
    assert loaded.exit_code == 0, loaded.output


def test_the_progress_bar_fits_a_terminal_of_80_columns():
    written = io.StringIO()
    losses = job_pb2.Losses(total=12345.678, content=1234.5, style=11111.1, total_variation=0.123)
    progress = job_pb2.Progress(iteration=250, total_iterations=1000, width=1024, height=768, losses=losses)
    progress.eta.FromSeconds(1234)
    with Display(Console(file=written, width=80, force_terminal=True, color_system=None)) as display:
        display.show(Progressed(1, progress))
    line = [line for line in written.getvalue().splitlines() if "1024 x 768" in line][-1]
    for part in ("━━━", "250/1000", "loss 1.235e+04", "0:00:0", "1234 s left"):
        assert part in line


async def test_styles_are_listed_shown_and_checked(run, tmp_path):
    listed = await run("styles", "list", "--json")
    assert GREY in [style["name"] for style in json.loads(listed.stdout)]
    assert "mosaic\tMosaic" in (await run("styles", "list")).stdout
    assert json.loads((await run("styles", "show", "mosaic", "--json")).stdout)["license"] == "Apache-2.0"
    assert "public-domain" in (await run("styles", "show", "udnie")).stdout
    assert "recipe" not in (await run("styles", "show", "plain-grey")).stdout
    assert "recipe" not in json.loads((await run("styles", "show", "plain-grey", "--json")).stdout)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.yaml").write_text("titel: A\nimage: none.png\n")
    checked = await run("styles", "check", "broken")
    assert checked.exit_code == 1
    for word in ("a.yaml", "did you mean 'title'", "none.png", "0 styles are sound"):
        assert word in checked.output
    assert json.loads((await run("styles", "check", "styles", "--json")).stdout)["problems"] == []


async def test_texts_of_styles_stand_in_a_terminals_table_as_they_are(run, monkeypatch):
    title = "Study [/1] [unknown] :smile:"
    await run("styles", "add", "own", "photo.png", "--title", title)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    listed = await run("styles", "list")
    assert listed.exit_code == 0, listed.output
    assert title in listed.stdout


async def test_styles_are_added_removed_and_reloaded(run, tmp_path):
    added = await run("styles", "add", "own", "photo.png", "--title", "My own", "--tag", "a", "--tag", "b", "--json")
    assert added.exit_code == 0, added.output
    assert json.loads(added.stdout)["tags"] == ["a", "b"]
    again = await run("styles", "add", "own", "photo.png", "--title", "My own")
    assert (again.exit_code, "'styles/own' exists already" in again.output) == (1, True)
    bad = await run("styles", "add", "No", "photo.png", "--title", "", "--strength", "2")
    assert "style_id: got 'No'" in bad.output
    assert "style.title: got none" in bad.output
    assert "style.recipe.strength: got 2" in bad.output
    assert (await run("styles", "remove", "own")).exit_code == 0
    assert "comes from 'builtin'" in (await run("styles", "remove", "mosaic")).output
    (tmp_path / "styles" / "new.yaml").write_text("title: New\nimage: grey.png\n")
    for arguments in (["--dry-run"], []):
        assert (await run("styles", "reload", *arguments)).stdout == "added\tstyles/new\n"
    assert (await run("styles", "reload", "--json")).stdout == "{}\n"
    (tmp_path / "styles" / "new.yaml").write_text("titel: New\nimage: grey.png\n")
    broken = await run("styles", "reload")
    assert broken.exit_code == 1
    assert "styles/new.yaml: unknown key 'titel'" in broken.output
    assert "styles/new.yaml: title: got none" in broken.output


async def test_jobs_are_listed_got_watched_and_cancelled(run):
    await run("stylize", "photo.png", "--style", GREY, "-o", "out.png", "--preset", "classic", "--iterations", "3")
    (job,) = json.loads((await run("jobs", "list", "--json")).stdout)
    assert job["name"] in (await run("jobs", "list", "--state", "succeeded")).stdout
    assert (await run("jobs", "list", "--state", "failed")).stdout == ""
    assert "allowed: queued, running" in (await run("jobs", "list", "--state", "lost")).output
    for command in ("get", "watch", "cancel"):
        assert json.loads((await run("jobs", command, job["name"], "--json")).stdout)["name"] == job["name"]
    assert "3 of 3" in (await run("jobs", "get", job["name"])).stdout
    lines = (await run("jobs", "log", job["name"])).stdout.splitlines()
    assert [line.split("\t")[1:] for line in (lines[0], lines[-1])] == [["info", "admitted"], ["info", "succeeded"]]
    assert len(json.loads((await run("jobs", "log", job["name"], "--json")).stdout)) == len(lines)
    assert "there is no job" in (await run("jobs", "get", "nobody")).output


async def test_to_watch_a_job_that_ends_without_a_picture_ends_with_status_1(run):
    def submit() -> str:
        with Client(os.environ["STYLESERVE_SERVER"]) as client:
            return client.submit("photo.png", GREY, preset="classic", iterations=10_000).name

    name = await asyncio.to_thread(submit)
    await run("jobs", "cancel", name)
    watched = await run("jobs", "watch", name, "--json")
    assert json.loads(watched.stdout)["state"] == "JOB_STATE_CANCELLED"
    assert watched.exit_code == 1


async def test_a_server_tells_about_itself_and_its_health(run):
    assert json.loads((await run("info", "--json")).stdout)["weights_trained"] is True
    assert "toy@sha256" in (await run("info")).stdout
    healthy = await run("info", "--health")
    assert (healthy.exit_code, healthy.stdout.strip()) == (0, "SERVING")
    assert (await run("info", "--health", "--server", "127.0.0.1:9")).exit_code == 1


def test_the_plot_has_a_line_for_each_term_and_a_mark_for_each_scale(tmp_path):
    history = [
        job_pb2.Progress(
            iteration=n,
            width=8 * (1 + n // 5),
            height=8,
            losses=job_pb2.Losses(total=30 - n, style=20 - n, content=10 - n),
        )
        for n in range(10)
    ]
    plot_losses(history, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    texts = re.findall(r"<!-- (.+?) -->", drawn)
    lines = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="([^"]*)"', drawn)
    assert [path.count("L") for path, _ in lines if path.count("L") > 1] == 3 * [len(history) - 1]
    assert texts[-3:] == ["total", "style", "content"], "a term that is nothing throughout has no line"
    assert sum("stroke-dasharray" in style for _, style in lines) == 1
    assert [text for text in texts if " x " in text] == ["16 x 8"]


def test_a_file_of_callers_grows_by_what_is_printed_for_each(tmp_path):
    file = tmp_path / "callers.yaml"
    file.write_text("callers:\n")
    for name in ("editor", "curator"):
        made = CliRunner().invoke(cli, ["callers", "new", name, "--scope", "read"])
        assert re.match(r"token: \S+\n.* below `callers:`", made.stderr)
        with file.open("a") as growing:
            growing.write(made.stdout)
    checked = CliRunner().invoke(cli, ["callers", "check", str(file)])
    assert (checked.exit_code, checked.output) == (0, f"{file}: 2 callers\n")


def test_help_shows_the_defaults():
    text = CliRunner().invoke(cli, ["serve", "--help"]).output
    for word in ("--listen HOST:PORT", "127.0.0.1:50051", "STYLESERVE_MAX_QUEUE", "default: 64", "text|json"):
        assert word in text


def test_bad_settings_are_refused_before_anything_starts(tmp_path):
    (tmp_path / "config.yaml").write_text("max_quue: 3\n")
    for arguments, message in (
        (["--config", str(tmp_path / "config.yaml")], "did you mean 'max_queue'"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--styles", str(tmp_path / "none")], "a folder that is there"),
        (["--precision", "float8"], "'auto', 'float32', 'bfloat16'"),
    ):
        result = CliRunner().invoke(cli, ["serve", *arguments])
        assert result.exit_code != 0
        assert message in result.output


@pytest.mark.parametrize("is_private", [True, False])
def test_a_private_server_has_none_of_the_settings_for_others_but_those_of_its_flags(tmp_path, monkeypatch, is_private):
    for name in ("cert.pem", "key.pem", "ca.pem", "callers.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLESERVE_TLS_CERT", "cert.pem")
    monkeypatch.setenv("STYLESERVE_TLS_KEY", "key.pem")
    monkeypatch.setenv("STYLESERVE_CALLERS", "callers.yaml")
    monkeypatch.setenv("STYLESERVE_TRACES", "http://127.0.0.1:9")
    Path("config.yaml").write_text("tls_client_ca: ca.pem\nmax_queue: 7\n")
    served = []

    async def note(config: Config, *_: object) -> None:
        served.append(config)

    monkeypatch.setattr(serve_module, "_serve", note)
    monkeypatch.setattr(serve_module, "observed", lambda config: contextlib.nullcontext())
    monkeypatch.setattr("styleserve.logs.configure", lambda form: None)
    arguments = ["serve", "--config", "config.yaml", "--metrics", "127.0.0.1:9100"]
    result = CliRunner().invoke(cli, [*arguments, *(["--until-stdin-closes"] if is_private else [])])
    assert result.exit_code == 0, result.output
    (config,) = served
    for name in ("tls_cert", "tls_key", "tls_client_ca", "callers", "traces"):
        assert (getattr(config, name) is None) == is_private, name
    assert (config.metrics, config.max_queue) == ("127.0.0.1:9100", 7)


async def test_the_images_health_check_calls_as_the_environment_says(tmp_path, monkeypatch):
    authority = trustme.CA()
    mine, servers = authority.issue_cert("health", common_name="health"), authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key", "servers_cert", "servers_key")}
    authority.cert_pem.write_to_path(paths["ca"])
    for certificate, prefix in ((mine, ""), (servers, "servers_")):
        certificate.cert_chain_pems[0].write_to_path(paths[f"{prefix}cert"])
        certificate.private_key_pem.write_to_path(paths[f"{prefix}key"])
    settings = {"tls_cert": paths["servers_cert"], "tls_key": paths["servers_key"], "tls_client_ca": paths["ca"]}
    pem = {name: path.read_bytes() for name, path in paths.items()}
    credentials = grpc.ssl_channel_credentials(pem["ca"], pem["key"], pem["cert"])
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    program, *arguments = json.loads(re.search(r"^HEALTHCHECK .* CMD (.*)$", dockerfile, re.MULTILINE)[1])
    assert program == "styleserve"
    async with running(tmp_path, credentials=credentials, **settings) as service:

        async def check():
            return (await asyncio.to_thread(CliRunner().invoke, cli, arguments)).exit_code

        monkeypatch.setenv("STYLESERVE_SERVER", service.address)
        for name, path in settings.items():
            monkeypatch.setenv(f"STYLESERVE_{name.upper()}", str(path))  # the server's own, which say nothing to it
        assert await check() == 1
        for name in ("ca", "cert", "key"):
            monkeypatch.setenv(f"STYLESERVE_CALL_TLS_{name.upper()}", str(paths[name]))
        assert await check() == 0


def test_a_server_of_its_own_reads_its_settings_paints_and_ends_on_a_signal(tmp_path):
    """The whole program once: VGG19 on random filters, settings from flag, environment and file, JSON log, SIGTERM."""
    (tmp_path / "photo.png").write_bytes(png(0.2, 40, 48))
    (tmp_path / "config.yaml").write_text("max_queue: 7\nmax_side: 64\nlog_format: json\n")
    variables = environment(
        STYLESERVE_MAX_SIDE="48", STYLESERVE_DATA_DIR=str(tmp_path / "data"), STYLESERVE_WEIGHTS="untrained"
    )
    command = [*STYLESERVE, "serve", "--listen", "127.0.0.1:0", "--config", str(tmp_path / "config.yaml")]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=variables)
    try:
        address = server.stdout.readline().strip().removeprefix("listening on ")
        asyncio.run(until_serving(address))
        paint = ["stylize", "photo.png", "--style", "mosaic", "-o", "out.png", "--iterations", "2", "--server", address]
        painted = subprocess.run(
            [*STYLESERVE, *paint], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert painted.returncode == 0, painted.stderr
        assert "UNTRAINED WEIGHTS" in painted.stderr
        assert "light network" not in painted.stderr
        info = [*STYLESERVE, "info", "--json", "--server", address]
        told = json.loads(subprocess.run(info, env=variables, capture_output=True, text=True, check=True).stdout)
        assert (told["max_queue"], told["max_output_side"]) == (7, 48)
        assert "weights_trained" not in told
        assert told["weights"].startswith("untrained@sha256:")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    messages = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert any("UNTRAINED WEIGHTS" in message for message in messages)
    assert any("draining" in message for message in messages)
    assert carried.metadata((tmp_path / "out.png").read_bytes())["weights"] == told["weights"]


def test_who_gets_a_private_server_is_told_of_the_light_network_and_may_ask_for_any_size_and_styles_of_any_folder(
    tmp_path,
):
    """Nobody answers at the proxy, so that nothing can be fetched."""
    (tmp_path / "photo.png").write_bytes(png(0.2, 40, 48))
    variables = environment(HTTPS_PROXY="http://127.0.0.1:9", STYLESERVE_CACHE_DIR=str(tmp_path / "cache"))
    paint = [*STYLESERVE, "stylize", "photo.png", "-o", "out.png", "--iterations", "1"]
    for name in ("dots", "dashes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.png").write_bytes(png(0.7, 20, 20))
        (tmp_path / name / f"{name}.yaml").write_text("title: My own\nimage: own.png\n")
        paint += ["--styles", name, "--style", name]
    paint += ["--max-side", "2048"]  # more than a server takes whom nobody tells
    done = subprocess.run(paint, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    made = carried.metadata((tmp_path / "out.png").read_bytes())
    assert made["weights"].startswith("light@")
    assert [style.partition("@")[0] for style in made["styles"]] == ["styles/dots", "styles/dashes"]
    (told,) = (line for line in done.stderr.splitlines() if "light network" in line)
    assert "VGG19" in told
    assert "--weights PATH" in told


@pytest.mark.parametrize("network", ["light", "imagenet"])
async def test_who_calls_a_server_is_told_when_the_light_network_paints_there(tmp_path, network):
    (tmp_path / "photo.png").write_bytes(png(0.2))
    async with running(tmp_path, worker=ThreadWorker(ToyEngineFactory(network=network))) as service:
        paint = ["stylize", str(tmp_path / "photo.png"), "--style", GREY, "-o", str(tmp_path / "out.png")]
        painted = await asyncio.to_thread(CliRunner().invoke, cli, [*paint, "--server", service.address, "--json"])
    assert painted.exit_code == 0, painted.output
    assert json.loads(painted.stdout)["provenance"]["weights"].startswith(network)
    told = "painted by the light network: the server was started with it, or could not get VGG19's weights"
    assert (told in painted.stderr) == (network == "light")


def test_a_private_server_that_cannot_start_says_why_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "photo.png").write_bytes(png(0.2))
    (tmp_path / "weights.h5").write_bytes(b"half a file")
    paint = ["stylize", "photo.png", "--style", "mosaic", "-o", "out.png", "--weights", "weights.h5"]
    variables = environment(STYLESERVE_LOG_FORMAT="json")
    done = subprocess.run(
        [*STYLESERVE, *paint], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "expected VGG19's 16 convolutions" in done.stderr
    assert "}" not in done.stderr  # it is a sentence, whatever form the environment wants for logs
    assert "Traceback" not in done.stderr


def test_a_private_server_without_tensorflow_says_how_to_install_it(tmp_path):
    (tmp_path / "photo.png").write_bytes(png(0.2))
    (tmp_path / "packages" / "tensorflow").mkdir(parents=True)
    (tmp_path / "packages" / "tensorflow" / "__init__.py").write_text("raise ImportError('no wheel here')\n")
    variables = environment(PYTHONPATH=os.pathsep.join([str(tmp_path / "packages"), SOURCES]))
    paint = [*STYLESERVE, "stylize", "photo.png", "--style", "mosaic", "-o", "out.png", "--weights", "untrained"]
    done = subprocess.run(paint, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "in a clone: pip install '.[cpu]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_private_server_that_runs_but_cannot_be_called_is_ended_and_said_so(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", SOURCES)
    monkeypatch.setattr(connection, "_becomes_ready", lambda server: False)
    monkeypatch.setattr(connection, "_ENDING_TIMEOUT_S", 0.2)
    with (
        pytest.raises(ConfigurationError, match=r"runs at 127\.0\.0\.1:\d+, but no call gets through to it; allowed:"),
        private_server(("--network", "light")),
    ):
        pass


@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_a_signal_ends_a_server_that_is_not_ready_yet(tmp_path, after_s):
    folders = ["--data-dir", str(tmp_path / "data"), "--cache-dir", str(tmp_path / "cache")]
    command = [*STYLESERVE, "serve", "--listen", "127.0.0.1:0", *folders, "--weights", "untrained"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert server.stdout.readline().startswith("listening")
        time.sleep(after_s)
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=8)
    finally:
        server.kill()
        server.communicate()
    assert server.returncode == 0
    assert "stopped" in log
    assert "Traceback" not in log


async def test_a_server_that_is_to_forget_leaves_nothing_and_the_next_one_knows_nothing(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with data_kept(Config(data_dir=FORGOTTEN)) as config:
        async with running(tmp_path, data_dir=config.data_dir) as service:
            name = (await service.transfer.Stylize(request())).job.name
            assert len(list(temporary.glob("*/images/*/*"))) == 3  # content, style and result
    assert list(temporary.iterdir()) == []
    with data_kept(Config(data_dir=FORGOTTEN)) as config:
        async with running(tmp_path, data_dir=config.data_dir) as service:
            _, reason, _ = await refused(service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=name)))
            assert reason == "JOB_NOT_FOUND"


async def test_a_closed_input_calls_for_the_stop_once_however_long_that_takes():
    reading, writing = os.pipe()
    calls = []
    heed_end(reading, lambda: calls.append("stop"))
    os.write(writing, b"not the end yet\n")
    await asyncio.sleep(0.02)
    assert calls == []
    os.close(writing)
    for _ in range(20):
        await asyncio.sleep(0.001)
    os.close(reading)
    assert calls == ["stop"]


def test_ctrl_c_cancels_the_job_on_the_server(tmp_path):
    from support.toy_server import serve_in_process

    (tmp_path / "photo.png").write_bytes(png(0.2))
    with serve_in_process(tmp_path) as address:
        paint = [
            "stylize",
            "photo.png",
            "--style",
            GREY,
            "-o",
            "out.png",
            "--preset",
            "classic",
            "--iterations",
            "9999",
            "--server",
            address,
        ]
        process = subprocess.Popen([*STYLESERVE, *paint], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
        from styleserve_client import Client

        with Client(address) as client:
            deadline = time.monotonic() + 20
            while not any(job.state == job_pb2.JOB_STATE_RUNNING for job in client.jobs()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 1
            while not all(job.state == job_pb2.JOB_STATE_CANCELLED for job in client.jobs()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.stderr.close()
