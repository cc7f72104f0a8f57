"""Events: what `stream` and `attach` tell, one after the other."""

import io
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

from styleserve.v1 import job_pb2
from styleserve_client.picture import Picture


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The whole job: first, at each change of its state, and last. `raise_for` raises a failed job's error."""

    sequence: int
    job: job_pb2.Job


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far the job is."""

    sequence: int
    progress: job_pb2.Progress


@dataclass(frozen=True, slots=True)
class Previewed:
    """The canvas as it is now, a small JPEG."""

    sequence: int
    data: bytes
    width: int
    height: int

    def to_pil(self) -> Image.Image:
        """The preview as a PIL image."""
        return Image.open(io.BytesIO(self.data))


@dataclass(frozen=True, slots=True)
class ResultReady:
    """The finished picture, just before the last JobChanged."""

    sequence: int
    picture: Picture


Event: TypeAlias = JobChanged | Progressed | Previewed | ResultReady
