"""Metrics as Prometheus reads them: what callers and the engine did comes out as the numbers it should."""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2

from styleserve import images, logs, memory
from styleserve.cli.observers import observed as observed_as_configured
from styleserve.config import Config
from styleserve.errors import ConfigurationError
from styleserve.jobs import engine_keeper
from styleserve.jobs.feed import Feed
from styleserve.jobs.frames import PreviewWish
from styleserve.jobs.status import JobStatus
from styleserve.observing.metrics import Metrics, side
from styleserve.observing.observer import Silence
from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from styleserve.workers.process import ProcessWorker
from styleserve.workers.thread import ThreadWorker
from support.crowd import SMALL_WINDOW
from support.gate import Gate
from support.killing import Stub, until
from support.rich_errors import refused
from support.scraping import Scraper
from support.service import request, running
from support.toy import ToyEngineFactory

DOCS = Path(__file__).resolve().parents[2] / "docs"
SLOWLY = functools.partial(time.sleep, 0.02)
TRANSFER = "styleserve.v1.StyleTransferService"


@contextlib.asynccontextmanager
async def observed(folder, *arguments, **settings):
    """A server and a reader of its metrics."""
    metrics = Metrics()
    with metrics.served("127.0.0.1:0") as address:
        async with running(folder, *arguments, observer=metrics, **settings) as service:
            yield service, Scraper(address)


async def test_calls_of_every_kind_are_counted_by_method_and_code(tmp_path):
    async with observed(tmp_path) as (service, scraper):
        done = await service.transfer.Stylize(request())
        await refused(service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/none")))
        watch = style_transfer_pb2.StreamProgressRequest(job=done.job.name)
        assert [update async for update in service.transfer.StreamProgress(watch)]
        await refused(service.transfer.UploadImage(iter([style_transfer_pb2.UploadImageRequest()])))
        requests = functools.partial(scraper.until, 1, "requests_total")
        await requests(method=f"{TRANSFER}/Stylize", code="OK")
        await requests(method=f"{TRANSFER}/GetJob", code="NOT_FOUND")
        await requests(method=f"{TRANSFER}/StreamProgress", code="OK")
        await requests(method=f"{TRANSFER}/UploadImage", code="INVALID_ARGUMENT")
        assert await scraper.value("request_seconds_count", method=f"{TRANSFER}/Stylize") == 1


async def test_a_caller_who_leaves_or_runs_out_of_time_is_counted_as_such(tmp_path):
    async with observed(tmp_path, SLOWLY) as (service, scraper):
        watch = style_transfer_pb2.StreamProgressRequest(start=request(5000))
        call = service.transfer.StreamProgress(watch)
        await call.read()
        call.cancel()
        await scraper.until(1, "requests_total", method=f"{TRANSFER}/StreamProgress", code="CANCELLED")
        detached = (await service.transfer.Stylize(request(5000, detached=True))).job.name
        late = service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(job=detached), timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError):
            [update async for update in late]
        await scraper.until(1, "requests_total", method=f"{TRANSFER}/StreamProgress", code="DEADLINE_EXCEEDED")


async def test_methods_that_do_not_exist_have_one_name_in_all(tmp_path):
    async with observed(tmp_path) as (service, scraper):
        for number in range(20):
            call = service.channel.unary_unary(f"/{TRANSFER}/Nothing{number}")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"")
        await scraper.until(20, "requests_total", method="unknown", code="UNIMPLEMENTED")
        methods = {dict(labels).get("method", "") for _, labels in await scraper.read()}
    assert not any("Nothing" in method for method in methods)


async def test_evaluations_passes_and_batches_are_those_of_the_jobs(tmp_path):
    async with observed(tmp_path) as (service, scraper):
        jobs = [(await service.transfer.Stylize(request(3))).job for _ in range(2)]
        await scraper.until(2 * (3 + 1), "evaluations_total")
        passes = sum(job.provenance.network_passes for job in jobs)
        await scraper.until(passes, "network_passes_total")
        # 32 x 24 pixels are those of a square of less than 64.
        assert await scraper.value("evaluation_seconds_count", side="64") == 8
        assert await scraper.value("batch_canvases_sum") == 8
        assert await scraper.value("first_progress_seconds_count") == 2
        assert await scraper.value("picture_seconds_count") == 2
        assert await scraper.value("jobs_ended_total", state="succeeded", reason="") == 2
        assert await scraper.value("engine_up") == 1
        assert await scraper.value("engine_budget_bytes") == 10**10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_engines_memory_is_that_of_its_process(tmp_path):
    async with observed(tmp_path) as (service, scraper):
        await service.transfer.Stylize(request(3))
        await scraper.until(3 + 1, "evaluations_total")
        # The toy engine is in this process.
        assert await scraper.value("engine_resident_bytes") == pytest.approx(memory.resident_bytes(), rel=0.5)


async def test_the_queue_is_as_long_as_it_is(tmp_path):
    gate = Gate()
    gate.shut()
    async with observed(tmp_path, gate, max_running=1) as (service, scraper):
        names = [(await service.transfer.Stylize(request(1, detached=True))).job.name for _ in range(3)]
        begun = time.monotonic()
        await gate.until_reached()
        assert (await scraper.value("jobs_waiting"), await scraper.value("jobs_running")) == (2, 1)
        await asyncio.sleep(0.2)
        held_s = time.monotonic() - begun
        gate.opened.set()
        for name in names:
            await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED)
        await scraper.until(0, "jobs_running")
        assert await scraper.value("jobs_waiting") == 0
        assert await scraper.value("queue_wait_seconds_count") == 3
        # Two waited for the first.
        assert await scraper.value("queue_wait_seconds_sum") > 2 * held_s


async def test_the_load_may_be_read_from_another_thread_while_jobs_come_and_go(tmp_path):
    reader, is_over, faults = Silence(), threading.Event(), []

    def read() -> None:
        while not is_over.is_set():
            try:
                reader.read_load()
            except RuntimeError as error:  # a dictionary changed while it was gone through
                faults.append(error)

    reader.attend = lambda read_load: setattr(reader, "read_load", read_load)
    thread = threading.Thread(target=read)
    interval = sys.getswitchinterval()
    async with running(tmp_path, observer=reader, max_queue=100) as service:
        sys.setswitchinterval(1e-6)
        thread.start()
        try:
            for number in range(60):
                await service.transfer.Stylize(request(1, detached=True, labels={"number": str(number)}))
        finally:
            sys.setswitchinterval(interval)
            is_over.set()
            thread.join()
    assert not faults


async def test_seconds_computed_for_nothing_are_told(tmp_path):
    async with observed(tmp_path, SLOWLY) as (service, scraper):
        name = (await service.transfer.Stylize(request(5000, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=9)
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
        await service.wait_for(name, job_pb2.JOB_STATE_CANCELLED)
        assert await scraper.value("jobs_ended_total", state="cancelled", reason="") == 1
        assert await scraper.value("job_engine_seconds_total", state="cancelled") >= 10 * 0.02
        assert await scraper.value("job_engine_seconds_total", state="succeeded") == 0


async def test_a_killed_engine_is_a_loss_and_a_restart_and_its_seconds_are_told(tmp_path):
    worker = ProcessWorker(ToyEngineFactory(SLOWLY, has_adam=False), functools.partial(logs.configure, "text"))
    async with observed(tmp_path, worker=worker) as (service, scraper):
        name = (await service.transfer.Stylize(request(5000, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=20)
        os.kill(worker.pid, signal.SIGKILL)
        await service.wait_for(name, job_pb2.JOB_STATE_QUEUED)
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
        await service.wait_for(name, job_pb2.JOB_STATE_CANCELLED)
        assert await scraper.value("job_engine_seconds_total", state="cancelled") >= 21 * 0.02
        await scraper.until(1, "engine_restarts_total")
        assert await scraper.value("engine_losses_total") == 1
        assert await scraper.value("engine_up") == 1


async def test_failures_are_told_apart_by_their_reasons(tmp_path):
    async with observed(tmp_path, SLOWLY) as (service, scraper):
        hasty = request(
            5000,
            detached=True,
            run_timeout=duration_pb2.Duration(nanos=200_000_000),
            deadline_policy=style_transfer_pb2.DEADLINE_POLICY_FAIL,
        )
        job = (await service.transfer.Stylize(hasty)).job
        await service.wait_for(job.name, job_pb2.JOB_STATE_FAILED)
        assert await scraper.value("jobs_ended_total", state="failed", reason="RUN_TIMEOUT") == 1


async def test_previews_that_a_watcher_got_are_counted(tmp_path):
    async with observed(tmp_path, SLOWLY) as (service, scraper):
        watch = style_transfer_pb2.StreamProgressRequest(start=request(60))
        watch.preview.min_interval.FromMilliseconds(500)
        got = [update async for update in service.transfer.StreamProgress(watch) if update.HasField("preview")]
        assert got
        await scraper.until(len(got), "previews_sent_total")


async def test_previews_for_a_watcher_who_does_not_read_are_counted_as_dropped(tmp_path):
    metrics = Metrics()
    noise = images.encode(images.Picture(images.noise(512, 512, seed=0)), "png").data  # large as a JPEG, too
    worker = ThreadWorker(ToyEngineFactory(SLOWLY, pull=1e-3))  # whose canvas is noise for long
    async with (
        running(tmp_path, worker=worker, observer=metrics) as service,
        grpc.aio.insecure_channel(service.address, options=SMALL_WINDOW) as channel,
    ):
        watch = style_transfer_pb2.StreamProgressRequest(
            start=request(5000, content=image_pb2.ImageSource(inline=noise)),
            preview=style_transfer_pb2.PreviewOptions(max_side=512, min_interval=duration_pb2.Duration(nanos=1)),
        )
        call = Stub(channel).StreamProgress(watch)
        await call.read()
        await until(lambda: metrics.registry.get_sample_value("styleserve_previews_dropped_total"))
        call.cancel()


async def test_previews_that_gave_way_are_counted():
    metrics = Metrics()
    feed = Feed()
    feed.tell_state(JobStatus(name="jobs/a", state="running", create_time=0.0, labels=()))
    watching = feed.watch(wish=PreviewWish(max_side=16, interval_s=0.0), observer=metrics)
    await anext(watching)
    with metrics.served("127.0.0.1:0") as address:
        for _ in range(3):
            feed.tell_preview(np.zeros((16, 16, 3), np.uint8))
        assert await Scraper(address).value("previews_dropped_total") == 2
    await watching.aclose()


async def test_what_may_come_is_there_from_the_start_so_that_its_first_time_is_an_increase():
    with Metrics().served("127.0.0.1:0") as address:
        samples = await Scraper(address).read()
    for state, reason in (("succeeded", ""), ("cancelled", ""), ("failed", "ENGINE_ERROR"), ("failed", "DIVERGED")):
        assert samples["styleserve_jobs_ended_total", (("reason", reason), ("state", state))] == 0
        assert samples["styleserve_job_engine_seconds_total", (("state", state),)] == 0
    for outcome in ("written", "not written", "resumed"):
        assert samples["styleserve_checkpoints_total", (("outcome", outcome),)] == 0


async def test_checkpoints_are_counted_as_they_are_written_and_gone_on_from(tmp_path):
    def worker():
        folder = tmp_path / "data" / "checkpoints"
        return ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0))

    async with observed(tmp_path, worker=worker(), drain_s=0) as (service, scraper):
        name = (await service.transfer.Stylize(request(100, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=10)
        assert await scraper.value("checkpoints_total", outcome="written") >= 1
        assert await scraper.value("checkpoint_seconds_total") > 0
        await service.server.drain()
    async with observed(tmp_path, worker=worker()) as (service, scraper):
        await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED)
        assert await scraper.value("checkpoints_total", outcome="resumed") == 1


async def test_checkpoints_that_the_disk_does_not_take_are_counted_and_end_no_job(tmp_path):
    (tmp_path / "in the way").write_text("a file")
    folder = tmp_path / "in the way" / "checkpoints"
    worker = ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0))
    async with observed(tmp_path, worker=worker) as (service, scraper):
        assert (await service.transfer.Stylize(request(10))).result.inline
        assert await scraper.value("checkpoints_total", outcome="not written") >= 1
        assert await scraper.value("checkpoints_total", outcome="written") == 0


async def test_an_engine_that_takes_the_place_of_a_lost_one_is_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    attempts = itertools.count()

    def build(report):
        if next(attempts) == 0:
            raise RuntimeError("not yet")
        return ToyEngineFactory()(report)

    async with observed(tmp_path, worker=ThreadWorker(build)) as (_, scraper):
        assert await scraper.value("engine_losses_total") == 1
        assert await scraper.value("engine_restarts_total") == 1
        assert await scraper.value("engine_up") == 1


async def test_a_server_that_is_asked_for_metrics_says_where_they_are(tmp_path, caplog):
    caplog.set_level("INFO")
    with observed_as_configured(Config(metrics="127.0.0.1:0")) as observer:
        address = re.search(r"metrics at http://(.*)/metrics", caplog.text)[1]
        async with running(tmp_path, observer=observer) as service:
            await service.transfer.Stylize(request())
            await Scraper(address).until(4, "evaluations_total")
    with pytest.raises(OSError, match="refused"):
        await Scraper(address).read()


async def test_a_port_that_is_taken_is_refused(tmp_path):
    with (
        Metrics().served("127.0.0.1:0") as address,
        pytest.raises(ConfigurationError, match=r"metrics: got .* no other program has"),
        Metrics().served(address),
    ):
        pass


@pytest.mark.parametrize("address", ["a..b:9464", f"{'a' * 64}:9464"])
def test_what_is_no_name_of_a_host_is_refused(address):
    with pytest.raises(ConfigurationError, match=rf"metrics: got '{address}', .* no other program has"):
        Metrics().served(address).__enter__()


async def test_reading_the_metrics_is_not_held_up_by_a_slow_reader(tmp_path):
    with Metrics().served("127.0.0.1:0") as address:
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert await Scraper(address).value("engine_up") == 0
        writer.close()


@pytest.mark.parametrize(
    ("num_pixels", "expected"), [(1, "64"), (64 * 64, "64"), (64 * 64 + 1, "128"), (5000**2, "larger")]
)
def test_canvases_are_told_apart_by_few_sizes(num_pixels, expected):
    assert side(num_pixels) == expected


def exported() -> set[str]:
    """Names of ours as the documents write them: counters with `_total`."""
    families = Metrics().registry.collect()
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("styleserve_")
    }


def test_the_documents_list_every_metric_and_no_other():
    rows = re.findall(r"^\| `(styleserve_[a-z_]+)", (DOCS / "operating.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == exported()


def test_the_suggested_alerts_ask_for_metrics_that_there_are():
    lines = (DOCS / "operating.md").read_text().splitlines()
    asked = [name for line in lines for name in re.findall(r"styleserve_[a-z_]+(?=[{\[ ])", line)]
    assert len(asked) == 5
    assert set(asked) <= exported()


@pytest.fixture
def expressions() -> list[str]:
    """What the dashboard asks for."""
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_shows_the_servers_that_were_chosen_as_one(expressions):
    for expression in expressions:
        selected = re.findall(r"(?:styleserve|process)_[a-z_]+(.{0,22})", expression)
        assert selected == ['{instance=~"$instance"'] * len(selected), expression
        assert len(selected) == len(re.findall(r"\bsum\b", expression)), expression


def test_the_dashboard_asks_for_metrics_that_there_are(expressions):
    asked = {name for expression in expressions for name in re.findall(r"styleserve_[a-z_]+", expression)}
    known = exported()
    parts = {name + part for name in known for part in ("", "_bucket", "_count", "_sum")}
    assert asked <= parts
    assert {name for name in known if any(one.startswith(name) for one in asked)} == known


def test_nothing_is_loaded_for_what_was_not_asked():
    code = (
        "import sys; import styleserve.cli.main;"
        "sys.exit(any(name.split('.')[0] in ('prometheus_client', 'opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
