"""CreatedStyles: the styles that callers add at run time, as files like anybody's in a folder of the server's data.

A style's YAML, which makes it one, is on the disk under a hidden name before its image comes and until it has gone:
whatever ends the server, all of a style is there, or the next server knows by the hidden file what is to be removed.
"""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from styleserve import images
from styleserve.catalog.reader import Reading, read_folder, read_style
from styleserve.catalog.style import PREFIX, Style
from styleserve.documents import write_mapping
from styleserve.errors import StyleExistsError, StyleReadOnlyError
from styleserve.files import synchronise, write_durably
from styleserve.recipes import RecipeChanges
from styleserve.storing import storing

#: The folder in the server's folder of data, and the origin of its styles.
FOLDER = "styles"
ORIGIN = "runtime"
#: How the names of files end that are not whole yet, or not any more.
_PARTIAL = ".partial"
_WEIGHTS = {"content": "content_weight", "style": "style_weight", "total_variation": "total_variation_weight"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A style to be created, which the rules have been applied to; `image` is encoded."""

    style_id: str
    texts: Mapping[str, str]
    tags: tuple[str, ...]
    recipe: RecipeChanges
    image: bytes


class CreatedStyles:
    """The folder; one caller at a time changes it. Raises OSError when it can be neither made nor used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_halves()

    def read(self) -> Reading:
        """All of them, or what is wrong with their files."""
        return read_folder(self._folder, ORIGIN)

    def write(self, draft: Draft) -> Style:
        """Keep a style; returns it as any server reads it. Raises StyleExistsError or StorageError."""
        place = self._folder / f"{draft.style_id}.yaml"
        if place.exists() or place.with_suffix(".yml").exists():
            raise StyleExistsError(PREFIX + draft.style_id)
        image_format = images.sniff(draft.image)
        assert image_format is not None
        image_place, half = place.with_suffix(f".{image_format}"), _half(place)
        try:
            with storing("a style cannot be stored or removed"):
                write_durably(half, write_mapping(_entries(draft, image_place.name)).encode())
                write_durably(image_place, draft.image)
                os.replace(half, place)
                synchronise(self._folder)
            reading = read_style(place, ORIGIN)
            assert reading.styles, reading.problems
        except BaseException:
            with contextlib.suppress(OSError):
                for path in (place, image_place, half):
                    path.unlink(missing_ok=True)
            raise
        return reading.styles[0]

    def remove(self, style: Style) -> None:
        """Forget a style and its image; raises StyleReadOnlyError when it is none of these, or StorageError."""
        if style.file.parent != self._folder:
            raise StyleReadOnlyError(style.name, style.origin)
        half = _half(style.file)
        with storing("a style cannot be stored or removed"):
            with contextlib.suppress(FileNotFoundError):  # somebody else has removed it
                os.replace(style.file, half)
            synchronise(self._folder)
            if style.image.path is not None and style.image.path.stem == style.style_id:
                style.image.path.unlink(missing_ok=True)
            half.unlink(missing_ok=True)

    def _remove_halves(self) -> None:
        """Remove what is there of styles that a server was adding or removing when it was killed."""
        for half in self._folder.glob(_half(Path("*.yaml")).name):
            place = half.with_name(half.name.removeprefix(".").removesuffix(_PARTIAL))
            if not place.exists():
                for image_format in images.FORMATS:
                    place.with_suffix(f".{image_format}").unlink(missing_ok=True)
        for partial in self._folder.glob(f".*{_PARTIAL}"):
            partial.unlink()


def _half(place: Path) -> Path:
    """Where a style's YAML is while its image comes or goes."""
    return place.with_name(f".{place.name}{_PARTIAL}")


def _entries(draft: Draft, image: str) -> dict[str, object]:
    """What the YAML file holds: whatever is set."""
    entries: dict[str, object] = {key: text for key, text in draft.texts.items() if text}
    if draft.tags:
        entries["tags"] = list(draft.tags)
    entries["image"] = image
    changes = {key: value for key, value in dataclasses.asdict(draft.recipe).items() if value is not None}
    weights = {key: changes.pop(name) for key, name in _WEIGHTS.items() if name in changes}
    if changes or weights:
        entries["recipe"] = {**changes, **({"weights": weights} if weights else {})}
    return entries
