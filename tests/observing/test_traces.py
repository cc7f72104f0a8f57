"""Traces: the caller's goes on through the call, the queue, the engine and the delivery, at the next server too."""

import concurrent.futures
import contextlib
import functools
import socket
import sys
import time

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from styleserve.cli.observers import observed
from styleserve.config import Config
from styleserve.errors import ConfigurationError
from styleserve.observing.traces import CLOSE_S, Traces
from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from support.rich_errors import refused
from support.service import request, running
from support.toy import ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
CALLER_SPAN_ID = 0xB7AD6B7169203331
CALLER = (("traceparent", f"00-{TRACE_ID:032x}-{CALLER_SPAN_ID:016x}-01"),)
STYLIZE = "styleserve.v1.StyleTransferService/Stylize"


class Spans:
    """The spans of a server that has ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._all = exporter.get_finished_spans()

    def named(self, name: str) -> list:
        return sorted((span for span in self._all if span.name == name), key=lambda span: span.start_time)

    def one(self, name: str):
        (span,) = self.named(name)
        return span


@contextlib.asynccontextmanager
async def traced(folder, *arguments, **settings):
    """A server and, once it has ended, its spans."""
    exporter = InMemorySpanExporter()
    found: list[Spans] = []
    with contextlib.closing(Traces(exporter)) as traces:
        async with running(folder, *arguments, observer=traces, **settings) as service:
            yield service, found
    found.append(Spans(exporter))


async def test_the_callers_trace_goes_on_from_the_call_through_the_queue_and_the_engine(tmp_path):
    async with traced(tmp_path, SLOWLY) as (service, found):
        name = (await service.transfer.Stylize(request(10), metadata=CALLER)).job.name
    (spans,) = found
    call = spans.one(STYLIZE)
    assert (call.context.trace_id, call.parent.span_id) == (TRACE_ID, CALLER_SPAN_ID)
    assert call.kind == SpanKind.SERVER
    assert call.attributes["rpc.response.status_code"] == "OK"
    stages = [spans.one(stage) for stage in ("queue", "run", "deliver")]
    for stage in stages:
        assert (stage.context.trace_id, stage.parent.span_id) == (TRACE_ID, call.context.span_id)
        assert stage.attributes["styleserve.job"] == name
    moments = [call.start_time, *(moment for stage in stages for moment in (stage.start_time, stage.end_time))]
    assert moments == sorted(moments)
    assert moments[-1] <= call.end_time
    run = stages[1]
    assert (run.attributes["styleserve.iterations"], run.attributes["styleserve.stop_reason"]) == (10, "completed")
    assert run.end_time - run.start_time >= 11 * 20_000_000
    assert [event.name for event in run.events] == ["climb", *["progress"] * 10]
    assert stages[2].attributes["styleserve.state"] == "succeeded"


async def test_however_many_steps_the_engine_takes_ten_of_them_are_told(tmp_path):
    async with traced(tmp_path) as (service, found):
        await service.transfer.Stylize(request(40))
    told = [event.attributes for event in found[0].one("run").events if event.name == "progress"]
    assert [(step["iteration"], step["evaluations"]) for step in told] == [(4 * n, 4 * n + 1) for n in range(1, 11)]
    losses, seconds = [step["loss"] for step in told], [step["engine_s"] for step in told]
    assert losses == sorted(losses, reverse=True)
    assert seconds == sorted(seconds)
    assert 0 < losses[-1] < losses[0]
    assert 0 < seconds[0] < seconds[-1]


async def test_a_call_without_a_trace_begins_one_of_its_own(tmp_path):
    async with traced(tmp_path) as (service, found):
        for metadata in (
            (),
            (("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-01"),),
            (("traceparent", "x" * 900),),
            (("traceparent", f"ff-{TRACE_ID:032x}-{CALLER_SPAN_ID:016x}-01"),),
            (("traceparent", f"00-{TRACE_ID:032x}-{CALLER_SPAN_ID:016x}-01-more"),),
        ):
            await service.transfer.Stylize(request(1), metadata=metadata)
    calls = found[0].named(STYLIZE)
    assert [call.parent for call in calls] == [None] * 5
    assert len({call.context.trace_id for call in calls}) == 5
    runs = found[0].named("run")
    assert [run.context.trace_id for run in runs] == [call.context.trace_id for call in calls]


@pytest.mark.parametrize("form", ["00-{}-01", "01-{}-01", "cc-{}-01-more"])
async def test_what_later_versions_of_the_standard_add_is_no_hindrance(tmp_path, form):
    traceparent = form.format(f"{TRACE_ID:032x}-{CALLER_SPAN_ID:016x}")
    async with traced(tmp_path) as (service, found):
        await service.transfer.Stylize(request(1), metadata=(("traceparent", traceparent),))
    call = found[0].one(STYLIZE)
    assert (call.context.trace_id, call.parent.span_id) == (TRACE_ID, CALLER_SPAN_ID)


async def test_what_other_systems_say_of_the_trace_goes_on_with_it(tmp_path):
    metadata = (*CALLER, ("tracestate", "one=a b"), ("tracestate", "two=2"))
    async with traced(tmp_path) as (service, found):
        await service.transfer.Stylize(request(1), metadata=metadata)
    for name in (STYLIZE, "queue", "run", "deliver"):
        assert dict(found[0].one(name).context.trace_state) == {"one": "a b", "two": "2"}


async def test_calls_that_join_a_job_name_it_in_traces_of_their_own(tmp_path):
    async with traced(tmp_path) as (service, found):
        identified = request(1, request_id="6f2a7c5e-3a55-4f0e-9d53-1f0a9a1c3b7d")
        name = (await service.transfer.Stylize(identified, metadata=CALLER)).job.name
        await service.transfer.Stylize(identified)
        watch = style_transfer_pb2.StreamProgressRequest(job=name)
        assert [update async for update in service.transfer.StreamProgress(watch)]
    first, second = found[0].named(STYLIZE)
    stream = found[0].one("styleserve.v1.StyleTransferService/StreamProgress")
    assert [call.attributes["styleserve.job"] for call in (first, second, stream)] == [name] * 3
    assert second.context.trace_id != first.context.trace_id


async def test_a_job_that_outlives_its_server_goes_on_in_its_trace(tmp_path):
    def worker():
        folder = tmp_path / "data" / "checkpoints"
        return ThreadWorker(ToyEngineFactory(SLOWLY, checkpoints_dir=folder, checkpoint_s=0.0))

    async with traced(tmp_path, worker=worker(), drain_s=0) as (service, _):
        name = (await service.transfer.Stylize(request(100, detached=True), metadata=CALLER)).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=5)
        await service.server.drain()
    async with traced(tmp_path, worker=worker()) as (service, found):
        await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED)
    run = found[0].one("run")
    assert run.context.trace_id == TRACE_ID
    assert run.events[0].name == "resume"
    assert run.events[0].attributes["iteration"] > 0


async def test_a_refused_call_is_no_fault_and_a_cancelled_run_says_so(tmp_path):
    async with traced(tmp_path, SLOWLY) as (service, found):
        await refused(service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/none")))
        name = (await service.transfer.Stylize(request(5000, detached=True))).job.name
        await service.wait_for(name, job_pb2.JOB_STATE_RUNNING, iteration=1)
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))
        await service.wait_for(name, job_pb2.JOB_STATE_CANCELLED)
    get = found[0].named("styleserve.v1.StyleTransferService/GetJob")[0]
    assert get.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert get.status.status_code == StatusCode.UNSET
    run = found[0].one("run")
    assert run.attributes["styleserve.state"] == "cancelled"
    assert not found[0].named("deliver")


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Stands in for a collector."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request, context):  # noqa: N802 (the contract's)
        for of_resource in request.resource_spans:
            for of_scope in of_resource.scope_spans:
                self.names += [span.name for span in of_scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_spans_reach_an_otlp_receiver_before_the_server_is_gone(tmp_path):
    receiver = Receiver()
    collector = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    try:
        with observed(Config(traces=f"http://127.0.0.1:{port}")) as observer:
            async with running(tmp_path, observer=observer) as service:
                await service.transfer.Stylize(request(1))
    finally:
        collector.stop(None).wait()
    assert {STYLIZE, "queue", "run", "deliver"} <= set(receiver.names)


async def test_a_collector_that_is_not_there_does_not_hold_up_the_end(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with contextlib.ExitStack() as stack:
            observer = stack.enter_context(observed(Config(traces=f"http://127.0.0.1:{nobody.getsockname()[1]}")))
            async with running(tmp_path, observer=observer) as service:
                await service.transfer.Stylize(request(1))
            begun = time.monotonic()
            stack.close()
            assert time.monotonic() - begun < CLOSE_S + 2.0


def test_traces_without_their_packages_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "styleserve.observing.traces", None)
    with (
        pytest.raises(ConfigurationError, match=r"in a clone: pip install '\.\[cpu,traces\]'"),
        observed(Config(traces="http://127.0.0.1:4317")),
    ):
        pass


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4317", "ftp://127.0.0.1:4317", "http://localhost", ""])
def test_endpoints_are_urls_with_a_port(endpoint):
    with pytest.raises(ConfigurationError, match="traces: got"):
        Config(traces=endpoint)
