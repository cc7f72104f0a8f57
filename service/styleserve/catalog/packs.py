"""Packs: where styles come from. Installed packages announce theirs by an entry point; folders are named by hand.

The built-in pack takes the same door as everybody's: an entry point of the group `styleserve.styles` whose value is a
package with `<style>.yaml` files beside its `__init__.py`.
"""

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from styleserve.catalog.created import CreatedStyles
from styleserve.catalog.reader import Reading, read_folder
from styleserve.catalog.style import Catalog, Style
from styleserve.errors import CatalogError, StyleProblem

ENTRY_POINT_GROUP = "styleserve.styles"


def load_catalog(folders: Sequence[Path], created: CreatedStyles | None = None) -> Catalog:
    """All styles of the installed packs, of `folders`, and those `created` at run time.

    Raises CatalogError with every problem of all of them.
    """
    readings = [_read_pack(entry) for entry in _installed_packs()]
    readings += [read_folder(folder, origin=_folder_name(folder)) for folder in folders]
    readings += [created.read()] if created is not None else []
    styles = [style for reading in readings for style in reading.styles]
    problems = [problem for reading in readings for problem in reading.problems] + _duplicates(styles)
    if problems:
        raise CatalogError(problems)
    return Catalog(styles)


def check_folder(folder: Path) -> Reading:
    """What the folder would add to the installed packs, names that are taken among its problems."""
    reading = read_folder(folder, origin=_folder_name(folder))
    installed = [style for entry in _installed_packs() for style in _read_pack(entry).styles]
    others = [style for style in installed if style.file.parent.resolve() != folder.resolve()]
    taken = [problem for problem in _duplicates([*others, *reading.styles]) if problem.folder == folder]
    return Reading(reading.styles, (*reading.problems, *taken))


def _folder_name(folder: Path) -> str:
    """Its name as it was given, and not of what a link leads to today, so that the origin of its styles stays."""
    return os.path.basename(os.path.abspath(folder))


def _installed_packs() -> list[importlib.metadata.EntryPoint]:
    """The packs that are installed by now, also those that were not when the process began."""
    importlib.invalidate_caches()
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)


def _read_pack(entry: importlib.metadata.EntryPoint) -> Reading:
    """Read a package's folder; its code is not run, since a style is data."""
    folder = _package_folder(entry.module)
    if folder is None:
        description = f"got {entry.module!r}; allowed: an importable package of <style>.yaml files"
        return Reading((), (StyleProblem(Path(f"style pack {entry.name}"), entry.name, "", description),))
    return read_folder(folder, origin=entry.name)


def _package_folder(name: str) -> Path | None:
    """Where a package is, if it is; Python looks for the outermost only, since it would run that to look within."""
    outermost, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(outermost)
    except (ImportError, ValueError):
        return None
    locations = (spec.submodule_search_locations if spec is not None else None) or ()
    folders = (Path(location, *inner) for location in locations)
    return next((folder for folder in folders if folder.is_dir()), None)


def _duplicates(styles: Sequence[Style]) -> list[StyleProblem]:
    """A complaint about each file of a name that several have."""
    first: dict[str, Style] = {}
    problems = []
    for style in styles:
        other = first.setdefault(style.style_id, style)
        if other is not style:
            problems += [_taken(other, style), _taken(style, other)]
    return problems


def _taken(style: Style, other: Style) -> StyleProblem:
    description = (
        f"the style {style.style_id!r} is also in {other.origin}/{other.file.name}; allowed: one file for each name"
    )
    return StyleProblem(style.file.parent, style.origin, style.file.name, description)
