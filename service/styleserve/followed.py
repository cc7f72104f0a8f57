"""FollowedFiles: what an operator's files come to, made again when they change; while they are broken, what they were.

It compares what the files hold, not when they were written: nothing that changes is missed, and files that could not be
read, whatever stood in the way, are read at the next look. What was read and is wrong is not tried again until it
changes, and each fault is told once.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from styleserve.errors import ConfigurationError
from styleserve.files import open_regular

logger = logging.getLogger(__name__)

T = TypeVar("T")


class FollowedFiles(Generic[T]):
    """`make` makes a value of the files' contents, in their order; it raises ConfigurationError when they are wrong.

    An OSError of `make` says that something could not be read. `what` names the value in the log, in the plural.
    """

    def __init__(self, paths: Sequence[Path], make: Callable[[Sequence[bytes]], T], what: str) -> None:
        """Make the first value; raises ConfigurationError."""
        self._paths = paths
        self._make = make
        self._what = what
        self._fault = ""
        try:
            self._tried: list[bytes] | None = self._contents()
            self.value = make(self._tried)
        except OSError as error:
            raise ConfigurationError(_told(error)) from None

    def look(self) -> bool:
        """Make the value again if the files hold something new; whether there is a new value."""
        try:
            contents = self._contents()
            if contents == self._tried:
                return False
            self._tried = contents
            self.value = self._make(contents)
        except OSError as error:
            self._tried = None
            self._complain(_told(error))
            return False
        except ConfigurationError as error:
            self._complain(str(error))
            return False
        self._fault = ""
        logger.info("%s were read again", self._what)
        return True

    def _contents(self) -> list[bytes]:
        return [_read(path) for path in self._paths]

    def _complain(self, fault: str) -> None:
        if fault != self._fault:
            logger.error("%s stay as they were, since what was read cannot be used: %s", self._what, fault)
        self._fault = fault


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def _told(error: OSError) -> str:
    return f"{error.filename}: {error.strerror or 'cannot be read'}"
