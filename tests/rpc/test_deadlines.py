"""A call's deadline while the engine is at something else: its caller is told in time, and once.

The engine is played by the test, which says when it tells what of a job.
"""

import asyncio
import contextlib
import gc
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf import duration_pb2

from styleserve.engine.checkpoints import CheckpointFolder
from styleserve.engine.specification import Cancel, Command, JobSpecification
from styleserve.errors import EngineError, RunTimeoutError
from styleserve.evaluation import Losses
from styleserve.events import Cancelled, Failed, Finished, JobEvent, Lost, Progress, Progressed, Ready, Resumed, Started
from styleserve.jobs import engine_keeper
from styleserve.jobs.pictures import Pictures
from styleserve.observing.happenings import Ended, Happening, TakenUp
from styleserve.observing.observer import Silence
from styleserve.v1 import job_pb2, server_info_pb2, style_transfer_pb2
from styleserve.workers import Listener
from support.killing import until
from support.rich_errors import refused
from support.service import Service, request, running
from support.toy import TOY_INFO, plain_image

DEADLINE_S = 1.0
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
LOSSES = Losses(1.0, 0.0, 1.0, 0.0)


class PlayedWorker:
    """A worker whose engine a test plays; each that is started is ready at once."""

    def __init__(self) -> None:
        self.told: list[Command] = []

    def start(self, listener: Listener) -> None:
        self.tell = listener
        listener(Ready(TOY_INFO))

    def send(self, command: Command) -> None:
        self.told.append(command)

    def kill(self) -> None:
        self.tell(Lost("killed"))

    def stop(self) -> None:
        pass

    def jobs(self) -> list[str]:
        return [command.job_id for command in self.told if isinstance(command, JobSpecification)]

    def cancelled(self) -> list[str]:
        return [command.job_id for command in self.told if isinstance(command, Cancel)]

    async def has_jobs(self, count: int) -> list[str]:
        await until(lambda: len(self.jobs()) == count)
        return self.jobs()


class Notes(Silence):
    """Notes what happened."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def hear(self, happening: Happening) -> None:
        self.happenings.append(happening)

    def of(self, kind: type[Happening]) -> list[Happening]:
        return [happening for happening in self.happenings if isinstance(happening, kind)]


@dataclass
class Stage:
    """A server, and its engine in the test's hands."""

    service: Service
    worker: PlayedWorker
    notes: Notes

    async def job(self, job_id: str) -> job_pb2.Job:
        return (await self.service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=f"jobs/{job_id}"))).job

    async def num_running(self) -> int:
        return (await self.service.info.GetServerInfo(server_info_pb2.GetServerInfoRequest())).running

    def call(self, job_id: str, **fields: object) -> grpc.aio.UnaryUnaryCall:
        return self.service.transfer.Stylize(request(job_id=job_id, **fields), timeout=DEADLINE_S)

    async def given_up(self, job_id: str, *told: JobEvent) -> None:
        """A call for a job of which the engine tells that much, and no more until its caller was told of its end."""
        call = self.call(job_id)
        await until(lambda: job_id in self.worker.jobs())
        for event in told:
            self.worker.tell(event)
        assert (await refused(call))[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "RUN_TIMEOUT")


@contextlib.asynccontextmanager
async def staged(folder, **settings: object) -> AsyncIterator[Stage]:
    worker, notes = PlayedWorker(), Notes()
    async with running(folder, worker=worker, observer=notes, **settings) as service:
        yield Stage(service, worker, notes)


@pytest.fixture
async def stage(tmp_path):
    async with staged(tmp_path) as stage:
        yield stage


async def test_what_ended_a_job_keeps_nothing_of_the_calls_that_were_told_of_it(stage):
    await stage.given_up("told")
    gc.collect()
    told = [each for each in gc.get_objects() if isinstance(each, RunTimeoutError)]
    assert told
    assert all(error.__traceback__ is None for error in told)


def progressed(job_id: str, iteration: int) -> Progressed:
    return Progressed(job_id, Progress(iteration, 3, iteration + 1, LOSSES, 32, 24, 0.1, 0.1), engine_s=0.1)


def finished(job_id: str) -> Finished:
    progress = progressed(job_id, 3).progress
    recipe = TOY_INFO.costs.costs[0][0]
    return Finished(job_id, plain_image(0.5, 24, 32), "completed", progress, 5, 0.3, recipe, time.monotonic(), True)


@pytest.mark.parametrize(
    "told",
    [(), (Started("late"),), (Started("late"), progressed("late", 0))],
    ids=["nothing", "its beginning", "its start judged"],
)
async def test_a_job_that_the_engine_did_not_get_to_paint_fails_before_the_calls_deadline_and_is_dropped(stage, told):
    begun = time.monotonic()
    call = stage.call("late")
    await stage.worker.has_jobs(1)
    for event in told:
        stage.worker.tell(event)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert 0.5 * DEADLINE_S < time.monotonic() - begun < DEADLINE_S
    assert "the job's time was up, and it has no canvas to return" in caught.value.details()
    assert stage.worker.cancelled() == ["late"]
    assert (await stage.job("late")).state == job_pb2.JOB_STATE_FAILED


async def test_a_job_whose_images_are_still_read_at_its_deadline_does_not_get_to_the_engine(stage, monkeypatch):
    specify = Pictures.specify

    def specify_slowly(*arguments):
        time.sleep(DEADLINE_S + 0.5)
        return specify(*arguments)

    monkeypatch.setattr(Pictures, "specify", specify_slowly)
    assert (await refused(stage.call("late")))[1] == "RUN_TIMEOUT"
    assert await stage.num_running() == 0
    monkeypatch.undo()
    await asyncio.sleep(1.0)
    assert stage.worker.jobs() == stage.worker.cancelled() == []


@pytest.mark.parametrize("canvas", [progressed("painted", 1), Resumed("painted", 1, 0.1)], ids=["new", "resumed"])
async def test_a_job_that_has_a_canvas_is_the_engines_to_end(stage, canvas):
    same = {"job_id": "painted", "request_id": str(uuid.uuid4())}
    first = stage.call(**same)
    await stage.worker.has_jobs(1)
    joined = stage.service.transfer.Stylize(request(**same))
    for event in (Started("painted"), canvas):
        stage.worker.tell(event)
    with pytest.raises(grpc.aio.AioRpcError):
        await first
    stage.worker.tell(finished("painted"))
    assert (await joined).job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert stage.worker.cancelled() == []


async def test_what_a_job_may_run_or_wait_in_the_queue_says_nothing_while_it_waits_at_the_engine(stage):
    second = duration_pb2.Duration(seconds=1)
    await stage.service.transfer.Stylize(
        request(job_id="patient", detached=True, run_timeout=second, queue_timeout=second)
    )
    await stage.worker.has_jobs(1)
    await asyncio.sleep(1.3)
    assert (await stage.job("patient")).state == job_pb2.JOB_STATE_QUEUED
    assert stage.worker.cancelled() == []


@pytest.mark.parametrize(
    "end",
    [Cancelled("late", 2, 0.2), Failed("late", EngineError(), 2, 0.2), finished("late")],
    ids=["cancelled", "failed", "finished"],
)
async def test_what_the_engine_tells_of_a_job_that_was_given_up_changes_nothing_but_makes_room(tmp_path, end):
    async with staged(tmp_path, max_running=1) as stage:
        await stage.given_up("late")
        await stage.service.transfer.Stylize(request(job_id="next", detached=True))
        assert await stage.num_running() == 0
        ended = await stage.job("late")
        checkpoint = CheckpointFolder(tmp_path / "data" / "checkpoints").path("late")
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_bytes(b"what was being written of it")
        for event in (Started("late"), progressed("late", 1)):
            stage.worker.tell(event)
        await asyncio.sleep(0.1)
        assert stage.worker.jobs() == ["late"], "whose place is not free before the engine says so"
        stage.worker.tell(end)
        assert await stage.worker.has_jobs(2) == ["late", "next"]
        assert await stage.job("late") == ended
        assert not checkpoint.exists()
        assert [(ended.state, ended.reason) for ended in stage.notes.of(Ended)] == [("failed", "RUN_TIMEOUT")]
        assert stage.notes.of(TakenUp) == []
        stage.worker.tell(finished("next"))
        assert (await stage.service.wait_for("jobs/next", *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_job_that_was_given_up_does_not_go_on_in_the_next_engine(stage, monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    await stage.given_up("late", Started("late"))
    await stage.service.transfer.Stylize(request(job_id="other", detached=True))
    await stage.worker.has_jobs(2)
    stage.worker.tell(Lost("killed"))
    assert await stage.worker.has_jobs(3) == ["late", "other", "other"]
    assert (await stage.job("late")).state == job_pb2.JOB_STATE_FAILED
    assert len(stage.notes.of(Ended)) == 1


async def test_a_job_whose_engine_is_lost_keeps_its_deadline_in_the_next(stage, monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    call = stage.call("unlucky")
    await stage.worker.has_jobs(1)
    for event in (Started("unlucky"), progressed("unlucky", 1), Lost("killed")):
        stage.worker.tell(event)
    assert (await refused(call))[1] == "RUN_TIMEOUT"
    assert stage.worker.jobs() == 2 * ["unlucky"]
    assert stage.worker.cancelled() == ["unlucky"]
    assert [ended.reason for ended in stage.notes.of(Ended)] == ["RUN_TIMEOUT"]


async def test_a_job_that_is_to_be_cancelled_is_cancelled_though_its_deadline_comes_before_the_engine_hears_of_it(
    stage,
):
    call = stage.call("unwanted")
    await stage.worker.has_jobs(1)
    await stage.service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name="jobs/unwanted"))
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert (await stage.job("unwanted")).state == job_pb2.JOB_STATE_QUEUED
    stage.worker.tell(Cancelled("unwanted", 0, 0.0))
    assert (await stage.service.wait_for("jobs/unwanted", *ENDED)).state == job_pb2.JOB_STATE_CANCELLED
    assert [ended.state for ended in stage.notes.of(Ended)] == ["cancelled"]


async def test_a_job_at_the_engine_whose_server_stops_is_left_to_the_next(tmp_path):
    async with staged(tmp_path, drain_s=0) as stage:
        call = asyncio.ensure_future(refused(stage.call("inherited")))
        await stage.worker.has_jobs(1)
        await stage.service.server.drain()
        await stage.service.server.stop()
        assert (await call)[1] == "DRAINING"
        await asyncio.sleep(DEADLINE_S)
        assert stage.notes.of(Ended) == []
