"""GetJobLog: what happened to a job, from its admission to its end, whichever servers it took."""

import functools
import re
import time

import grpc
from google.protobuf import duration_pb2

from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from support.rich_errors import refused
from support.service import request, running
from support.toy import ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)


def ask(name: str) -> style_transfer_pb2.GetJobLogRequest:
    return style_transfer_pb2.GetJobLogRequest(name=name)


async def texts(service, name: str) -> list[str]:
    """The lines, with # for every number that depends on the machine."""
    lines = (await service.transfer.GetJobLog(ask(name))).lines
    return [re.sub(r"(after|take|and) [0-9.]+ (s|GB)\b", r"\1 # \2", line.text) for line in lines]


async def test_the_log_tells_the_jobs_way_in_order(tmp_path):
    async with running(tmp_path) as service:
        before = time.time()
        name = (await service.transfer.Stylize(request(3))).job.name
        lines = (await service.transfer.GetJobLog(ask(name))).lines
        assert await texts(service, name) == [
            "admitted",
            "waits at place 1 of the queue",
            "taken up by an engine after # s",
            "expected to take # s and # GB",
            "works at 32 x 24 pixels from iteration 0 on",
            "computed in 3 iterations and 5 passes of the network: completed",
            "succeeded",
        ]
    times = [line.time.ToMicroseconds() / 1e6 for line in lines]
    assert before - 1e-3 <= times[0]
    assert times == sorted(times)
    assert times[-1] <= time.time()
    assert {line.level for line in lines} == {job_pb2.LOG_LEVEL_INFO}


async def test_the_log_goes_on_at_the_next_server_and_stays_when_the_job_has_ended(tmp_path):
    def worker():
        folder = tmp_path / "data" / "checkpoints"
        return ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0))

    async with running(tmp_path, worker=worker(), drain_s=0) as service:
        name = (await service.transfer.Stylize(request(60, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=5)
        await service.server.drain()
    async with running(tmp_path, worker=worker()) as service:
        await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED)
        told = await texts(service, name)
    assert told[:3] == ["admitted", "waits at place 1 of the queue", "taken up by an engine after # s"]
    (inherited,) = (place for place, text in enumerate(told) if text == "goes on at the next server")
    after = told[inherited + 1 :]
    assert after[0].startswith("waits at place")
    assert any(text.startswith("goes on from its checkpoint at iteration") for text in after)
    assert not any("anew" in text for text in after)
    assert after[-1] == "succeeded"
    async with running(tmp_path) as service:
        assert await texts(service, name) == told


async def test_a_job_that_the_next_server_cannot_go_on_with_says_that_it_begins_anew(tmp_path):
    def worker(network: str):
        folder = tmp_path / "data" / "checkpoints"
        return ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0, network=network))

    async with running(tmp_path, worker=worker("one"), drain_s=0) as service:
        name = (await service.transfer.Stylize(request(60, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=5)
        assert not any("anew" in text for text in await texts(service, name))
    async with running(tmp_path, worker=worker("another")) as service:
        await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED)
        told = await texts(service, name)
    assert not any("goes on from its checkpoint" in text for text in told)
    (anew,) = (place for place, text in enumerate(told) if text.startswith("begins anew"))
    assert told.index("goes on at the next server") < anew
    assert "this network" in told[anew]


async def test_what_failed_says_why_and_nothing_of_other_jobs(tmp_path):
    async with running(tmp_path, SLOWLY) as service:
        other = (await service.transfer.Stylize(request(500, detached=True, job_id="another"))).job
        hasty = request(
            5000,
            detached=True,
            run_timeout=duration_pb2.Duration(nanos=300_000_000),
            deadline_policy=style_transfer_pb2.DEADLINE_POLICY_FAIL,
        )
        name = (await service.transfer.Stylize(hasty)).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_FAILED)
        lines = (await service.transfer.GetJobLog(ask(name))).lines
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=other.name))
    assert (lines[-1].level, lines[-1].text) == (job_pb2.LOG_LEVEL_ERROR, "failed: RUN_TIMEOUT")
    assert "another" not in str(lines)
    assert str(tmp_path) not in str(lines)


async def test_a_job_that_does_not_exist_has_no_log(tmp_path):
    async with running(tmp_path) as service:
        code, reason, _ = await refused(service.transfer.GetJobLog(ask("jobs/none")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
