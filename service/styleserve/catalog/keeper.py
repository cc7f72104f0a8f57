"""CatalogKeeper: the catalogue that counts now, and everything that puts another in its place, one change at a time.

A catalogue is never changed: whoever asks for `catalog` has a value to work with to the end of a request, while the
next request may find the next one. The keeper lives on the event loop and reads and writes files beside it, in threads
that no stop waits for: a disk may never answer.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from styleserve import detached
from styleserve.catalog.created import CreatedStyles, Draft
from styleserve.catalog.packs import load_catalog
from styleserve.catalog.style import PREFIX, Catalog, Style
from styleserve.errors import StyleExistsError

logger = logging.getLogger(__name__)

#: How long a stop waits for changes that are under way.
_PATIENCE_S = 5.0

ArgumentsT = TypeVarTuple("ArgumentsT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class CatalogChanges:
    """Names of the styles by which two catalogues differ, in order."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


_NOTHING = CatalogChanges((), (), ())


class CatalogKeeper:
    """Styles from the installed packs, from `folders` and from `created`; raises CatalogError with every problem.

    `tell` hears of every new catalogue before the change is answered; what it raises is logged: the change is made by
    then.
    """

    def __init__(self, folders: Sequence[Path], created: CreatedStyles, tell: Callable[[Catalog], None]) -> None:
        self._folders = tuple(folders)
        self._created = created
        self._tell = tell
        self._catalog = load_catalog(self._folders, created)
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def catalog(self) -> Catalog:
        """The catalogue as it is now."""
        return self._catalog

    async def create(self, draft: Draft) -> Style:
        """Add a style for good; raises StyleExistsError or StorageError."""
        return await self._to_the_end(self._create(draft))

    async def delete(self, name: str) -> None:
        """Remove a style that was created, `styles/{style}`, with `@{version}` only if that is its version.

        Raises StyleNotFoundError, StyleReadOnlyError or StorageError.
        """
        await self._to_the_end(self._delete(name))

    async def reload(self, *, validate_only: bool = False) -> CatalogChanges:
        """Read all files again, all or nothing; raises CatalogError with every problem, and all stays as it is."""
        return await self._to_the_end(self._reload(validate_only))

    async def stop(self) -> None:
        """Wait until no change is under way; one that does not end, as on a disk that does not answer, is given up."""
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
        for task in unfinished:
            logger.error("a change of the catalogue does not end and is given up")
            task.cancel()

    async def _create(self, draft: Draft) -> Style:
        async with self._turn:
            name = PREFIX + draft.style_id
            if any(style.name == name for style in self._catalog.styles):
                raise StyleExistsError(name)
            style = await _beside(self._created.write, draft)
            self._adopt(Catalog([*self._catalog.styles, style]))
            logger.info("%s was created", style.versioned_name)
            return style

    async def _delete(self, name: str) -> None:
        async with self._turn:
            gone = self._catalog.find(name)
            await _beside(self._created.remove, gone)
            self._adopt(Catalog(style for style in self._catalog.styles if style is not gone))
            logger.info("%s was deleted", gone.versioned_name)

    async def _reload(self, validate_only: bool) -> CatalogChanges:
        async with self._turn:
            catalog = await _beside(load_catalog, self._folders, self._created)
            changes = _compare(self._catalog, catalog)
            if not validate_only:
                self._adopt(catalog)
                if changes != _NOTHING:
                    logger.info("the catalogue was reloaded: %s", changes)
            return changes

    def _adopt(self, catalog: Catalog) -> None:
        self._catalog = catalog
        try:
            self._tell(catalog)
        except Exception:
            logger.exception("the catalogue has changed, but not all is prepared for it")

    async def _to_the_end(self, change: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Make a change, also when its caller leaves: what is on the disk is in the catalogue."""
        task = asyncio.get_running_loop().create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


async def _beside(work: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
    return await detached.do("catalogue", work, *arguments)


def _compare(before: Catalog, after: Catalog) -> CatalogChanges:
    old = {style.name: style for style in before.styles}
    new = {style.name: style for style in after.styles}
    return CatalogChanges(
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        removed=tuple(name for name in old if name not in new),
    )
