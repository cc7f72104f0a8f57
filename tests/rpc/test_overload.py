"""At ten times what a server can do: it refuses clearly, loses nothing, and stays a server that answers."""

import asyncio
import collections
import functools
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from support.killing import Stub, Victim, free_address, living, network_victim, toy_victim, until_ready
from support.rich_errors import details
from support.service import GREY, colour_of, png, request, running
from support.tables import two_columns
from support.watching import Sample, growths, keep_looking

Requests: TypeAlias = Iterator[style_transfer_pb2.StylizeRequest]

MAX_QUEUE = MAX_RUNNING = 8
TIMES = 10
#: Of a job, so that eight side by side take one or two seconds.
ITERATIONS = 60
#: What the network's engine computes: pixels a side, and iterations of a job.
NETWORK_SIDE, NETWORK_ITERATIONS = 64, 10
_LOOK_S = 0.05
#: Ended jobs are kept in memory for so long, and memory grows for as long.
RETENTION_S = 15.0
#: Of a client that obeys: places for such are there, but not always one free.
MOST_ATTEMPTS = 10
MOST_P99_MS = 50.0
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


@pytest.mark.parametrize(
    ("seconds", "num_waves"), [(3, 1), pytest.param(120, 6, marks=[pytest.mark.torture, pytest.mark.timeout(900)])]
)
async def test_under_ten_times_its_capacity_a_server_refuses_clearly_and_loses_nothing(
    tmp_path, report, seconds, num_waves
):
    address = free_address()
    victim = toy_victim(tmp_path, address, max_queue=MAX_QUEUE, max_running=MAX_RUNNING, retention_s=RETENTION_S)
    flooded = await overload(victim, address, requests(GREY, ITERATIONS), seconds, num_waves)
    tell(report, "overload", flooded)
    record = flooded.record
    assert set(record.refused) == {"QUEUE_FULL"}
    assert record.refused["QUEUE_FULL"] > record.num_accepted
    assert flooded.states == {job_pb2.JOB_STATE_SUCCEEDED}
    assert flooded.attempts <= MOST_ATTEMPTS
    if seconds > 100:
        assert record.refused["QUEUE_FULL"] >= (TIMES - 2) * record.num_accepted
        assert record.p99_ms("health") < MOST_P99_MS
        assert record.p99_ms("job") < MOST_P99_MS
        samples = flooded.samples
        kept = [sample for sample in samples if sample.at_s > samples[0].at_s + 2 * RETENTION_S]
        assert [growth for growth in growths(kept) if growth.is_one] == []


async def test_all_of_a_burst_of_calls_are_answered_or_refused_with_a_reason_and_the_time_to_retry(tmp_path):
    record = Record()
    async with running(tmp_path, functools.partial(time.sleep, 0.02), max_queue=MAX_QUEUE) as service:
        made = (request(5000, detached=True, labels={"number": str(number)}) for number in range(BURST))
        await asyncio.gather(*(call(service.transfer, each, record) for each in made))
    assert set(record.refused) == {"QUEUE_FULL"}
    assert record.num_accepted + record.refused["QUEUE_FULL"] == BURST


@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_beside_an_engine_that_computes_a_flooded_server_answers_as_ever(tmp_path, report):
    address = free_address()
    victim = network_victim(tmp_path, address, max_queue=MAX_QUEUE, max_running=MAX_RUNNING)
    asked = requests("styles/mosaic", NETWORK_ITERATIONS, NETWORK_SIDE)
    flooded = await overload(victim, address, asked, seconds=30, num_waves=6)
    tell(report, "overload-network", flooded)
    assert set(flooded.record.refused) == {"QUEUE_FULL"}
    assert flooded.record.refused["QUEUE_FULL"] > flooded.record.num_accepted
    assert flooded.states == {job_pb2.JOB_STATE_SUCCEEDED}
    assert flooded.record.p99_ms("health") < MOST_P99_MS
    assert flooded.record.p99_ms("job") < MOST_P99_MS


def tell(report, name: str, flooded: "Flooded") -> None:
    """Hand on the figures, and the same as a table."""
    figures = flooded.figures()
    report(name, figures, two_columns(figures))


@dataclass
class Flooded:
    """What came of a flood of so many seconds, at ten times the `per_s` jobs a second that the server can do."""

    seconds: float
    per_s: float
    record: Record
    attempts: int
    states: set[int]
    samples: list[Sample]

    def figures(self) -> dict[str, object]:
        return {
            "seconds": self.seconds,
            "jobs a second it can do": self.per_s,
            "accepted": self.record.num_accepted,
            "refused": dict(self.record.refused),
            "p99 of health, ms": self.record.p99_ms("health"),
            "p99 of GetJob, ms": self.record.p99_ms("job"),
            "attempts of a client that comes back when it is told": self.attempts,
            "memory of the front, MB": memory_of_front(self.samples),
        }


async def overload(victim: Victim, address: str, asked: Requests, seconds: float, num_waves: int) -> Flooded:
    """Find out what the server can do, and ask for ten times as much, beside a client that obeys and one that looks."""
    record, samples = Record(), []
    async with living(victim, address) as stub, grpc.aio.insecure_channel(address) as channel:
        await until_ready(stub, next(asked).styles[0].style, timeout_s=60)
        per_s = await capacity(stub, asked, num_waves)
        looking = [
            asyncio.create_task(keep_looking(victim.mark, samples, 0.5)),
            asyncio.create_task(look(channel, stub, record)),
        ]
        patient = asyncio.create_task(insist(stub, next(asked), seconds / 2))
        await flood(stub, asked, TIMES * per_s, seconds, record)
        attempts = await patient
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        return Flooded(seconds, per_s, record, attempts, await all_states(stub), samples)


def requests(style: str, iterations: int, side: int = 32) -> Requests:
    """Requests without end, each with a content of its own: a square of a colour that no other has."""
    for number in itertools.count(1):
        content = image_pb2.ImageSource(inline=png(colour_of(number), side, side))
        made = request(iterations, content=content)
        made.styles[0].style = style
        yield made


async def capacity(stub: Stub, asked: Requests, num_waves: int) -> float:
    """Jobs a second when there are always more than the engine takes, over so many times what it takes.

    The first that it takes are not counted: until they have ended there is less than it can do.
    """
    waiting, ends = iter(range((1 + num_waves) * MAX_RUNNING)), []

    async def ask_again_and_again() -> None:
        for _ in waiting:
            await stub.Stylize(next(asked))
            ends.append(time.monotonic())

    await asyncio.gather(*(ask_again_and_again() for _ in range(MAX_RUNNING + MAX_QUEUE // 2)))
    return num_waves * MAX_RUNNING / (ends[-1] - ends[MAX_RUNNING - 1])


async def flood(stub: Stub, asked: Requests, per_s: float, seconds: float, record: Record) -> None:
    """Call at a rate, whatever became of the calls before; then wait until all are answered."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(round(per_s * seconds)):
            await asyncio.sleep(begun + number / per_s - time.monotonic())
            group.create_task(call(stub, next(asked), record))


async def call(stub: Stub, made: style_transfer_pb2.StylizeRequest, record: Record) -> None:
    try:
        answer = await stub.Stylize(made)
    except grpc.aio.AioRpcError as error:
        record.refused[refusal(error)[0]] += 1
    else:
        record.num_accepted += 1
        record.last_job = answer.job.name
        assert answer.result.inline or made.detached


async def insist(stub: Stub, made: style_transfer_pb2.StylizeRequest, after_s: float) -> int:
    """How many attempts it takes a client that comes amid the flood, and back exactly when it is told."""
    await asyncio.sleep(after_s)
    for attempt in itertools.count(1):
        try:
            await stub.Stylize(made)
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
