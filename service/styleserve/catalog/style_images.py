"""StyleImages: the bytes of a style's image: from beside its YAML, from a folder of the operator's, or fetched once."""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from styleserve.catalog.style import Style
from styleserve.download import Source, fetch
from styleserve.errors import DownloadError, StyleImageUnavailableError

logger = logging.getLogger(__name__)

#: When to try again an image that could not be fetched.
RETRY_AFTER_S = 60.0


class StyleImages:
    """Finds images by their SHA-256; `folder` is searched before anything is fetched into `cache_dir`.

    Safe to be used from several threads.
    """

    def __init__(self, cache_dir: Path, folder: Path | None = None) -> None:
        self._cache_dir = cache_dir / "style-images"
        self._folder = folder
        self._paths_by_digest: dict[str, Path] | None = None
        self._lock = threading.Lock()

    def load(self, style: Style) -> bytes:
        """The encoded image, which may take a download; raises StyleImageUnavailableError."""
        path = self._find(style)
        if path is None:
            path = self._fetch(style)
        data = _read(path)
        if hashlib.sha256(data).hexdigest() != style.image.sha256:
            logger.error("%s is not the image that %s was loaded with; reload the catalogue", path, style.name)
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name)
        return data

    def is_at_hand(self, style: Style) -> bool:
        """Whether `load` needs no download."""
        return self._find(style) is not None

    def load_at_hand(self, styles: Iterable[Style]) -> dict[str, bytes]:
        """By their digests, the images of these styles that need no download; a file that has changed is left out."""
        found = {}
        for style in styles:
            with contextlib.suppress(StyleImageUnavailableError):
                if self.is_at_hand(style):
                    found[style.image.sha256] = self.load(style)
        return found

    def look_again(self) -> None:
        """Find also what came into the operator's folder since it was read."""
        with self._lock:
            self._paths_by_digest = None

    def _find(self, style: Style) -> Path | None:
        if style.image.path is not None:
            return style.image.path
        in_folder = self._search().get(style.image.sha256)
        if in_folder is not None:
            return in_folder
        cached = self._cache_dir / style.image.sha256
        return cached if cached.exists() and _digest(cached) == style.image.sha256 else None

    def _fetch(self, style: Style) -> Path:
        assert style.image.url is not None
        source = Source(style.image.url, f"sha256:{style.image.sha256}", file_name=style.image.sha256)
        try:
            return fetch(source, self._cache_dir)
        except DownloadError as error:
            logger.warning("the image of %s: %s; it may be put at %s", style.name, error, error.place)
            raise StyleImageUnavailableError(RETRY_AFTER_S, style.name) from None

    def _search(self) -> dict[str, Path]:
        """The files of the operator's folder by digest, read once until somebody has it read again."""
        with self._lock:
            if self._paths_by_digest is None:
                files = [path for path in self._folder.iterdir() if path.is_file()] if self._folder else []
                self._paths_by_digest = {_digest(path): path for path in files}
            return self._paths_by_digest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
