"""FolderWatcher: has the catalogue reloaded when something changes in the folders of styles.

A folder is watched anew after every change and only then read, so that no change falls between the two, nor is lost
when a folder is put in the place of another. What is broken is logged, and the catalogue from before stays.
"""

import asyncio
import logging
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
#: When to look again for a folder that is gone.
_AGAIN_S = 1.0
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
        """Begin to watch."""
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
        while True:
            try:
                notify = RustNotify(self._folders, False, False, _POLL_MS, False, False)
            except OSError as error:
                logger.warning("the folders of styles cannot be watched yet: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._reload()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._wait, notify)

    def _wait(self, notify: RustNotify) -> None:
        """Until something has changed, or it is time to stop."""
        with notify:
            notify.watch(_BURST_MS, _QUIET_MS, 0, self._is_stopping)

    async def _reload(self) -> None:
        try:
            await self._have_reloaded()
        except CatalogError as error:
            logger.error("the catalogue stays as it was; mend its files:\n%s", error)
        except Exception:
            logger.exception("the catalogue stays as it was, since it could not be reloaded")
