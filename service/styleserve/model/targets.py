"""Style targets: Gram matrices of style images, computed once per (image, network, layers, size) and kept on disk."""

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from styleserve.files import write_soon

logger = logging.getLogger(__name__)

#: Float32 Gram matrices divided by their positions, [C, C], one a layer.
Grams: TypeAlias = tuple[npt.NDArray[np.float32], ...]

#: Bytes of the targets on disk: those of some 800 images and sizes.
MAX_STORED_BYTES = 10**9
_DIGEST_BYTES = hashlib.sha256().digest_size
#: Grows when the same image, network and size come to other matrices: by how images are decoded, resized or seen.
METHOD = 2


@dataclass(frozen=True, slots=True)
class TargetKey:
    """What determines the Gram matrices of a style image.

    `image` and `network` are digests, `layers` tap names; `side` is the longest side, in pixels, at which the image is
    seen, so that nothing of it has to be decoded to look its targets up. `tile_side` is that of the tiles that it is
    seen in, by which their sums are rounded.
    """

    image: str
    network: str
    layers: tuple[str, ...]
    replicate_edges: bool
    precision: str
    side: int
    tile_side: int

    @property
    def digest(self) -> str:
        """A name for it in hex."""
        values = [METHOD, *(getattr(self, name) for name in self.__slots__)]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


class TargetStore:
    """A folder of targets, each file its SHA-256 followed by the upper triangles of its matrices.

    Readers and other processes see all of a file or nothing. A file that does not match its checksum is reported,
    ignored and written again. Beyond `max_bytes` in all, the files go that were not used for longest.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def __contains__(self, key: TargetKey) -> bool:
        """Whether there is a file of them; it may be damaged."""
        return os.path.exists(self._path(key))

    def read(self, key: TargetKey) -> Grams | None:
        """The targets, or None when they are not there, cannot be read or are damaged."""
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s cannot be read, and is computed: %s", path, error.strerror)
            return None
        digest, payload = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            logger.warning("%s is damaged and is computed again", path)
            return None
        with contextlib.suppress(OSError):  # where nothing may be written, nothing is forgotten either
            os.utime(path)
        with np.load(BytesIO(payload), allow_pickle=False) as triangles:
            return tuple(_unfold(triangles[f"arr_{index}"]) for index in range(len(key.layers)))

    def write(self, key: TargetKey, grams: Grams) -> None:
        """Keep the targets; a disk that takes none costs time later and no job now."""
        payload = BytesIO()
        np.savez(payload, *(_fold(gram) for gram in grams))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_soon(self._path(key), hashlib.sha256(payload.getvalue()).digest() + payload.getvalue())
            self._forget_unused()
        except OSError as error:
            logger.warning("targets cannot be kept in %s: %s", self._folder, error.strerror)

    def _forget_unused(self) -> None:
        """Remove what is beyond the bound, what a killed process left half written too; raises OSError."""
        total = 0
        for _, num_bytes, path in sorted(self._found(), reverse=True):
            total += num_bytes
            if total > self._max_bytes:
                path.unlink(missing_ok=True)

    def _found(self) -> Iterator[tuple[int, int, Path]]:
        """When each file was used last, its bytes and its place; raises OSError."""
        for path in self._folder.iterdir():
            try:
                facts = path.stat()
            except FileNotFoundError:  # another process forgot it
                continue
            yield facts.st_mtime_ns, facts.st_size, path

    def _path(self, key: TargetKey) -> Path:
        return self._folder / f"{key.digest}.grams"


def blend(grams: Sequence[Grams], weights: Sequence[float]) -> Grams:
    """The target of a blend: the weighted mean of each layer's Gram matrices; the weights sum to 1.

    For a squared distance this has the gradient of the weighted sum of the distances: sum_s w_s (G - A_s) = G - A.
    """
    assert math.isclose(sum(weights), 1.0, rel_tol=1e-6)
    return tuple(
        np.asarray(sum(weight * gram for weight, gram in zip(weights, layer, strict=True)), np.float32)
        for layer in zip(*grams, strict=True)
    )


def _fold(gram: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The upper triangle of a symmetric matrix, [C (C + 1) / 2]."""
    return gram[np.triu_indices(len(gram))]


def _unfold(triangle: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The symmetric matrix of an upper triangle."""
    side = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    gram = np.empty((side, side), np.float32)
    rows, columns = np.triu_indices(side)
    gram[rows, columns] = triangle
    gram[columns, rows] = triangle
    return gram
