"""Traces: a call, and what becomes of its job, as spans of OpenTelemetry that continue the caller's trace.

    the call             from its first byte to its status
      queue              from admission until an engine takes the job up, again after each engine that was lost
      run                in the engine; each tenth of its iterations, its climbs to larger canvases and its checkpoints
                         are events
      deliver            from the last evaluation until the picture is stored

A span a step would be thousands of them, so there is none; the attributes of `run` say how many iterations it had. A
job goes on after its call, and at the next server, in the trace that it began in.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from styleserve.events import Checkpointed, Resumed
from styleserve.observing.happenings import (
    Advanced,
    CallEnded,
    Climbed,
    Computed,
    Ended,
    Happening,
    LostEngine,
    TakenUp,
    Waits,
)
from styleserve.observing.observer import Load
from styleserve.version import version

#: Statuses that are the server's fault; others are answers.
_FAULTS = ("UNKNOWN", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED")
_TRACEPARENT, _TRACESTATE = "traceparent", "tracestate"
#: What is left to send has so long at the end, whether or not somebody is there to receive it.
CLOSE_S = 2.0


def exporter_to(endpoint: str) -> SpanExporter:
    """Sends spans to an OTLP receiver over gRPC; in the clear to `http://`, by TLS to `https://`."""
    return OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))


@dataclass(slots=True)
class _Stage:
    """Where a job is: the trace that it belongs to, and the span that is open."""

    trace: str
    span: Span


class Traces:
    """An observer that hands spans to `exporter`, in batches and off the event loop; `close` sends what is left."""

    def __init__(self, exporter: SpanExporter) -> None:
        installed = version()
        self._exporter = exporter
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "styleserve", "service.version": installed}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("styleserve", installed)
        self._propagator = TraceContextTextMapPropagator()
        self._calls: dict[str, Span] = {}
        self._stages: dict[str, _Stage] = {}

    def close(self) -> None:
        """End what is open, which goes on elsewhere or not at all, and send everything."""
        for span in (*self._calls.values(), *(stage.span for stage in self._stages.values())):
            span.end()
        giving_up = threading.Timer(CLOSE_S, self._exporter.shutdown)
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def attend(self, read_load: Callable[[], Load]) -> None:
        """Take no note."""

    def open_call(self, method: str, trace: str) -> str:
        """Begin the span of a call, in the caller's trace or one of its own; returns the span's trace."""
        service, _, name = method.rpartition("/")
        span = self._tracer.start_span(
            method,
            self._context(trace),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, otel.set_span_in_context(span, Context()))
        inner = " ".join(carrier[key] for key in (_TRACEPARENT, _TRACESTATE) if key in carrier)
        self._calls[inner] = span
        return inner

    def hear(self, happening: Happening) -> None:
        """Begin and end spans."""
        match happening:
            case CallEnded(code=code, trace=trace, job=job) if trace in self._calls:
                span = self._calls.pop(trace)
                if job:
                    span.set_attribute("styleserve.job", job)
                span.set_attribute("rpc.response.status_code", code)
                if code in _FAULTS:
                    span.set_status(Status(StatusCode.ERROR, code))
                span.end()
            case Waits(job_id=job_id, trace=trace, position=position):
                self._begin(job_id, trace, "queue", {"styleserve.queue.position": position})
            case TakenUp(job_id=job_id):
                self._next(job_id, "run")
            case Computed(job_id=job_id):
                self._note_cost(happening)
                self._next(job_id, "deliver")
            case Resumed() | Climbed() | Advanced() | Checkpointed():
                self._note(happening)
            case LostEngine(job_id=job_id) if job_id in self._stages:
                self._stages[job_id].span.set_status(Status(StatusCode.ERROR, "the engine was lost"))
            case Ended():
                self._end(happening)
            case _:
                pass

    def _begin(self, job_id: str, trace: str, name: str, attributes: dict[str, str | int]) -> None:
        if job_id in self._stages:
            self._stages[job_id].span.end()
        span = self._tracer.start_span(
            name, self._context(trace), attributes={"styleserve.job": f"jobs/{job_id}", **attributes}
        )
        self._stages[job_id] = _Stage(trace, span)

    def _next(self, job_id: str, name: str) -> None:
        if job_id in self._stages:
            self._begin(job_id, self._stages[job_id].trace, name, {})

    def _note(self, happening: Resumed | Climbed | Advanced | Checkpointed) -> None:
        if happening.job_id not in self._stages:
            return
        attributes: dict[str, int | float | bool] = {"iteration": happening.iteration}
        match happening:
            case Climbed(width=width, height=height):
                name, attributes = "climb", attributes | {"width": width, "height": height}
            case Advanced(evaluations=evaluations, losses=losses, engine_s=engine_s):
                name = "progress"
                attributes |= {"evaluations": evaluations, "loss": losses.total, "engine_s": engine_s}
            case Checkpointed(is_kept=is_kept):
                name, attributes = "checkpoint", attributes | {"kept": is_kept}
            case Resumed():
                name = "resume"
        self._stages[happening.job_id].span.add_event(name, attributes)

    def _note_cost(self, computed: Computed) -> None:
        if computed.job_id in self._stages:
            self._stages[computed.job_id].span.set_attributes(
                {
                    "styleserve.iterations": computed.iterations,
                    "styleserve.network_passes": computed.network_passes,
                    "styleserve.stop_reason": computed.stop_reason,
                }
            )

    def _end(self, ended: Ended) -> None:
        stage = self._stages.pop(ended.job_id, None)
        if stage is None:
            return
        stage.span.set_attribute("styleserve.state", ended.state)
        if ended.state == "failed":
            stage.span.set_status(Status(StatusCode.ERROR, ended.reason))
        stage.span.end()

    def _context(self, trace: str) -> Context:
        """The context of a trace; an empty one begins a trace, whatever the present task is part of."""
        traceparent, _, tracestate = trace.partition(" ")
        carrier = {_TRACEPARENT: traceparent, _TRACESTATE: tracestate} if trace else {}
        return self._propagator.extract(carrier, Context())
