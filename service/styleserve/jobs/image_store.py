"""ImageStore: encoded images on disk by the SHA-256 of their bytes, so that equal images are kept once for a caller.

Each caller has a shelf of its own: knowing the hash of an image is not having it. What is kept is synchronised with the
disk before its name is told. A disk that takes no more is a StorageError.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

from styleserve.callers import is_name
from styleserve.digests import is_sha256
from styleserve.errors import ImageNotFoundError
from styleserve.files import settle, synchronise
from styleserve.storing import storing

logger = logging.getLogger(__name__)

#: The contract's resource names of images begin so.
PREFIX = "images/"
_SNIFFED_BYTES = 16
#: Names of files that are on their way begin so, which no digest does.
_INCOMING = "."


class Incoming:
    """An image on its way into the store; what is not kept is deleted when the context ends."""

    def __init__(self, folder: Path, using: threading.Lock) -> None:
        self._folder = folder
        self._using = using
        self._file = tempfile.NamedTemporaryFile(dir=folder, prefix=_INCOMING, delete=False)  # noqa: SIM115 (closed by __exit__)
        self._sha256 = hashlib.sha256()
        self.first_bytes = b""
        self.num_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk does not take what is still to be written
            self._file.close()
        Path(self._file.name).unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """The SHA-256 of what came so far, in hex."""
        return self._sha256.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Take the next part."""
        with storing("an image cannot be stored"):
            self._file.write(chunk)
        self._sha256.update(chunk)
        self.first_bytes = self.first_bytes or chunk[:_SNIFFED_BYTES]
        self.num_bytes += len(chunk)

    def keep(self) -> str:
        """It is whole: put it in the store; returns its digest."""
        with storing("an image cannot be stored"):
            settle(self._file, self._folder / self.digest, self._using)
        return self.digest


class Shelf:
    """One caller's images; every use makes an image young again.

    Safe to be used from several threads: a file is written beside its place and moved there, and one that somebody uses
    while the old ones are forgotten is not old any more.
    """

    def __init__(self, folder: Path, using: threading.Lock) -> None:
        self._folder = folder
        self._using = using

    def put(self, data: bytes) -> str:
        """Keep the image; returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            with self.receive() as incoming:
                incoming.write(data)
                incoming.keep()
        return digest

    def receive(self) -> Incoming:
        """A place for an image that comes in parts."""
        with storing("an image cannot be stored"):
            self._make_folder()
            return Incoming(self._folder, self._using)

    def has(self, digest: str) -> bool:
        """Whether the image is kept; when it is, it is used by this."""
        try:
            with self._using:
                os.utime(self._folder / digest)
        except FileNotFoundError:
            return False
        except OSError:  # what can only be read is there all the same
            return (self._folder / digest).is_file()
        return True

    def read(self, digest: str) -> bytes:
        """The image; raises ImageNotFoundError."""
        return self.read_named(PREFIX + digest)

    def read_named(self, name: str) -> bytes:
        """The image called `images/{sha256}`; raises ImageNotFoundError."""
        with _present(name):
            return self.path(name).read_bytes()

    def num_bytes(self, name: str) -> int:
        """How large the image called `images/{sha256}` is; raises ImageNotFoundError."""
        with _present(name):
            return self.path(name).stat().st_size

    def read_part(self, name: str, offset: int, num_bytes: int) -> bytes:
        """So many bytes of the image called `images/{sha256}`, fewer at its end; raises ImageNotFoundError."""
        with _present(name), self.path(name).open("rb") as file:
            file.seek(offset)
            return file.read(num_bytes)

    def path(self, name: str) -> Path:
        """The file of the image called `images/{sha256}`; raises ImageNotFoundError."""
        digest = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not is_sha256(digest) or not self.has(digest):
            raise ImageNotFoundError(name)
        return self._folder / digest

    def _make_folder(self) -> None:
        """A new caller's folder is on the disk before anything in it is: else a power cut would take both."""
        with self._using:
            if not self._folder.is_dir():
                self._folder.mkdir()
                synchronise(self._folder.parent)


class _File(NamedTuple):
    """An image on the disk: when it was last used, and its bytes."""

    used: float
    num_bytes: int
    path: Path


#: An image as retention knows it: the caller and the digest.
Owned: TypeAlias = tuple[str, str]


class ImageStore:
    """A folder with a shelf for each caller, by name; `expire` forgets old images, and what is too much."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._using = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def shelf(self, caller: str) -> Shelf:
        """The images of a caller."""
        assert is_name(caller)
        return Shelf(self._folder / caller, self._using)

    def forget_incoming(self) -> None:
        """Forget what a server that was killed had received in part; for a time when nothing is on its way."""
        for path in self._folder.glob(f"*/{_INCOMING}*"):
            path.unlink(missing_ok=True)

    def expire(self, unused_s: float, max_bytes: int, kept: Collection[Owned]) -> set[Owned]:
        """Forget images that nobody used for `unused_s` seconds, and more until the rest fits.

        Those are each time the longest unused of the caller whose images take the most, so that callers take each other
        nothing away. `kept` stays, and what is on its way. Returns those forgotten; the log has what the disk does not
        let go.
        """
        forgotten = set()
        stuck: list[OSError] = []
        taken: Counter[str] = Counter()
        of_callers: defaultdict[str, deque[_File]] = defaultdict(deque)
        for file in sorted(self._files()):
            caller = file.path.parent.name
            taken[caller] += file.num_bytes
            if (caller, file.path.name) not in kept:
                of_callers[caller].append(file)
        for file in _superfluous(of_callers, taken, time.time() - unused_s, max_bytes):
            caller = file.path.parent.name
            try:
                is_gone = self._forget(file)
            except OSError as error:
                stuck.append(error)
                continue
            if is_gone:
                forgotten.add((caller, file.path.name))
                taken[caller] -= file.num_bytes
        if stuck:
            logger.error("%d images cannot be removed, the first: %s", len(stuck), stuck[0])
        return forgotten

    def _forget(self, file: _File) -> bool:
        """Remove a file; False for one that was used or written since."""
        with self._using, contextlib.suppress(FileNotFoundError):
            if file.path.stat().st_mtime != file.used:
                return False
            file.path.unlink()
        return True

    def _files(self) -> Iterator[_File]:
        """All images."""
        for path in self._folder.glob("*/*"):
            if path.name.startswith(_INCOMING):
                continue
            with contextlib.suppress(FileNotFoundError):  # one that somebody took away meanwhile
                found = path.stat()
                yield _File(found.st_mtime, found.st_size, path)


def _superfluous(
    of_callers: Mapping[str, deque[_File]], taken: Mapping[str, int], oldest: float, max_bytes: int
) -> Iterator[_File]:
    """Files, the longest unused first, that were used before `oldest`; then others, while too many bytes are `taken`.

    Whoever goes through them lessens what is taken by what is gone.
    """
    for files in of_callers.values():
        while files and files[0].used < oldest:
            yield files.popleft()
    while sum(taken.values()) > max_bytes and (left := [caller for caller, files in of_callers.items() if files]):
        yield of_callers[max(left, key=taken.__getitem__)].popleft()


@contextlib.contextmanager
def _present(name: str) -> Iterator[None]:
    """An image that is forgotten between the look for it and its use is not there."""
    try:
        yield
    except FileNotFoundError:
        raise ImageNotFoundError(name) from None
