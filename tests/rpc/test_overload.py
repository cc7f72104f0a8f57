"""At ten times what a server can do: it refuses clearly, loses nothing, and stays a server that answers."""

import asyncio
import collections
import functools
import itertools
import statistics
import time
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from support.killing import Stub, free_address, living, toy_victim, until_ready
from support.rich_errors import details
from support.service import png, request, running
from support.watching import Sample, growths, keep_looking

MAX_QUEUE = 8
TIMES = 10
#: Of a job, so that eight side by side take one or two seconds.
ITERATIONS = 60
_LOOK_S = 0.05
#: Ended jobs are kept in memory for so long, and memory grows for as long.
RETENTION_S = 15.0
#: Of a client that obeys: places for such are there, but not always one free.
MOST_ATTEMPTS = 10
#: Calls at once: more than gRPC, left to itself, lets wait until a server comes to them.
BURST = 1500


@dataclass
class Record:
    """What became of the calls: the reasons of those that were refused, and the latencies of those that look."""

    num_accepted: int = 0
    last_job: str = ""
    refused: collections.Counter = field(default_factory=collections.Counter)
    latencies_s: dict[str, list[float]] = field(default_factory=lambda: {"health": [], "job": []})

    def p99_ms(self, name: str) -> float:
        return 1000 * statistics.quantiles(self.latencies_s[name], n=100)[-1]


@pytest.mark.parametrize("seconds", [3, pytest.param(120, marks=[pytest.mark.torture, pytest.mark.timeout(900)])])
async def test_under_ten_times_its_capacity_a_server_refuses_clearly_and_loses_nothing(tmp_path, report, seconds):
    address, record, samples = free_address(), Record(), []
    victim = toy_victim(tmp_path, address, max_queue=MAX_QUEUE, retention_s=RETENTION_S)
    async with living(victim, address) as stub, grpc.aio.insecure_channel(address) as channel:
        await until_ready(stub)
        colours = (number / 100_000 for number in itertools.count(1))
        per_s = await capacity(stub, colours)
        looking = [
            asyncio.create_task(keep_looking(victim.mark, samples, 0.5)),
            asyncio.create_task(look(channel, stub, record)),
        ]
        patient = asyncio.create_task(insist(stub, next(colours), seconds / 2))
        await flood(stub, colours, TIMES * per_s, seconds, record)
        attempts = await patient
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        states = await all_states(stub)
    figures = {
        "seconds": seconds,
        "jobs a second it can do": per_s,
        "accepted": record.num_accepted,
        "refused": dict(record.refused),
        "p99 of health, ms": record.p99_ms("health"),
        "p99 of GetJob, ms": record.p99_ms("job"),
        "attempts of a client that comes back when it is told": attempts,
        "memory of the front, MB": memory_of_front(samples),
    }
    report("overload", figures)
    assert set(record.refused) == {"QUEUE_FULL"}
    assert record.refused["QUEUE_FULL"] > record.num_accepted
    assert states == {job_pb2.JOB_STATE_SUCCEEDED}
    assert attempts <= MOST_ATTEMPTS
    if seconds > 100:
        assert record.p99_ms("health") < 50
        assert record.p99_ms("job") < 50
        kept = [sample for sample in samples if sample.at_s > samples[0].at_s + 2 * RETENTION_S]
        assert [growth for growth in growths(kept) if growth.is_one] == []


async def test_all_of_a_burst_of_calls_are_answered_or_refused_with_a_reason_and_the_time_to_retry(tmp_path):
    record = Record()
    async with running(tmp_path, functools.partial(time.sleep, 0.02), max_queue=MAX_QUEUE) as service:
        made = (request(5000, detached=True, labels={"number": str(number)}) for number in range(BURST))
        await asyncio.gather(*(call(service.transfer, each, record) for each in made))
    assert set(record.refused) == {"QUEUE_FULL"}
    assert record.num_accepted + record.refused["QUEUE_FULL"] == BURST


async def capacity(stub: Stub, colours) -> float:
    """Jobs a second when there are always as many as the engine takes."""
    begun, count = time.monotonic(), 12
    await asyncio.gather(*(stub.Stylize(asked(next(colours))) for _ in range(count)))
    return count / (time.monotonic() - begun)


async def flood(stub: Stub, colours, per_s: float, seconds: float, record: Record) -> None:
    """Call at a rate, whatever became of the calls before; then wait until all are answered."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(round(per_s * seconds)):
            await asyncio.sleep(begun + number / per_s - time.monotonic())
            group.create_task(call(stub, asked(next(colours)), record))


async def call(stub: Stub, made: style_transfer_pb2.StylizeRequest, record: Record) -> None:
    try:
        answer = await stub.Stylize(made)
    except grpc.aio.AioRpcError as error:
        record.refused[refusal(error)[0]] += 1
    else:
        record.num_accepted += 1
        record.last_job = answer.job.name
        assert answer.result.inline or made.detached


async def insist(stub: Stub, colour: float, after_s: float) -> int:
    """How many attempts it takes a client that comes amid the flood, and back exactly when it is told."""
    await asyncio.sleep(after_s)
    for attempt in itertools.count(1):
        try:
            await stub.Stylize(asked(colour))
        except grpc.aio.AioRpcError as error:
            await asyncio.sleep(refusal(error)[1])
        else:
            return attempt
    raise AssertionError


def refusal(error: grpc.aio.AioRpcError) -> tuple[str, float]:
    """The reason, and the seconds after which to come back, which people and machines are told alike."""
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    info, (retry,) = details(error)
    pushback_ms = int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])
    assert pushback_ms == retry.retry_delay.ToMilliseconds()
    return info.reason, pushback_ms / 1000


async def look(channel: grpc.aio.Channel, stub: Stub, record: Record) -> None:
    """Ask for the health and for the job that was made last, now and then."""
    health = health_pb2_grpc.HealthStub(channel)
    (newest, *_) = (await stub.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
    record.last_job = newest.name
    while True:
        begun = time.perf_counter()
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, "a full queue is healthy"
        record.latencies_s["health"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await stub.GetJob(style_transfer_pb2.GetJobRequest(name=record.last_job))
        record.latencies_s["job"].append(time.perf_counter() - begun)
        await asyncio.sleep(_LOOK_S)


def asked(colour: float) -> style_transfer_pb2.StylizeRequest:
    return request(ITERATIONS, content=image_pb2.ImageSource(inline=png(colour)))


async def all_states(stub: Stub) -> set[int]:
    """The states of all jobs."""
    asking, states = style_transfer_pb2.ListJobsRequest(page_size=1000), set()
    while True:
        page = await stub.ListJobs(asking)
        states |= {job.state for job in page.jobs}
        asking.page_token = page.next_page_token
        if not asking.page_token:
            return states


def memory_of_front(samples: list[Sample]) -> list[float]:
    """At the beginning and at the end."""
    ends = [sample.taken["front memory_bytes"] / 1e6 for sample in (samples[0], samples[-1])]
    return [round(end, 1) for end in ends]
