"""Download: files known by their checksum, fetched once into a cache folder; it hides the network and its accidents.

A file is fetched beside its place, verified, and moved there, so that two processes at once do each other no harm and
whatever stands in the cache is whole. A file that is not what it should be is fetched again.
"""

import contextlib
import logging
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pooch
import requests

from styleserve import detached
from styleserve.errors import DownloadError

logger = logging.getLogger(__name__)

#: The longest that an attempt to connect may take, looking the name up included.
CONNECT_TIMEOUT_S = 5.0
#: The longest silence of a server that answered.
READ_TIMEOUT_S = 30.0
#: Age of what an attempt has received in part at which nobody can be at it any more.
_LEFT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Source:
    """A file on the web: `checksum` is `md5:` or `sha256:` and hex digits; `file_name` is its name in the cache.

    It is given up when it has more than `max_bytes`, or takes longer than `timeout_s` seconds in all.
    """

    url: str
    checksum: str
    file_name: str
    max_bytes: int
    timeout_s: float


def fetch(source: Source, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there and is what it should be; raises DownloadError."""
    attempt = _Attempt(source, folder / source.file_name)
    try:
        detached.begin("download", attempt.make).result(source.timeout_s)
    except TimeoutError:
        attempt.is_given_up = True
        raise attempt.failure(f"it takes more than {source.timeout_s:.0f} s") from None
    return attempt.place


@dataclass(slots=True)
class _Attempt:
    """To have a file at its place, in a thread that is left to itself once the attempt `is_given_up`.

    The timeouts of a library are for each silence: a server that sends a byte now and then is within them for ever.
    """

    source: Source
    place: Path
    is_given_up: bool = False

    def make(self) -> None:
        """Have the file; raises DownloadError."""
        try:
            self._retrieve()
        except requests.RequestException as error:
            logger.debug("%s cannot be fetched", self.source.url, exc_info=error)
            raise self.failure(_explain(error)) from None
        except ValueError:
            raise self.failure(f"what was received does not match {self.source.checksum}") from None
        except OSError as error:
            raise self.failure(error.strerror or "the file cannot be written") from None

    def failure(self, explanation: str) -> DownloadError:
        return DownloadError(self.source.url, self.place, explanation)

    def _retrieve(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        _forget_halves(self.place.parent)
        pooch.retrieve(
            self.source.url,
            known_hash=self.source.checksum,
            fname=self.place.name,
            path=self.place.parent,
            downloader=self._download,
        )

    def _download(self, url: str, output_file: str, caller: pooch.Pooch | None) -> None:
        """Pooch's downloader, behind an attempt to connect that is bounded as a whole."""
        _require_reachable(url)
        logger.info("fetching %s", url)
        show_progress = sys.stderr.isatty()
        with open(output_file, "wb") as file:
            pooch.HTTPDownloader(progressbar=show_progress, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))(
                url, _BoundedFile(file, self), caller
            )


@dataclass(slots=True)
class _BoundedFile:
    """Takes what comes of a file within its attempt's bounds; raises DownloadError."""

    file: IO[bytes]
    attempt: _Attempt
    num_bytes: int = 0

    def write(self, chunk: bytes) -> None:
        self.num_bytes += len(chunk)
        if self.attempt.is_given_up:
            raise self.attempt.failure("it was given up")
        if self.num_bytes > self.attempt.source.max_bytes:
            raise self.attempt.failure(f"it has more than {self.attempt.source.max_bytes} bytes")
        self.file.write(chunk)

    def flush(self) -> None:
        """Nothing: the file is read when it is closed."""


def _forget_halves(folder: Path) -> None:
    """Remove what processes that ended during a download have left, under the names that pooch gives them."""
    for path in folder.glob("tmp*"):
        with contextlib.suppress(OSError):  # another process was faster
            if path.stat().st_mtime < time.time() - _LEFT_S:
                path.unlink()


def _require_reachable(url: str) -> None:
    """Raise requests.ConnectTimeout unless the host (or the proxy to it) takes a connection in time.

    The timeout of a library is one for each address of a host and leaves the looking-up out.
    """
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    target = urlsplit(proxy or url)
    port = target.port or (443 if target.scheme == "https" else 80)

    def connect() -> None:
        socket.create_connection((target.hostname, port), timeout=CONNECT_TIMEOUT_S).close()

    try:
        detached.begin("connect", connect).result(CONNECT_TIMEOUT_S)
    except TimeoutError:
        raise requests.ConnectTimeout(f"{target.hostname} did not answer") from None
    except OSError:
        raise requests.ConnectionError(f"{target.hostname} cannot be reached") from None


def _explain(error: requests.RequestException) -> str:
    if error.response is not None:
        error.response.close()
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return "the server cannot be reached"
