"""Outcome: what came of a job that the command line follows to its end."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from styleserve.cli.display import Display
from styleserve.v1 import job_pb2
from styleserve_client import Client, JobChanged, Picture, Previewed, Previews, Progressed, ResultReady, Style
from styleserve_client.requests import StylizeOptions

_PREVIEWS = Previews(max_side=512, interval_s=1.0)


@dataclass(slots=True)
class Outcome:
    """What came of a job: its last state, its picture, and its progress wherever it was judged."""

    job: job_pb2.Job = field(default_factory=job_pb2.Job)
    picture: Picture | None = None
    history: list[job_pb2.Progress] = field(default_factory=list)


def follow(
    client: Client,
    content: Path,
    styles: Sequence[Style],
    options: StylizeOptions,
    preview_dir: Path | None,
    display: Display,
) -> Outcome:
    """Run the job and take note of all that it tells; Ctrl-C leaves the stream, which cancels the job."""
    outcome = Outcome()
    previews = None if preview_dir is None else _PREVIEWS
    with contextlib.closing(client.stream(content, styles, previews=previews, **options)) as events:
        for event in events:
            display.show(event)
            match event:
                case JobChanged(job=job):
                    outcome.job = job
                case Progressed(progress=progress) if progress.HasField("losses"):
                    outcome.history.append(progress)
                case Previewed(sequence=sequence, data=data) if preview_dir is not None:
                    (preview_dir / f"{sequence:06d}.jpg").write_bytes(data)
                case ResultReady(picture=picture):
                    outcome.picture = picture
                case _:
                    pass
    return outcome
