"""FolderWatcher: has the catalogue reloaded when something changes in the folders of styles.

A folder is watched anew after every change and only then read, so that no change falls between the two, nor is lost
when a folder is put in the place of another. One that is gone is no reason not to watch the others, and its coming back
is a change. What is broken is logged, and the catalogue from before stays.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from watchfiles._rust_notify import RustNotify

from styleserve.errors import CatalogError

logger = logging.getLogger(__name__)

#: A reload waits until nothing has changed for `_QUIET_MS`, so that a burst leads to one, `_BURST_MS` at most.
_QUIET_MS = 400
_BURST_MS = 10_000
#: How often to look whether folders have gone or come back.
_LOOK_MS = 1000
#: When to try again after watching has failed: at first, and at the latest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_POLL_MS = 300


class FolderWatcher:
    """Watches folders, and has `reload` called, which raises CatalogError; made and used on an event loop."""

    def __init__(self, folders: Sequence[Path], reload: Callable[[], Awaitable[object]]) -> None:
        self._folders = [str(folder) for folder in folders]
        self._have_reloaded = reload
        self._is_stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="style-folders")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, on and on."""
        if not self._folders:
            logger.warning("there is no folder to watch; name one with --styles")
        else:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        self._is_stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def _watch(self) -> None:
        """Whatever happens to the watching, which has its own errors beside the system's, it goes on."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._watch_for_a_change()
                pause_s = _FIRST_PAUSE_S
            except Exception:
                logger.exception("the folders of styles cannot be watched; the next attempt is in %.0f s", pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _watch_for_a_change(self) -> None:
        folders = self._find()
        notify = RustNotify(folders, False, False, _POLL_MS, False, False)
        await self._reload()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._wait, notify, folders)

    def _find(self) -> list[str]:
        """Those folders that are there."""
        return [folder for folder in self._folders if os.path.isdir(folder)]

    def _wait(self, notify: RustNotify, folders: list[str]) -> None:
        """Until something has changed in the folders, others are there, or it is time to stop."""
        with notify:
            while notify.watch(_BURST_MS, _QUIET_MS, _LOOK_MS, self._is_stopping) == "timeout":
                if self._find() != folders:
                    return

    async def _reload(self) -> None:
        try:
            await self._have_reloaded()
        except CatalogError as error:
            logger.error("the catalogue stays as it was; mend its files:\n%s", error)
        except Exception:
            logger.exception("the catalogue stays as it was, since it could not be reloaded")
