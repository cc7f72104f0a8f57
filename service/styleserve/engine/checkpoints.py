"""Checkpoints: how far jobs are, kept in a folder, so that another engine goes on where one ended.

A file is written beside its place and moved there, so that all of a checkpoint or all of the one before is there,
whatever ends the process and whenever. Each engine has its own name for what it writes: one whose front was killed may
take a moment to end, beside the next. Nothing is forced to the disk (fsync): it is processes that end, not machines.
Checksums tell what is damaged even so, and its job begins anew.

The engine writes and reads and never removes, since it does not know when a picture has reached its place. The front
does: it removes a job's checkpoint once the picture is stored or nobody wants it any more.
"""

import json
import logging
import os
import secrets
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from styleserve.evaluation import Losses, Pixels
from styleserve.optimizers import MOST_COUNTED, Snapshot
from styleserve.recipes import Scale

logger = logging.getLogger(__name__)

#: The folder of checkpoints in the server's folder of data.
CHECKPOINTS = "checkpoints"
#: Raised whenever files come to mean something else than before.
FORMAT = 3
_SUFFIX, _PARTIAL_SUFFIX = ".npz", ".partial"
#: The array of JSON that stands beside a snapshot's arrays, and the most bytes that it may have.
_FACTS = "facts"
_MOST_FACTS_BYTES = 2**20
#: Jobs, the last ones, of which it is known that their failed writes were logged.
_NUM_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a job is.

    `identity` is that of its specification: no other job is taken up from it. `scales`, `scale_index`,
    `earlier_evaluations` and `network_passes` are the engine's `Job`'s; `iterations` are the moves that its run may
    make at the present scale, those made included. `losses` were judged last. `elapsed_s` are seconds since the job was
    begun, `scale_elapsed_s` since its scale was; in `engine_s` of them engines worked for it.
    """

    identity: str
    scales: tuple[Scale, ...]
    scale_index: int
    iterations: int
    earlier_evaluations: int
    network_passes: int
    elapsed_s: float
    scale_elapsed_s: float
    engine_s: float
    losses: Losses
    snapshot: Snapshot

    @property
    def scale(self) -> Scale:
        """The scale that the job is at."""
        return self.scales[self.scale_index]


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """Where checkpoints are, a file for each job; IDs of jobs are safe as names of files."""

    folder: Path

    def path(self, job_id: str) -> Path:
        """The file of a job's checkpoint."""
        return self.folder / f"{job_id}{_SUFFIX}"

    def remove(self, job_id: str) -> None:
        """Forget the job's checkpoint, if there is one, and what engines that died had written of another."""
        for path in (self.path(job_id), *self.folder.glob(f"{job_id}.*{_PARTIAL_SUFFIX}")):
            _delete(path)

    def keep_only(self, job_ids: Iterable[str]) -> None:
        """Forget all but these jobs' checkpoints, and whatever is half written; for a time when no engine lives."""
        kept = {self.path(job_id) for job_id in job_ids}
        for path in self.folder.glob("*"):
            if path not in kept:
                _delete(path)


class Checkpoints:
    """Writes and reads the files of a folder.

    `network` names weights and arithmetic: what was made with others is not taken up. A file is what `numpy.savez`
    writes.
    """

    def __init__(self, folder: CheckpointFolder, network: str) -> None:
        self._folder = folder
        self._network = network
        self._partial_suffix = f".{secrets.token_hex(4)}{_PARTIAL_SUFFIX}"
        self._complained_of: deque[str] = deque(maxlen=_NUM_REMEMBERED)

    def write(
        self,
        job_id: str,
        checkpoint: Checkpoint,
        settle: Callable[[Path, Path], None] = os.replace,
        log_fields: Mapping[str, str] | None = None,
    ) -> bool:
        """Keep the checkpoint in the place of the one before; False when the disk takes none, which ends no job.

        `settle` moves the file from where it was written to its place; `log_fields` are what lines about the job carry.
        """
        path = self._folder.path(job_id)
        partial = path.with_suffix(self._partial_suffix)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with zipfile.ZipFile(partial, "w") as archive:
                for name, array in self._arrays(checkpoint):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            settle(partial, path)
        except OSError as error:
            if job_id not in self._complained_of:
                self._complained_of.append(job_id)
                logger.warning(
                    "%s: its checkpoint cannot be kept in %s: %s",
                    job_id,
                    path.parent,
                    error.strerror,
                    extra=log_fields,
                )
            _delete(partial)
            return False
        return True

    def read(self, job_id: str, log_fields: Mapping[str, str] | None = None) -> Checkpoint | None:
        """The job's checkpoint, or None when there is none that can be used."""
        try:
            with zipfile.ZipFile(self._folder.path(job_id)) as archive:
                return _read(archive, self._network)
        except FileNotFoundError:
            return None
        except Exception as error:  # what damage makes of a file upsets its readers in more ways than they promise
            reason = error or type(error).__name__
            logger.warning("%s: its checkpoint cannot be used: %s", job_id, reason, extra=log_fields)
            return None

    def _arrays(self, checkpoint: Checkpoint) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        facts = {
            "format": FORMAT,
            "network": self._network,
            "identity": checkpoint.identity,
            "scales": [(scale.height, scale.width, scale.iterations) for scale in checkpoint.scales],
            "scale_index": checkpoint.scale_index,
            "iterations": checkpoint.iterations,
            "earlier_evaluations": checkpoint.earlier_evaluations,
            "network_passes": checkpoint.network_passes,
            "elapsed_s": checkpoint.elapsed_s,
            "scale_elapsed_s": checkpoint.scale_elapsed_s,
            "engine_s": checkpoint.engine_s,
            "losses": [getattr(checkpoint.losses, name) for name in Losses.__slots__],
            "numbers": {name: float(number) for name, number in checkpoint.snapshot.numbers.items()},
        }
        yield _FACTS, np.frombuffer(json.dumps(facts).encode(), np.uint8)
        yield from checkpoint.snapshot.arrays.items()


def _read(archive: zipfile.ZipFile, network: str) -> Checkpoint:
    """The checkpoint in a file; raises ValueError, or whatever a reader of its parts does, when that is damaged."""
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("it is compressed, which would let a small file fill the memory")
    entry = entries.pop(_FACTS)
    if entry.file_size > _MOST_FACTS_BYTES:
        raise ValueError(f"{entry.file_size} bytes of JSON are too many")
    facts = json.loads(np.lib.format.read_array(BytesIO(archive.read(entry)), allow_pickle=False).tobytes())
    if (facts["format"], facts["network"]) != (FORMAT, network):
        raise ValueError(f"its format and network are not {FORMAT} and {network}")
    scales = tuple(Scale(*(_count(number) for number in scale)) for scale in facts["scales"])
    scale = scales[_count(facts["scale_index"])]
    return Checkpoint(
        identity=str(facts["identity"]),
        scales=scales,
        scale_index=_count(facts["scale_index"]),
        iterations=_count(facts["iterations"]),
        earlier_evaluations=_count(facts["earlier_evaluations"]),
        network_passes=_count(facts["network_passes"]),
        elapsed_s=_number(facts["elapsed_s"]),
        scale_elapsed_s=_number(facts["scale_elapsed_s"]),
        engine_s=_number(facts["engine_s"]),
        losses=Losses(*(_number(loss, sys.float_info.max) for loss in facts["losses"])),
        snapshot=Snapshot(
            {name: _read_array(archive, entry, scale) for name, entry in entries.items()},
            {name: _number(number) for name, number in facts["numbers"].items()},
        ),
    )


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, scale: Scale) -> Pixels:
    with archive.open(entry) as member:
        array: npt.NDArray[np.float32] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # its checksum is compared at its end
            raise ValueError(f"{entry.filename} is longer than its array")
    if array.dtype != np.float32 or array.shape != (scale.height, scale.width, 3) or not array.flags.c_contiguous:
        raise ValueError(f"{entry.filename} is {array.dtype} {list(array.shape)}, which is not its canvas's")
    return array


def _count(value: object) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(f"{number} is no whole number")
    return int(number)


def _number(value: object, most: float = MOST_COUNTED) -> float:
    """A number that something may have come to: not below 0, and not beyond all bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError("one of its numbers is none, or is out of bounds")
    return float(value)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error.strerror)
