"""The version of the package that is installed."""

import functools
import importlib.metadata


@functools.cache
def version() -> str:
    """As `pip` tells it; looked up in files, once."""
    return importlib.metadata.version("styleserve")
