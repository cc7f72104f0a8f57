"""Jobs outlive the server: whatever ends it, the next one on the same folder goes on with them."""

import asyncio
import functools
import time
import uuid

import grpc
import pytest

from styleserve.errors import ConfigurationError
from styleserve.v1 import job_pb2, style_transfer_pb2
from support.rich_errors import refused
from support.service import request, running

SLOWLY = functools.partial(time.sleep, 0.02)
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


def get(name: str) -> style_transfer_pb2.GetJobRequest:
    return style_transfer_pb2.GetJobRequest(name=name)


def watch(name: str, after_sequence: int = 0) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(job=name, after_sequence=after_sequence, include_result=True)


async def test_running_and_waiting_jobs_go_on_under_their_names_in_their_order(tmp_path):
    async with running(tmp_path, SLOWLY, max_running=1, drain_s=0.1) as service:
        names = [(await service.transfer.Stylize(request(30, detached=True))).job.name for _ in range(3)]
        await service.wait_for(names[0], job_pb2.JOB_STATE_RUNNING)
        await service.server.drain()
    async with running(tmp_path, max_running=1) as service:
        ended = [await service.wait_for(name, *ENDED) for name in names]
    assert [job.state for job in ended] == [job_pb2.JOB_STATE_SUCCEEDED] * 3
    ends = [job.end_time.ToMicroseconds() for job in ended]
    assert ends == sorted(ends)


async def test_what_ended_before_is_read_as_before_with_its_picture(tmp_path):
    async with running(tmp_path) as service:
        job = (await service.transfer.Stylize(request(labels={"team": "mobile"}))).job
        before = (await service.transfer.GetJob(get(job.name))).job
    async with running(tmp_path) as service:
        assert (await service.transfer.GetJob(get(job.name))).job == before
        updates = [update async for update in service.transfer.StreamProgress(watch(job.name))]
    assert [update.WhichOneof("event") for update in updates] == ["job", "result", "job"]
    assert len(updates[1].result.inline) == before.result.size_bytes


async def test_the_same_request_finds_its_job_at_the_next_server(tmp_path):
    asked = request(30, request_id=str(uuid.uuid4()))
    async with running(tmp_path, SLOWLY, drain_s=0.1) as service:
        waiting = asyncio.ensure_future(refused(service.transfer.Stylize(asked)))
        await asyncio.sleep(0.2)
        await service.server.drain()
        code, reason, _ = await waiting
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    async with running(tmp_path) as service:
        response = await service.transfer.Stylize(asked)
        jobs = await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())
    assert response.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert len(jobs.jobs) == 1


async def test_a_watcher_comes_back_and_sees_the_end_after_what_it_saw(tmp_path):
    async with running(tmp_path, SLOWLY, drain_s=0.1) as service:
        name = (await service.transfer.Stylize(request(30, detached=True))).job.name
        call = service.transfer.StreamProgress(watch(name))
        seen = [await call.read() for _ in range(5)]
        call.cancel()
        await service.server.drain()
    last = seen[-1].sequence
    async with running(tmp_path) as service:
        updates = [update async for update in service.transfer.StreamProgress(watch(name, last))]
    assert updates[0].WhichOneof("event") == "job"
    assert updates[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
    sequences = [last, *(update.sequence for update in updates)]
    assert sequences == sorted(set(sequences))


async def test_callers_who_lose_a_stopping_server_cancel_nothing(tmp_path):
    async with running(tmp_path, SLOWLY, drain_s=0.1) as service:
        waiting = asyncio.ensure_future(service.transfer.Stylize(request(30, job_id="awaited")))
        await asyncio.sleep(0.3)
        await service.server.stop()
        await asyncio.gather(waiting, return_exceptions=True)
    async with running(tmp_path) as service:
        assert (await service.wait_for("jobs/awaited", *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_job_keeps_the_style_that_it_was_asked_with(tmp_path):
    async with running(tmp_path, SLOWLY, drain_s=0.1, max_running=1) as service:
        before = (await service.transfer.Stylize(request(10))).job
        names = [(await service.transfer.Stylize(request(10, detached=True))).job.name for _ in range(2)]
        await service.server.drain()
    async with running(tmp_path, grey=0.9) as service:
        kept = await service.wait_for(names[1], *ENDED)
        after = (await service.transfer.Stylize(request(10))).job
    assert kept.provenance.styles == before.provenance.styles != after.provenance.styles
    assert kept.progress.losses == before.progress.losses != after.progress.losses


async def test_a_second_server_on_the_folder_is_refused(tmp_path):
    async with running(tmp_path):
        with pytest.raises(ConfigurationError, match="no other server uses"):
            async with running(tmp_path):
                pass
