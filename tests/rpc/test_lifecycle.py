"""The server's life: warming up, losing its engine, draining, stopping; nothing that can be finished is lost."""

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve import logs
from styleserve.config import Config
from styleserve.engine.specification import JobSpecification
from styleserve.errors import ConfigurationError, WeightsError
from styleserve.jobs import dispatcher, engine_keeper, timing, watchdog
from styleserve.jobs.image_store import ImageStore
from styleserve.rpc import server as server_module
from styleserve.rpc.server import Server
from styleserve.v1 import job_pb2, style_transfer_pb2, style_transfer_pb2_grpc
from styleserve.workers.process import ProcessWorker
from styleserve.workers.thread import ThreadWorker
from support.gate import Gate
from support.killing import until
from support.rich_errors import refused
from support.service import request, running
from support.toy import ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


def process_worker(before_step: Callable[[], None] = SLOWLY) -> ProcessWorker:
    """A toy engine in a process of its own that is soon there."""
    return ProcessWorker(ToyEngineFactory(before_step, has_adam=False), functools.partial(logs.configure, "text"))


def build_late(report):
    time.sleep(0.5)
    return ToyEngineFactory()(report)


def refuse_to_build(report):
    raise WeightsError("the weights are not to be had")


def break_down(report):
    raise RuntimeError("no engine today")


def config(folder, **settings) -> Config:
    return Config(listen="127.0.0.1:0", data_dir=folder / "data", cache_dir=folder / "cache", **settings)


async def test_until_the_engine_is_warm_jobs_are_refused_and_health_says_so(tmp_path):
    server = Server(config(tmp_path), ThreadWorker(build_late))
    async with grpc.aio.insecure_channel(await server.start()) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stub = style_transfer_pb2_grpc.StyleTransferServiceStub(channel)
        code, reason, others = await refused(stub.Stylize(request()))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "WARMING_UP")
        assert others[0].retry_delay.ToMilliseconds() > 0
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    await server.stop()


async def test_what_the_operator_must_mend_ends_the_server_with_its_words(tmp_path):
    server = Server(config(tmp_path), ThreadWorker(refuse_to_build))
    await server.start()
    with pytest.raises(WeightsError, match="the weights are not to be had"):
        await asyncio.wait_for(server.serve_until_stopped(), 10)


async def test_an_engine_that_never_comes_up_ends_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    server = Server(config(tmp_path), ThreadWorker(break_down))
    await server.start()
    with pytest.raises(ConfigurationError, match="no engine could be started, 3 times in a row"):
        await asyncio.wait_for(server.serve_until_stopped(), 10)


async def test_a_port_that_is_taken_is_refused(tmp_path):
    async with running(tmp_path) as service:
        second = Server(
            Config(listen=service.address, data_dir=tmp_path / "b", cache_dir=tmp_path / "c"),
            ThreadWorker(ToyEngineFactory()),
        )
        with pytest.raises(ConfigurationError, match="no other program has"):
            await second.start()
        await second.stop()


async def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(ConfigurationError, match="data_dir: got"):
        Server(config(tmp_path), ThreadWorker(ToyEngineFactory()))


async def test_a_lost_engine_is_replaced_and_its_jobs_go_on(tmp_path):
    worker = process_worker()
    async with running(tmp_path, worker=worker) as service:
        job = (await service.transfer.Stylize(request(iterations=30, detached=True))).job
        await service.wait_for(job.name, job_pb2.JOB_STATE_RUNNING)
        watch = health_pb2_grpc.HealthStub(service.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        os.kill(worker.pid, signal.SIGKILL)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        meanwhile = (await service.transfer.Stylize(request(iterations=30, detached=True))).job
        waiting = await service.wait_for(job.name, job_pb2.JOB_STATE_QUEUED)
        assert (waiting.queue_position, meanwhile.queue_position) == (1, 2)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        for name in (job.name, meanwhile.name):
            ended = await service.wait_for(name, *ENDED)
            assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
            assert ended.progress.iteration == 30


async def test_a_job_that_lost_its_engine_waits_for_the_next_however_short_its_queue_timeout_is(tmp_path):
    worker = process_worker()
    async with running(tmp_path, worker=worker) as service:
        asked = request(iterations=30, detached=True, queue_timeout=duration_pb2.Duration(nanos=500_000_000))
        name = (await service.transfer.Stylize(asked)).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING)
        os.kill(worker.pid, signal.SIGKILL)
        assert (await service.wait_for(name, *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_an_engine_that_hangs_is_replaced_and_its_job_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_S", 0.2)
    monkeypatch.setattr(timing, "_LEAST_SILENCE_S", 5.0)
    worker = process_worker()
    async with running(tmp_path, worker=worker) as service:
        name = (await service.transfer.Stylize(request(iterations=30, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING)
        os.kill(worker.pid, signal.SIGSTOP)
        await service.wait_for(name, job_pb2.JOB_STATE_QUEUED)
        assert (await service.wait_for(name, *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_job_that_kills_engines_fails_and_takes_nobody_along(tmp_path):
    worker = process_worker(functools.partial(os._exit, 3))
    async with running(tmp_path, worker=worker) as service:
        job = (await service.transfer.Stylize(request(detached=True))).job
        ended = await service.wait_for(job.name, *ENDED)
        assert ended.state == job_pb2.JOB_STATE_FAILED
        assert ended.error.details[0].TypeName() == "google.rpc.ErrorInfo"
        assert "fault is ours" in ended.error.message
        incident = error_details_pb2.RequestInfo()
        assert ended.error.details[1].Unpack(incident)
        assert f"jobs/{incident.request_id}" == job.name


class PoisonedWorker(ProcessWorker):
    """What it hands the engine of a job ends the engine's process when that unpacks it, as when the memory is full."""

    def send(self, command):
        super().send(Poison() if isinstance(command, JobSpecification) else command)


class Poison:
    def __reduce__(self):
        return os._exit, (3,)


async def test_so_does_one_that_kills_engines_before_they_have_begun_it(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatcher, "MAX_LOSSES", 2)
    worker = PoisonedWorker(ToyEngineFactory(SLOWLY), functools.partial(logs.configure, "text"))
    async with running(tmp_path, worker=worker) as service:
        name = (await service.transfer.Stylize(request(detached=True))).job.name
        ended = await service.wait_for(name, *ENDED)
    assert ended.state == job_pb2.JOB_STATE_FAILED
    assert "fault is ours" in ended.error.message


async def test_of_jobs_that_ran_together_when_engines_were_lost_only_the_guilty_one_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatcher, "MAX_LOSSES", 2)
    worker = process_worker()
    async with running(tmp_path, worker=worker) as service:
        names = [(await service.transfer.Stylize(request(iterations=60, detached=True))).job.name for _ in range(3)]
        for name in names[1:]:
            await service.wait_for(name, job_pb2.JOB_STATE_RUNNING)
        await service.wait_for(names[0], job_pb2.JOB_STATE_RUNNING, iteration=20)
        os.kill(worker.pid, signal.SIGKILL)
        await service.wait_for(names[0], job_pb2.JOB_STATE_QUEUED)
        suspect = await service.wait_for(names[0], job_pb2.JOB_STATE_RUNNING)
        others = [await service.wait_for(name, *job_pb2.JobState.values()) for name in names[1:]]
        assert [other.state for other in others] == [job_pb2.JOB_STATE_QUEUED] * 2
        os.kill(worker.pid, signal.SIGKILL)
        assert (await service.wait_for(suspect.name, *ENDED)).state == job_pb2.JOB_STATE_FAILED
        for name in names[1:]:
            assert (await service.wait_for(name, *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_fault_while_forgetting_does_not_end_the_forgetting(tmp_path, monkeypatch):
    forget, attempts = ImageStore.expire, []

    def fail_once(store, unused_s, *rest):
        attempts.append(unused_s)
        if len(attempts) == 1:
            raise OSError("the disk is away")
        return forget(store, unused_s, *rest)

    monkeypatch.setattr(ImageStore, "expire", fail_once)
    async with running(tmp_path, retention_s=1.0) as service:
        await service.transfer.Stylize(request())
        await until(lambda: not list((tmp_path / "data" / "images").glob("*/*")))
    assert len(attempts) > 1


async def test_draining_refuses_new_jobs_lets_running_ones_end_and_says_not_serving(tmp_path):
    gate = Gate()
    gate.shut()
    async with running(tmp_path, gate, drain_s=20.0) as service:
        waiting = asyncio.ensure_future(service.transfer.Stylize(request()))
        await gate.until_reached()
        watch = health_pb2_grpc.HealthStub(service.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        draining = asyncio.create_task(service.server.drain())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await until(lambda: service.server._jobs._is_draining)
        code, reason, _ = await refused(service.transfer.Stylize(request()))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        gate.opened.set()
        assert (await waiting).job.state == job_pb2.JOB_STATE_SUCCEEDED
        await draining


async def test_watchers_of_what_cannot_end_in_time_are_sent_to_come_back(tmp_path):
    async with running(tmp_path, SLOWLY, drain_s=0.3) as service:
        detached = await service.transfer.Stylize(request(iterations=5000, detached=True))
        call = service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(job=detached.job.name))

        async def read() -> None:
            async for _ in call:
                pass

        reading = asyncio.ensure_future(refused(read()))
        await asyncio.sleep(0.1)
        await service.server.drain()
        await service.server.stop()
        code, reason, _ = await reading
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.mark.parametrize("between_s", [0.05, 0.4])
async def test_so_are_those_of_a_server_whose_draining_a_second_signal_cuts_short(tmp_path, between_s):
    async with running(tmp_path, SLOWLY, drain_s=60.0) as service:
        service.server.heed_signals()
        serving = asyncio.create_task(service.server.serve_until_stopped())
        waiting = asyncio.ensure_future(refused(service.transfer.Stylize(request(iterations=5000))))
        await service.admitted(1)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(between_s)
        code, reason, (retry,) = await waiting
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert retry.retry_delay.seconds > 0
        await asyncio.wait_for(serving, 10)


async def test_draining_does_not_wait_for_jobs_whose_engine_is_lost_meanwhile(tmp_path):
    worker = process_worker()
    async with running(tmp_path, worker=worker, drain_s=600.0) as service:
        job = (await service.transfer.Stylize(request(iterations=5000, detached=True))).job
        await service.wait_for(job.name, job_pb2.JOB_STATE_RUNNING)
        draining = asyncio.create_task(service.server.drain())
        await asyncio.sleep(0.5)
        assert not draining.done()
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.wait_for(draining, 20)


async def test_an_open_health_watch_does_not_hold_the_end_up(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "_GRACE_S", 30.0)
    async with running(tmp_path) as service:
        watch = health_pb2_grpc.HealthStub(service.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        begun = time.monotonic()
        await service.server.stop()
        assert time.monotonic() - begun < 10


async def test_a_signal_drains_and_stops(tmp_path):
    server = Server(config(tmp_path), ThreadWorker(ToyEngineFactory()))
    server.heed_signals()
    await server.start()
    serving = asyncio.create_task(server.serve_until_stopped())
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 10)


async def test_ended_jobs_and_their_images_are_forgotten_in_time(tmp_path):
    async with running(tmp_path, retention_s=1.0) as service:
        name = (await service.transfer.Stylize(request())).job.name
        assert list((tmp_path / "data" / "images").glob("*/*"))
        await service.kept(0)
        code, reason, _ = await refused(service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=name)))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
        assert not list((tmp_path / "data" / "images").glob("*/*"))


async def test_an_unknown_exception_is_told_by_an_incident_and_never_by_its_text(tmp_path, monkeypatch):
    async with running(tmp_path) as service:
        monkeypatch.setattr(service.server._jobs, "find", lambda name: 1 / 0)
        code, reason, others = await refused(service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/x")))
        assert (code, reason) == (grpc.StatusCode.INTERNAL, "ENGINE_ERROR")
        assert others[0].request_id
        assert "division" not in str(others)
