"""Preparation: has the engine compute the targets of the catalogue's styles, one after the other, while it is idle.

An image is read when its turn has come: in neither process there is ever more than one of them for this.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from styleserve import detached
from styleserve.engine.specification import Prepare
from styleserve.errors import StyleImageUnavailableError
from styleserve.evaluation import StyleImage
from styleserve.events import Prepared, Unprepared

logger = logging.getLogger(__name__)

#: Engines lost over one image after which it is left alone.
MAX_LOSSES = 2
#: Reads an encoded image; raises StyleImageUnavailableError when that is not at hand.
Read: TypeAlias = Callable[[], bytes]


class Preparation:
    """Which styles are prepared, by the digests of their images, and which are to be; it belongs to the event loop.

    `send` hands the engine that lives a command.
    """

    def __init__(self, send: Callable[[Prepare], None]) -> None:
        self._send = send
        self._wanted: dict[str, Read] = {}
        self._asked: asyncio.Task[None] | None = None
        self._doing: str | None = None
        self._losses: Counter[str] = Counter()
        self._has_engine = False
        self.prepared: set[str] = set()

    def want(self, images: Mapping[str, Read]) -> None:
        """Have these prepared, by their digests, and no others that are not yet; an image is read when it is needed."""
        self._wanted = {digest: read for digest, read in images.items() if digest not in self.prepared}
        self._go_on()

    def begin(self) -> None:
        """There is an engine, which was asked for nothing yet."""
        self._has_engine = True
        self._go_on()

    def end(self) -> None:
        """There is no engine any more; the next one is asked for what this one left, unless that may have killed it."""
        self._has_engine = False
        if self._doing is not None:
            self._note_loss(self._doing)
            self._doing = None
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None

    def hear(self, event: Prepared | Unprepared) -> None:
        """The engine has done what it was asked for, or cannot."""
        if isinstance(event, Prepared):
            self.prepared.add(event.style_key)
        self._wanted.pop(event.style_key, None)
        self._asked = self._doing = None
        self._go_on()

    def _note_loss(self, digest: str) -> None:
        """An engine was lost while it prepared this image."""
        self._losses[digest] += 1
        if self._losses[digest] >= MAX_LOSSES and self._wanted.pop(digest, None) is not None:
            logger.error("the style image %s is not prepared: %d engines were lost over it", digest, MAX_LOSSES)

    def _go_on(self) -> None:
        """Ask for the next one, unless the engine has one to do."""
        if self._has_engine and self._asked is None and self._wanted:
            self._asked = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        """Have the first prepared whose image is to be had."""
        while self._wanted:
            digest, read = next(iter(self._wanted.items()))
            try:
                data = await detached.do("style-image", read)
            except Exception as error:
                if not isinstance(error, StyleImageUnavailableError):
                    logger.exception("the style image %s cannot be read", digest)
                if self._wanted.get(digest) is read:
                    del self._wanted[digest]
            else:
                self._doing = digest
                self._send(Prepare(StyleImage(digest, data, is_catalogued=True)))
                return
        self._asked = None
