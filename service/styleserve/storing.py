"""Storing: what the disk does not take becomes an error that a caller understands."""

import contextlib
import logging
from collections.abc import Iterator

from styleserve.errors import StorageError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def storing(complaint: str) -> Iterator[None]:
    """Raise StorageError for OSError, and log the complaint with the system's words."""
    try:
        yield
    except OSError as error:
        logger.error("%s: %s", complaint, error)
        raise StorageError from None
