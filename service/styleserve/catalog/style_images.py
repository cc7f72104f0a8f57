"""StyleImages: the bytes of a style's image: from beside its YAML, from a folder of the operator's, or fetched once."""

import errno
import functools
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import TypeAlias

from styleserve import detached
from styleserve.catalog.fetches import Fetches
from styleserve.catalog.style import Style
from styleserve.decoding import Decoder
from styleserve.download import Source, fetch
from styleserve.errors import DownloadError, InvalidImageError, StyleImageUnavailableError
from styleserve.files import open_regular, read_bounded
from styleserve.images import ImageLimits

logger = logging.getLogger(__name__)

#: When to try again an image that could not be fetched.
RETRY_AFTER_S = 60.0
#: The longest that fetching one may take.
_FETCH_TIMEOUT_S = 300.0
_MAX_BYTES = ImageLimits().max_bytes

_Stamp: TypeAlias = tuple[int, int, int, int]


class StyleImages:
    """Finds images by their SHA-256; `folder` is searched before anything is fetched into `cache_dir`.

    `decoder` judges those that are not beside their YAML, which was read with them.

    Files come, change and go there while the server runs; one that cannot be read, or is larger than an image may be,
    is told in the log and passed over. Safe to be used from several threads, except `fetch`: it is an event loop's.
    """

    def __init__(self, cache_dir: Path, decoder: Decoder, folder: Path | None = None) -> None:
        self._cache_dir = cache_dir / "style-images"
        self._decoder = decoder
        self._folder = folder
        self._digests: dict[Path, tuple[_Stamp, str]] = {}
        self._hashing = threading.Lock()
        self._passed_over: set[Path] = set()
        self._problems: dict[str, str | None] = {}
        self._fetches = Fetches()

    async def fetch(self, style: Style) -> None:
        """Have the image at hand, which may take a download; raises StyleImageUnavailableError."""
        if style.image.path is not None or await detached.do("style-image", self.is_at_hand, style):
            return
        try:
            await self._fetches.fetch(style.image, functools.partial(self._download, style))
        except DownloadError:
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name) from None

    def load(self, style: Style) -> bytes:
        """The encoded image, which is at hand and one that can be decoded; raises StyleImageUnavailableError."""
        path = self._find(style)
        if path is None:
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name)
        return self._read(style, path)

    def is_at_hand(self, style: Style) -> bool:
        """Whether the image is there and needs no download."""
        return self._find(style) is not None

    def _find(self, style: Style) -> Path | None:
        if style.image.path is not None:
            return style.image.path
        places = [*self._files(), self._cache_dir / style.image.sha256]
        return next((path for path in places if self._digest(path) == style.image.sha256), None)

    def _read(self, style: Style, path: Path) -> bytes:
        try:
            data = read_bounded(path, _MAX_BYTES)
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != style.image.sha256:
            logger.error("%s is not the image that %s was loaded with; reload the catalogue", path, style.name)
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name)
        problem = self._problem(style, data)
        if problem is not None:
            logger.error("%s cannot be the image of %s: %s", path, style.name, problem)
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name)
        return data

    def _problem(self, style: Style, data: bytes) -> str | None:
        """What is wrong with an image; it is decoded once."""
        digest = style.image.sha256
        if style.image.path is None and digest not in self._problems:
            try:
                self._decoder.measure(data)
                self._problems[digest] = None
            except InvalidImageError as error:
                self._problems[digest] = str(error)
        return self._problems.get(digest)

    def _download(self, style: Style) -> None:
        """Fetch the image into the cache; raises DownloadError, which the log has."""
        assert style.image.url is not None
        digest = style.image.sha256
        source = Source(style.image.url, f"sha256:{digest}", digest, _MAX_BYTES, _FETCH_TIMEOUT_S)
        try:
            fetch(source, self._cache_dir)
        except DownloadError as error:
            logger.warning("the image of %s: %s; it may be put at %s", style.name, error, error.place)
            raise

    def _files(self) -> list[Path]:
        """The files of the operator's folder as it is now."""
        if self._folder is None:
            return []
        try:
            files = [path for path in self._folder.iterdir() if os.path.isfile(path)]
        except OSError as error:
            self._pass_over(self._folder, error)
            return []
        self._passed_over.discard(self._folder)
        return files

    def _digest(self, path: Path) -> str | None:
        """A file's digest; it is read once until it changes, and None when it cannot be."""
        try:
            with self._hashing:
                stamp = _stamp(path)
                known = self._digests.get(path)
                if known is None or known[0] != stamp:
                    known = self._digests[path] = stamp, _hash(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._pass_over(path, error)
            return None
        self._passed_over.discard(path)
        return known[1]

    def _pass_over(self, path: Path, error: OSError) -> None:
        """Say so, once until it can be read."""
        if path not in self._passed_over:
            logger.warning("%s is passed over: %s", path, error.strerror)
        self._passed_over.add(path)


def _stamp(path: Path) -> _Stamp:
    """What of a file changes with its content."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _hash(path: Path) -> str:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, f"more than {_MAX_BYTES} bytes, which no image may have")
        return hashlib.file_digest(file, "sha256").hexdigest()
