"""Jobs outlive the server: whatever ends it, the next one on the same folder goes on with them."""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import os
import resource
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2

from styleserve import images
from styleserve.costs import Line
from styleserve.errors import ConfigurationError, StorageError
from styleserve.jobs import retention
from styleserve.jobs.pictures import Pictures
from styleserve.jobs.queue import JobQueue
from styleserve.jobs.store import JobStore
from styleserve.presets import PRESETS
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from styleserve_client.requests import upload_parts
from support.killing import free_address, living, toy_victim, until, until_ready
from support.processes import processes
from support.rich_errors import refused
from support.service import png, request, running
from support.toy import TOY_COST, TOY_COSTS, ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)
#: What a file may grow to on a disk that is full: most images, and not large ones.
MOST_BYTES = 2_000_000
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


def build_late(report):
    time.sleep(1.0)
    return ToyEngineFactory()(report)


def get(name: str) -> style_transfer_pb2.GetJobRequest:
    return style_transfer_pb2.GetJobRequest(name=name)


def watch(name: str, after_sequence: int = 0) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(job=name, after_sequence=after_sequence, include_result=True)


def start(asked: style_transfer_pb2.StylizeRequest) -> style_transfer_pb2.StreamProgressRequest:
    return style_transfer_pb2.StreamProgressRequest(start=asked, include_result=True)


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
        await service.admitted(1)
        await service.server.drain()
        await service.server.stop()
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
        await service.admitted(1)
        await service.server.stop()
        await asyncio.gather(waiting, return_exceptions=True)
    async with running(tmp_path) as service:
        assert (await service.wait_for("jobs/awaited", *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_long_queue_is_taken_over_at_once(tmp_path, monkeypatch):
    async with running(tmp_path, SLOWLY, drain_s=0, max_running=1) as service:
        for _ in range(40):
            await service.transfer.Stylize(request(5000, detached=True))
        await service.server.drain()
    counted = Counter()

    def count(owner: type, method: str) -> None:
        whole = getattr(owner, method)
        monkeypatch.setattr(owner, method, lambda *arguments: (counted.update([method]), whole(*arguments))[1])

    count(JobStore, "_write")
    count(JobQueue, "_tell_positions")
    async with running(tmp_path, SLOWLY, drain_s=0, max_running=1) as service:
        jobs = await service.admitted(40)
    assert sorted(job.queue_position for job in jobs) == list(range(40))
    assert counted["_write"] < 5, "each waits for the disk"
    assert counted["_tell_positions"] < 5, "each goes through the whole queue"


def rewrite(folder: Path, old: str, new: str) -> None:
    """Change the records of the jobs of a server that has stopped."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "jobs.sqlite3", isolation_level=None)) as database:
        database.execute("UPDATE jobs SET record = replace(record, ?, ?)", (old, new))


async def test_what_an_older_server_cannot_read_it_leaves_to_a_newer_one_with_all_that_belongs_to_it(tmp_path):
    def worker() -> ThreadWorker:
        folder = tmp_path / "data" / "checkpoints"
        return ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0))

    async with running(tmp_path, worker=worker(), drain_s=0) as service:
        name = (await service.transfer.Stylize(request(60, job_id="from-the-future", detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=5)
        await service.server.drain()
    rewrite(tmp_path, '"optimizer": "adam"', '"optimizer": "one of the future"')
    async with running(tmp_path, worker=worker(), retention_s=1.0) as service:
        other = (await service.transfer.Stylize(request())).job.name
        assert (await refused(service.transfer.GetJob(get(name))))[1] == "JOB_NOT_FOUND"
        assert (await refused(service.transfer.Stylize(request(job_id="from-the-future"))))[1] == "JOB_ID_TAKEN"
        await service.kept(0)
        assert (await refused(service.transfer.GetJob(get(other))))[1] == "JOB_NOT_FOUND"
    rewrite(tmp_path, '"optimizer": "one of the future"', '"optimizer": "adam"')
    async with running(tmp_path, worker=worker()) as service:
        assert (await service.wait_for(name, *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED
        log = (await service.transfer.GetJobLog(style_transfer_pb2.GetJobLogRequest(name=name))).lines
    assert any(line.text.startswith("goes on from its checkpoint") for line in log)


async def test_a_job_whose_cancelling_was_answered_is_not_taken_up_again(tmp_path, monkeypatch):
    async with running(tmp_path, SLOWLY) as service:
        name = (await service.transfer.Stylize(request(400, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=2)
        # As if the server died before its engine heard of it.
        monkeypatch.setattr(service.server._jobs._dispatcher._keeper, "send", lambda command: None)
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
    async with running(tmp_path, SLOWLY) as service:
        job = await service.wait_for(name, *ENDED)
    assert job.state == job_pb2.JOB_STATE_CANCELLED


async def test_a_job_that_ran_has_done_with_its_queue_timeout_whatever_the_next_server_takes_to_warm_up(tmp_path):
    asked = request(40, detached=True, queue_timeout=duration_pb2.Duration(nanos=300_000_000))
    async with running(tmp_path, SLOWLY, drain_s=0.1) as service:
        name = (await service.transfer.Stylize(asked)).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=3)
        await service.server.drain()
    async with running(tmp_path, worker=ThreadWorker(build_late)) as service:
        assert (await service.wait_for(name, *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_job_that_never_ran_has_waited_since_it_was_submitted_whatever_servers_came_and_went(tmp_path):
    asked = request(3, detached=True, queue_timeout=duration_pb2.Duration(seconds=2))
    async with running(tmp_path, SLOWLY, drain_s=0.1, max_running=1) as service:
        await service.transfer.Stylize(request(400, detached=True))
        name = (await service.transfer.Stylize(asked)).job.name
        await service.server.drain()
    await asyncio.sleep(1)
    started = time.time()
    async with running(tmp_path, worker=ThreadWorker(build_late)) as service:
        job = await service.wait_for(name, *ENDED)
    assert "queue_timeout" in job.error.message
    assert job.create_time.ToMicroseconds() / 1e6 + 2 <= job.end_time.ToMicroseconds() / 1e6 < started + 2


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


async def test_a_second_server_on_the_folder_is_refused_and_takes_nothing_away(tmp_path):
    """As what the first one is about to keep: it has hidden names until it is whole."""
    async with running(tmp_path):
        on_their_way = [tmp_path / "data" / folder / ".new.yaml.partial" for folder in ("styles", "images/anonymous")]
        for path in on_their_way:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"half")
        with pytest.raises(ConfigurationError, match="no other server uses"):
            async with running(tmp_path):
                pass
        assert all(path.exists() for path in on_their_way)
    async with running(tmp_path):
        assert not any(path.exists() for path in on_their_way)


async def test_a_picture_that_is_kept_is_not_made_again_and_the_provenance_says_so(tmp_path):
    async with running(tmp_path, no_cache=False) as service:
        made = await service.transfer.Stylize(request())
        again = await service.transfer.Stylize(request())
        other = await service.transfer.Stylize(request(4))
    assert again.job.name != made.job.name
    assert again.result == made.result
    assert again.job.provenance.reused_from == made.job.name
    assert again.job.provenance.network_passes == 0
    assert not other.job.provenance.reused_from


async def test_a_picture_that_is_kept_needs_no_place_in_the_queue_and_no_time(tmp_path):
    async with running(tmp_path, SLOWLY, no_cache=False, max_queue=1, max_running=1) as service:
        made = (await service.transfer.Stylize(request())).job
        detached = [request(5000, detached=True, labels={"number": number}) for number in "12"]
        for asked in detached:
            await service.transfer.Stylize(asked)
        assert (await refused(service.transfer.Stylize(request(4))))[1] == "QUEUE_FULL"
        again = (await service.transfer.Stylize(request())).job
        hurried = request(run_timeout=duration_pb2.Duration(nanos=1))
        assert again.provenance.reused_from == made.name
        (waiting,) = (
            await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_QUEUED]))
        ).jobs
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=waiting.name))
        assert (await service.transfer.Stylize(hurried)).job.provenance.reused_from == made.name


async def test_a_picture_is_not_made_again_by_the_next_server_either(tmp_path):
    async with running(tmp_path, no_cache=False) as service:
        made = await service.transfer.Stylize(request())
    async with running(tmp_path, no_cache=False) as service:
        updates = [update async for update in service.transfer.StreamProgress(start(request()))]
    assert updates[-1].job.provenance.reused_from == made.job.name
    assert updates[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_picture_that_is_kept_answers_also_when_the_job_that_made_it_is_forgotten(tmp_path):
    async with running(tmp_path, no_cache=False) as service:
        made = (await service.transfer.Stylize(request())).job
        await service.transfer.Stylize(request())
    async with running(tmp_path, no_cache=False, retention_jobs=2) as service:
        await service.transfer.Stylize(request(4))
        assert (await refused(service.transfer.GetJob(get(made.name))))[1] == "JOB_NOT_FOUND"
        again = (await service.transfer.Stylize(request())).job
    assert again.provenance.reused_from == made.name
    assert again.provenance.network_passes == 0


async def test_with_no_cache_every_picture_is_made(tmp_path):
    async with running(tmp_path, no_cache=True) as service:
        jobs = [(await service.transfer.Stylize(request())).job for _ in range(2)]
    assert [job.provenance.reused_from for job in jobs] == ["", ""]
    assert jobs[1].provenance.network_passes > 0


async def test_what_a_deadline_cut_short_is_no_answer_to_others(tmp_path):
    async with running(tmp_path, SLOWLY, no_cache=False) as service:
        asked = request(400, run_timeout=duration_pb2.Duration(seconds=1))
        cut = (await service.transfer.Stylize(asked)).job
        again = (await service.transfer.Stylize(asked)).job
    assert cut.stop_reason == job_pb2.STOP_REASON_DEADLINE
    assert not again.provenance.reused_from


async def test_what_a_deadline_made_a_smaller_plan_for_is_no_answer_to_others_though_it_completed(tmp_path):
    # 0.2 s an evaluation are predicted, so that 39.5 s seem too few for 200 moves; they take 1 ms.
    cautious = dataclasses.replace(TOY_COST, seconds=Line(0.2, 0.0))
    costs = dataclasses.replace(TOY_COSTS, costs=((PRESETS["classic"], cautious),))
    asked = request(200, content=image_pb2.ImageSource(inline=png(0.2, 256, 256)))
    asked.recipe.preset, asked.recipe.optimizer, asked.output.max_side = "standard", recipe_pb2.OPTIMIZER_ADAM, 256
    asked.run_timeout.CopyFrom(duration_pb2.Duration(seconds=39, nanos=500_000_000))
    worker = ThreadWorker(ToyEngineFactory(functools.partial(time.sleep, 0.001), costs=costs))
    async with running(tmp_path, worker=worker, no_cache=False) as service:
        first = (await service.transfer.Stylize(asked)).job
        asked.ClearField("run_timeout")
        whole = (await service.transfer.Stylize(asked)).job
        again = (await service.transfer.Stylize(asked)).job
    assert first.stop_reason == job_pb2.STOP_REASON_COMPLETED
    assert not whole.provenance.reused_from
    assert again.provenance.reused_from == whole.name


def takes_nothing(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse_to_deliver(*_: object) -> None:
    raise StorageError


async def test_a_full_disk_is_told_and_gets_free_again_when_images_expire(tmp_path, monkeypatch):
    def images() -> list[Path]:
        return list((tmp_path / "data" / "images").glob("*/*"))

    async with running(tmp_path, retention_s=1.0) as service:
        names = [(await service.transfer.Stylize(request(number))).job.name for number in (1, 2)]
        database = service.server._jobs._store._database
        database.execute("PRAGMA query_only = ON")  # a full disk has no room to forget a job either
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", takes_nothing)
            other = request(content=image_pb2.ImageSource(inline=png(0.7)))
            assert (await refused(service.transfer.Stylize(other)))[1] == "STORAGE_UNAVAILABLE"
            await until(lambda: not images())
            assert (await service.transfer.GetJob(get(names[0]))).job.name == names[0]
        database.execute("PRAGMA query_only = OFF")
        await until(lambda: service.server._jobs._store.get(names[1].removeprefix("jobs/")) is None)
        assert (await refused(service.transfer.GetJob(get(names[0]))))[1] == "JOB_NOT_FOUND"
        assert (await service.transfer.Stylize(other)).job.state == job_pb2.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("job_id", ["", "chosen"])
async def test_a_request_whose_job_the_disk_did_not_take_is_made_anew_unless_its_name_was_chosen(
    tmp_path, monkeypatch, job_id
):
    asked = request(request_id=str(uuid.uuid4()), job_id=job_id)
    async with running(tmp_path) as service:
        with monkeypatch.context() as full:
            full.setattr(Pictures, "deliver", refuse_to_deliver)
            assert (await refused(service.transfer.Stylize(asked)))[:2] == UNAVAILABLE
        if job_id:
            assert (await refused(service.transfer.Stylize(asked)))[:2] == UNAVAILABLE
            return
        made = (await service.transfer.Stylize(asked)).job
        assert made.state == job_pb2.JOB_STATE_SUCCEEDED
    async with running(tmp_path) as service:
        assert (await service.transfer.Stylize(asked)).job.name == made.name


@contextlib.contextmanager
def full_disk(mark: str) -> Iterator[None]:
    """While this lasts the system lets no file of the server's processes grow beyond `MOST_BYTES`."""
    pids = [process.pid for process in processes(mark)]
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid, (_, hard) in zip(pids, before, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MOST_BYTES, hard))
    try:
        yield
    finally:
        for pid, limits in zip(pids, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


async def test_what_the_system_does_not_store_is_told_and_other_jobs_go_on(tmp_path):
    address = free_address()
    victim = toy_victim(tmp_path, address, has_adam=False)
    noise = np.random.default_rng(1).random((1000, 1000, 3), np.float32)
    content = image_pb2.ImageSource(inline=images.encode(images.Picture(noise), "jpeg", quality=50).data)
    large = request(2, content=content)  # whose PNG is larger than may be kept
    upload = png(0.3).ljust(MOST_BYTES + 1, b"\0")
    async with living(victim, address) as stub:
        await until_ready(stub)
        other = (await stub.Stylize(request(150, detached=True))).job.name
        with full_disk(victim.mark):
            assert (await stub.GetJob(get(other))).job.state not in ENDED
            assert (await refused(stub.UploadImage(upload_parts(upload, len(upload), ""))))[:2] == UNAVAILABLE
            assert (await refused(stub.Stylize(large)))[:2] == UNAVAILABLE
            assert not list((tmp_path / "data" / "images").glob("*/.*"))
            assert (await stub.Stylize(request())).result.inline
            updates = [update async for update in stub.StreamProgress(watch(other))]
        assert (await stub.Stylize(large)).job.result.size_bytes > MOST_BYTES
        assert (await stub.UploadImage(upload_parts(upload, len(upload), ""))).image
    assert updates[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert updates[-2].result.inline
    assert victim.num_starts == 1


async def test_only_so_many_ended_jobs_are_kept_by_their_names(tmp_path):
    async with running(tmp_path, no_cache=False, retention_jobs=3) as service:
        names = [(await service.transfer.Stylize(request())).job.name for _ in range(5)]
        listed = (await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
        assert (await refused(service.transfer.GetJob(get(names[1]))))[1] == "JOB_NOT_FOUND"
    assert [job.name for job in listed] == names[:1:-1]


async def test_the_oldest_pictures_make_room_and_their_jobs_go_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "_SWEEP_S", 0.1)
    async with running(tmp_path, retention_size="4KB") as service:
        names = []
        for colour in (0.2, 0.3, 0.4, 0.5):
            content = image_pb2.ImageSource(inline=png(colour))
            names.append((await service.transfer.Stylize(request(content=content, detached=True))).job.name)
            await service.wait_for(names[-1], job_pb2.JOB_STATE_SUCCEEDED)
            await asyncio.sleep(0.15)
        await service.kept(3)
        _, reason, _ = await refused(service.transfer.GetJob(get(names[0])))
        newest = await service.transfer.GetJob(get(names[-1]))
    assert reason == "JOB_NOT_FOUND"
    assert newest.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert sum(path.stat().st_size for path in (tmp_path / "data" / "images").glob("*/*")) <= 4000
