"""Metrics: what goes on as numbers for Prometheus, in a registry of the server's own, on a port of their own."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from styleserve.errors import (
    ConfigurationError,
    DivergedError,
    EngineError,
    QueueTimeoutError,
    RunTimeoutError,
    StorageError,
)
from styleserve.events import Checkpointed, Lost, Planned, Ready, Resumed, Step, Worked
from styleserve.observing.happenings import (
    Admitted,
    Advanced,
    BegunAnew,
    CallEnded,
    Climbed,
    Computed,
    Ended,
    FirstJudged,
    Happening,
    Inherited,
    LostEngine,
    PreviewDropped,
    PreviewSent,
    Reused,
    TakenUp,
    Waits,
)
from styleserve.observing.observer import Load

#: Upper bounds in seconds: of what people wait for, up to an hour, and of one evaluation.
WAIT_BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
EVALUATION_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
#: Upper bounds of batches, in canvases.
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
#: Canvases are told apart by the side of a square of as many pixels, up to these.
SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
#: What jobs end with now and then. A counter that is there from the start shows its first event as an increase.
_FAILURES = (DivergedError, EngineError, QueueTimeoutError, RunTimeoutError, StorageError)
_ENDS = (("succeeded", ""), ("cancelled", ""), *(("failed", kind.reason) for kind in _FAILURES))
_OUTCOMES = ("written", "not written", "resumed")


class Metrics:
    """An observer; `registry` has its numbers. Every label has few values, whatever callers send."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._calls = _Calls(registry)
        self._jobs = _Jobs(registry)
        self._engine = _Engine(registry)

    def attend(self, read_load: Callable[[], Load]) -> None:
        """Read the load whenever somebody asks for the numbers."""
        self._jobs.waiting.set_function(lambda: read_load().num_waiting)
        self._jobs.running.set_function(lambda: read_load().num_running)

    def open_call(self, method: str, trace: str) -> str:  # noqa: ARG002 (the protocol's)
        """Leave the trace as it is; the call counts when it is over."""
        return trace

    def hear(self, happening: Happening) -> None:
        """Count."""
        match happening:
            case CallEnded():
                self._calls.end(happening)
            case PreviewSent():
                self._calls.sent.inc()
            case PreviewDropped():
                self._calls.dropped.inc()
            case TakenUp(waited_s=seconds):
                self._jobs.waited.observe(seconds)
            case FirstJudged(seconds=seconds):
                self._jobs.first.observe(seconds)
            case Ended():
                self._jobs.end(happening)
            case Ready():
                self._engine.begin(happening)
            case Lost():
                self._engine.lose()
            case Worked():
                self._engine.work(happening)
            case Checkpointed():
                self._engine.note_checkpoint(happening)
            case Resumed():
                self._engine.checkpoints.labels("resumed").inc()
            case Admitted() | Inherited() | Waits() | Planned() | BegunAnew() | Climbed() | Advanced():
                pass  # what follows from them is counted
            case LostEngine() | Computed() | Reused():
                pass
            case _:
                assert_never(happening)

    @contextmanager
    def served(self, address: str) -> Iterator[str]:
        """Answer `GET /metrics` at `HOST:PORT` while this lasts; yields the address as bound.

        Raises ConfigurationError when it cannot be bound.
        """
        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), self.registry)
        except (OSError, UnicodeError) as error:  # the latter for names that no host can have
            reason = error.strerror if isinstance(error, OSError) else "no name of a host"
            raise ConfigurationError(
                f"metrics: got {address!r}, which cannot be bound ({reason}); allowed: HOST:PORT of this "
                "machine that no other program has"
            ) from None
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Calls:
    """Numbers of calls and streams."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter("styleserve_requests", "Calls that are over.", ("method", "code"), registry=registry)
        self._seconds = Histogram(
            "styleserve_request_seconds", "How long calls took.", ("method",), buckets=WAIT_BUCKETS_S, registry=registry
        )
        self.sent = Counter("styleserve_previews_sent", "Previews that went to watchers.", registry=registry)
        self.dropped = Counter(
            "styleserve_previews_dropped", "Previews that were due to a watcher and gave way.", registry=registry
        )

    def end(self, call: CallEnded) -> None:
        self._ended.labels(call.method, call.code).inc()
        self._seconds.labels(call.method).observe(call.seconds)


class _Jobs:
    """Numbers of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def seconds(name: str, documentation: str) -> Histogram:
            return Histogram(name, documentation, buckets=WAIT_BUCKETS_S, registry=registry)

        self.waiting = Gauge("styleserve_jobs_waiting", "Jobs in the queue.", registry=registry)
        self.running = Gauge("styleserve_jobs_running", "Jobs neither in the queue nor over.", registry=registry)
        self.waited = seconds("styleserve_queue_wait_seconds", "From the queue's end to an engine.")
        self.first = seconds("styleserve_first_progress_seconds", "From submitting a job to its first judged canvas.")
        self._picture = seconds("styleserve_picture_seconds", "From submitting a job to its stored picture.")
        self._ended = Counter("styleserve_jobs_ended", "Jobs that are over.", ("state", "reason"), registry=registry)
        self._spent = Counter(
            "styleserve_job_engine_seconds", "Seconds computed for jobs, by their end.", ("state",), registry=registry
        )
        for state, reason in _ENDS:
            self._ended.labels(state, reason)
            self._spent.labels(state)

    def end(self, job: Ended) -> None:
        self._ended.labels(job.state, job.reason).inc()
        self._spent.labels(job.state).inc(job.engine_s)
        if job.state == "succeeded":
            self._picture.observe(job.seconds)


class _Engine:
    """Numbers of the engine, which lives in a process of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"styleserve_{name}", documentation, labels, registry=registry)

        self._is_replaced = False
        self._up = Gauge("styleserve_engine_up", "1 while an engine lives.", registry=registry)
        self._losses = counter("engine_losses", "Engines that were lost.")
        self._restarts = counter("engine_restarts", "Engines that took the place of a lost one.")
        self._resident = Gauge("styleserve_engine_resident_bytes", "Memory of the engine's process.", registry=registry)
        self._budget = Gauge("styleserve_engine_budget_bytes", "Memory that the engine may use.", registry=registry)
        self._evaluations = counter("evaluations", "Canvases that were judged.")
        self._passes = counter("network_passes", "Passes of the network, those for targets included.")
        self._batches = Histogram(
            "styleserve_batch_canvases", "Canvases judged together.", buckets=BATCH_BUCKETS, registry=registry
        )
        self._seconds = Histogram(
            "styleserve_evaluation_seconds",
            "A canvas's share of its step, by the canvas's size.",
            ("side",),
            buckets=EVALUATION_BUCKETS_S,
            registry=registry,
        )
        self.checkpoints = counter("checkpoints", "Checkpoints that were written, lost or gone on from.", "outcome")
        self._writing = counter("checkpoint_seconds", "Seconds of the engine that checkpoints took.")
        for outcome in _OUTCOMES:
            self.checkpoints.labels(outcome)

    def begin(self, ready: Ready) -> None:
        self._budget.set(ready.info.costs.budget_bytes)
        self._up.set(1)
        if self._is_replaced:
            self._restarts.inc()

    def lose(self) -> None:
        self._losses.inc()
        self._up.set(0)
        self._is_replaced = True

    def work(self, worked: Worked) -> None:
        self._passes.inc(worked.target_passes)
        for step in worked.steps:
            self._count(step)
        if worked.resident_bytes is not None:
            self._resident.set(worked.resident_bytes)

    def note_checkpoint(self, checkpoint: Checkpointed) -> None:
        self.checkpoints.labels("written" if checkpoint.is_kept else "not written").inc()
        self._writing.inc(checkpoint.seconds)

    def _count(self, step: Step) -> None:
        self._evaluations.inc(step.num_canvases)
        self._passes.inc(step.num_canvases)
        self._batches.observe(step.num_canvases)
        seconds = self._seconds.labels(side(step.num_pixels))
        for _ in range(step.num_canvases):
            seconds.observe(step.seconds / step.num_canvases)


def side(num_pixels: int) -> str:
    """The bucket of a canvas: the least of `SIDES` whose square has as many pixels, or `larger`."""
    return next((str(bound) for bound in SIDES if math.isqrt(num_pixels - 1) < bound), "larger")
