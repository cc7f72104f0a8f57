"""Display: a live progress bar with losses and time left on a terminal; silence in a pipe."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from styleserve.v1 import job_pb2
from styleserve_client import Event, JobChanged, Progressed

#: Columns of a terminal that has room for every term of the loss.
_WIDE = 140
_BAR_WIDTH = 20


class Display:
    """Shows a job's events while its context lasts, on standard error unless another console is given."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("waiting", total=None, losses="", left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, description: str) -> None:
        """Name what is going on."""
        self._bar.update(self._task, description=description)

    def show(self, event: Event) -> None:
        """Show an event."""
        match event:
            case JobChanged(job=job):
                self.say(_describe_state(job))
            case Progressed(progress=progress):
                self._bar.update(
                    self._task,
                    completed=progress.iteration,
                    total=progress.total_iterations,
                    description=f"{progress.width} x {progress.height}",
                    losses=self._describe_losses(progress.losses) if progress.HasField("losses") else "",
                    left=f"{progress.eta.ToTimedelta().total_seconds():.0f} s left",
                )
            case _:
                pass

    def _describe_losses(self, losses: job_pb2.Losses) -> str:
        total = f"loss {losses.total:.4g}"
        if self._console.width < _WIDE:
            return total
        terms = f"style {losses.style:.3g} + variation {losses.total_variation:.3g}"
        return f"{total} = content {losses.content:.3g} + {terms}"


def describe_job(job: job_pb2.Job) -> Iterator[tuple[str, object]]:
    """A job as names and values."""
    yield "name", job.name
    yield "state", _describe_state(job)
    if job.HasField("progress"):
        progress = job.progress
        yield "iterations", f"{progress.iteration} of {progress.total_iterations}"
        if progress.HasField("losses"):
            yield "loss", f"{progress.losses.total:.6g}"
        yield "seconds", f"{progress.elapsed.ToTimedelta().total_seconds():.1f}"
        if progress.HasField("estimate"):
            yield "expected", _describe_estimate(progress.estimate)
    if job.HasField("error"):
        yield "error", job.error.message
    if job.HasField("result"):
        yield "result", f"{job.result.image} ({job.result.width} x {job.result.height}, {job.result.mime_type})"
    if job.HasField("provenance"):
        yield "weights", job.provenance.weights
        yield "styles", ", ".join(job.provenance.styles)


def _describe_estimate(estimate: job_pb2.Estimate) -> str:
    tiles = f", in tiles of {estimate.tile_side} pixels" if estimate.tile_side else ""
    seconds = estimate.duration.ToTimedelta().total_seconds()
    return f"{seconds:.1f} s and {estimate.peak_memory_bytes / 1e9:.2f} GB{tiles}"


def _describe_state(job: job_pb2.Job) -> str:
    state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()
    if job.queue_position:
        return f"{state}, {job.queue_position} in the queue"
    return state
