"""Picture: what `stylize` returns; the encoded image, its size, and the job that made it."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from styleserve.v1 import job_pb2


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture; `data` is the encoded image, `job` tells how it was made."""

    data: bytes
    mime_type: str
    width: int
    height: int
    job: job_pb2.Job

    def to_pil(self) -> Image.Image:
        """The picture as a PIL image."""
        image = Image.open(io.BytesIO(self.data))
        image.load()
        return image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes as they came; the path's suffix does not change the format. Returns the path."""
        path = Path(path)
        path.write_bytes(self.data)
        return path
