"""Writing: one checkpoint on its way to the disk, in a thread of its own, so that the engine goes on meanwhile."""

import os
import threading
from pathlib import Path

from styleserve.engine.checkpoints import Checkpoint, Checkpoints
from styleserve.engine.specification import JobSpecification


class Writing:
    """Begins at once. `is_kept`, whether the disk took it, is known when it has ended."""

    def __init__(self, checkpoints: Checkpoints, specification: JobSpecification, checkpoint: Checkpoint) -> None:
        self.is_kept = False
        self.is_abandoned = False
        self._checkpoints = checkpoints
        self._settling = threading.Lock()
        self._thread = threading.Thread(target=self._write, args=(specification, checkpoint), name="checkpoint")
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is written."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def abandon(self) -> None:
        """Nobody wants it any more: from now on it does not come to its place, whence nobody would remove it."""
        with self._settling:
            self.is_abandoned = True

    def _write(self, specification: JobSpecification, checkpoint: Checkpoint) -> None:
        self.is_kept = self._checkpoints.write(specification.job_id, checkpoint, self._settle, specification.log_fields)

    def _settle(self, partial: Path, path: Path) -> None:
        with self._settling:
            if self.is_abandoned:
                partial.unlink(missing_ok=True)
            else:
                os.replace(partial, path)
