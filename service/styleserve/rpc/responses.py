"""Responses: values become messages."""

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf import duration_pb2, timestamp_pb2

from styleserve import events
from styleserve.catalog.style import Style
from styleserve.costs import Estimate
from styleserve.evaluation import Losses
from styleserve.images import Encoded
from styleserve.jobs.journal import LogLine
from styleserve.jobs.status import JobStatus, Provenance, StoredImage
from styleserve.recipes import RecipeChanges
from styleserve.rpc.enums import CANVAS_INITS, COLOR_MODES, LOG_LEVELS, OPTIMIZERS, STATES, STOP_REASONS
from styleserve.rpc.status import to_message
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_catalog_pb2, style_transfer_pb2

EnumT = TypeVar("EnumT")


def job(status: JobStatus) -> job_pb2.Job:
    """The whole job."""
    return job_pb2.Job(
        name=status.name,
        state=STATES[status.state],
        queue_position=status.queue_position,
        progress=None if status.progress is None else progress(status.progress),
        error=None if status.error is None else to_message(status.error),
        result=None if status.result is None else stored_image(status.result),
        stop_reason=STOP_REASONS[status.stop_reason],
        provenance=None if status.provenance is None else _provenance(status.provenance),
        create_time=_timestamp(status.create_time),
        start_time=_timestamp(status.start_time),
        end_time=_timestamp(status.end_time),
        expire_time=_timestamp(status.expire_time),
        labels=dict(status.labels),
    )


def progress(made: events.Progress) -> job_pb2.Progress:
    """How far a job is."""
    return job_pb2.Progress(
        iteration=made.iteration,
        total_iterations=made.total_iterations,
        evaluations=made.evaluations,
        losses=None if made.losses is None else losses(made.losses),
        width=made.width,
        height=made.height,
        elapsed=duration(made.elapsed_s),
        eta=duration(made.eta_s),
        estimate=None if made.estimate is None else estimate(made.estimate),
    )


def losses(made: Losses) -> job_pb2.Losses:
    """What a canvas was judged to have."""
    return job_pb2.Losses(
        total=made.total, content=made.content, style=made.style, total_variation=made.total_variation
    )


def estimate(made: Estimate) -> job_pb2.Estimate:
    """What a job was expected to take."""
    return job_pb2.Estimate(
        peak_memory_bytes=made.peak_bytes, duration=duration(made.seconds), tile_side=made.tile_side or 0
    )


def stored_image(image: StoredImage, inline: bytes = b"") -> image_pb2.ImageResult:
    """A result, with its bytes when they are small enough."""
    return image_pb2.ImageResult(
        image=image.name,
        mime_type=image.mime_type,
        width=image.width,
        height=image.height,
        size_bytes=image.num_bytes,
        inline=inline,
    )


def unstored_image(image: Encoded) -> image_pb2.ImageResult:
    """A preview or thumbnail, which is sent and not kept."""
    return image_pb2.ImageResult(
        mime_type=image.mime_type,
        width=image.width,
        height=image.height,
        size_bytes=len(image.data),
        inline=image.data,
    )


def update(sequence: int, content: JobStatus | events.Progress | Encoded) -> style_transfer_pb2.StreamProgressResponse:
    """One event of a stream, but for its result, which has to be read first."""
    match content:
        case JobStatus():
            return style_transfer_pb2.StreamProgressResponse(sequence=sequence, job=job(content))
        case events.Progress():
            return style_transfer_pb2.StreamProgressResponse(sequence=sequence, progress=progress(content))
        case Encoded():
            return style_transfer_pb2.StreamProgressResponse(sequence=sequence, preview=unstored_image(content))


def log_line(line: LogLine) -> job_pb2.LogLine:
    """One thing that happened to a job."""
    return job_pb2.LogLine(time=_timestamp(line.time), level=LOG_LEVELS[line.level], text=line.text)


def style(entry: Style, targets_ready: bool, thumbnail: Encoded | None = None) -> style_catalog_pb2.Style:
    """A style of the catalogue."""
    return style_catalog_pb2.Style(
        name=entry.name,
        version=entry.version,
        title=entry.title,
        artist=entry.artist,
        date=entry.date,
        source=entry.source,
        license=entry.license,
        tags=entry.tags,
        recipe=None if entry.recipe == RecipeChanges() else _recipe(entry.recipe),
        origin=entry.origin,
        thumbnail=None if thumbnail is None else unstored_image(thumbnail),
        targets_ready=targets_ready,
    )


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds as a message, to the microsecond."""
    message = duration_pb2.Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def _timestamp(seconds: float | None) -> timestamp_pb2.Timestamp | None:
    if seconds is None:
        return None
    message = timestamp_pb2.Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def _provenance(made: Provenance) -> job_pb2.Provenance:
    return job_pb2.Provenance(
        server_version=made.server_version,
        weights=made.weights,
        device=made.device,
        precision=made.precision,
        recipe_json=made.recipe_json,
        styles=made.styles,
        network_passes=made.network_passes,
        reused_from=made.reused_from,
    )


def _recipe(changes: RecipeChanges) -> recipe_pb2.Recipe:
    weights = recipe_pb2.LossWeights(
        content=changes.content_weight, style=changes.style_weight, total_variation=changes.total_variation_weight
    )
    return recipe_pb2.Recipe(
        preset=changes.preset or "",
        optimizer=_number(OPTIMIZERS, changes.optimizer),
        iterations=changes.iterations,
        strength=changes.strength,
        weights=weights if weights.ListFields() else None,
        init=_number(CANVAS_INITS, changes.init),
        color=_number(COLOR_MODES, changes.color),
        seed=changes.seed,
    )


def _number(names: Mapping[EnumT, object], name: str | None) -> EnumT:
    """The enum's number of a name."""
    return next(number for number, known in names.items() if known == name)
