"""Style: an image and its settings, with where both come from; Catalog: all of them by name."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from styleserve.errors import StyleNotFoundError
from styleserve.hints import nearest
from styleserve.recipes import RecipeChanges

#: The contract's resource names of styles begin so.
PREFIX = "styles/"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """The style's image: a file beside its YAML, or a url to fetch it from, and its SHA-256 in hex."""

    sha256: str
    path: Path | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """One entry of the catalogue.

    `origin` is the entry point's name of the pack that brings it, or the folder's name; `file` its YAML file.
    """

    style_id: str
    title: str
    artist: str
    date: str
    source: str
    license: str
    tags: tuple[str, ...]
    image: ImageReference
    recipe: RecipeChanges
    origin: str
    file: Path

    @property
    def name(self) -> str:
        """`styles/{style}`."""
        return PREFIX + self.style_id

    @property
    def version(self) -> str:
        """12 hex digits that change with the image or the settings."""
        settings = json.dumps([self.image.sha256, asdict(self.recipe)], sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:12]

    @property
    def versioned_name(self) -> str:
        """`styles/{style}@{version}`."""
        return f"{self.name}@{self.version}"


class Catalog:
    """Styles by ID; immutable."""

    def __init__(self, styles: Iterable[Style]) -> None:
        by_id = {style.style_id: style for style in sorted(styles, key=lambda style: style.style_id)}
        self._by_id: Mapping[str, Style] = MappingProxyType(by_id)

    @property
    def styles(self) -> tuple[Style, ...]:
        """All styles, by name."""
        return tuple(self._by_id.values())

    def find(self, name: str) -> Style:
        """The style called `styles/{style}` or `styles/{style}@{version}`; raises StyleNotFoundError."""
        plain, at, version = name.partition("@")
        style = self._by_id.get(plain.removeprefix(PREFIX)) if plain.startswith(PREFIX) else None
        if style is None:
            known = [candidate.name for candidate in self.styles]
            raise StyleNotFoundError(name, nearest(PREFIX + plain.removeprefix(PREFIX), known))
        if at and version != style.version:
            raise StyleNotFoundError(name, [style.versioned_name])
        return style
