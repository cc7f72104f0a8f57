"""Download: files known by their checksum, fetched once into a cache folder; it hides the network and its accidents.

A file is fetched beside its place, verified, and moved there, so that two processes at once do each other no harm and
whatever stands in the cache is whole. A file that is not what it should be is fetched again.
"""

import logging
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from styleserve.errors import DownloadError

logger = logging.getLogger(__name__)

#: The longest that an attempt to connect may take, looking the name up included.
CONNECT_TIMEOUT_S = 5.0
#: The longest silence of a server that answered.
READ_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """A file on the web: `checksum` is `md5:` or `sha256:` and hex digits; `file_name` is its name in the cache."""

    url: str
    checksum: str
    file_name: str


def fetch(source: Source, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there and is what it should be; raises DownloadError."""
    place = folder / source.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            source.url, known_hash=source.checksum, fname=source.file_name, path=folder, downloader=_download
        )
    except requests.RequestException as error:
        logger.debug("%s cannot be fetched", source.url, exc_info=error)
        raise DownloadError(source.url, place, _explain(error)) from None
    except ValueError:
        raise DownloadError(source.url, place, f"what was received does not match {source.checksum}") from None
    except OSError as error:
        raise DownloadError(source.url, place, error.strerror or "the file cannot be written") from None
    return place


def _download(url: str, output_file: str, caller: pooch.Pooch | None) -> None:
    """Pooch's downloader, behind an attempt to connect that is bounded as a whole."""
    _require_reachable(url)
    logger.info("fetching %s", url)
    show_progress = sys.stderr.isatty()
    pooch.HTTPDownloader(progressbar=show_progress, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))(
        url, output_file, caller
    )


def _require_reachable(url: str) -> None:
    """Raise requests.ConnectTimeout unless the host (or the proxy to it) takes a connection in time.

    The timeout of a library is one for each address of a host and leaves the looking-up out.
    """
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    target = urlsplit(proxy or url)
    port = target.port or (443 if target.scheme == "https" else 80)
    outcome: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection((target.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    attempt = threading.Thread(target=connect, name="connect", daemon=True)
    attempt.start()
    attempt.join(CONNECT_TIMEOUT_S)
    if not outcome:
        raise requests.ConnectTimeout(f"{target.hostname} did not answer")
    if outcome[0] is not None:
        raise requests.ConnectionError(f"{target.hostname} cannot be reached")


def _explain(error: requests.RequestException) -> str:
    if error.response is not None:
        error.response.close()
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return "the server cannot be reached"
