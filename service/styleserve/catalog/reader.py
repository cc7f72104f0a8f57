"""Reads styles: every YAML file of a folder becomes a Style, or a list of all that is wrong with it.

title: The Starry Night            # required; artist, date, source, license: text
tags: [night, swirls]
image: starry-night.jpg            # a file beside this one; or a mapping of url and sha256
recipe:                            # what the style sets; everything is optional
  preset: standard
  weights: {content: 0.02}
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from styleserve import images
from styleserve.catalog.rules import TEXTS, check_facts, check_id
from styleserve.catalog.style import ImageReference, Style
from styleserve.digests import is_sha256
from styleserve.documents import read_mapping, shown, unknown_keys
from styleserve.errors import ConfigurationError, InvalidImageError, StyleProblem, Violation
from styleserve.files import read_bounded
from styleserve.presets import check
from styleserve.recipes import RecipeChanges

_SUFFIXES = (".yaml", ".yml")
#: Plain http is as good as https, since the file is known by its SHA-256.
_SCHEMES = ("https", "http")
_KEYS = (*TEXTS, "tags", "image", "recipe")
_WEIGHTS = ("content", "style", "total_variation")
_RECIPE_KEYS = ("preset", "optimizer", "iterations", "strength", "weights", "init", "color", "seed")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a folder holds: its styles, and the problems of the files that hold none."""

    styles: tuple[Style, ...]
    problems: tuple[StyleProblem, ...]


def read_folder(folder: Path, origin: str) -> Reading:
    """Read every `<style>.yaml` of the folder but hidden ones, which are an editor's; a folder may be a problem too."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        description = f"{error.strerror}; allowed: a folder of <style>.yaml files with their images"
        return Reading((), (StyleProblem(folder, origin, "", description),))
    paths = [folder / name for name in names if name.endswith(_SUFFIXES) and not name.startswith(".")]
    readings = [read_style(path, origin) for path in paths]
    return Reading(
        tuple(style for reading in readings for style in reading.styles),
        tuple(problem for reading in readings for problem in reading.problems),
    )


def read_style(path: Path, origin: str) -> Reading:
    """Read one file: its style, or its problems."""
    reader = _StyleReader(path, origin)
    style = reader.read()
    return Reading(() if style is None else (style,), tuple(reader.problems))


@dataclass(slots=True)
class _StyleReader:
    """Reads one file; `problems` gathers everything wrong, so that an author mends all of it at once."""

    path: Path
    origin: str
    problems: list[StyleProblem] = field(default_factory=list)

    def read(self) -> Style | None:
        try:
            entries = read_mapping(self.path)
        except ConfigurationError as error:
            self._tell(str(error).removeprefix(f"{self.path}: "))
            return None
        self._tell_violations(check_id(self.path.stem, "file name"))
        self._refuse_unknown("", entries, _KEYS)
        texts = self._texts(entries)
        tags = self._tags(entries.get("tags", []))
        self._tell_violations(check_facts(texts, tags))
        image = self._image(entries.get("image"))
        recipe = self._recipe(entries.get("recipe", {}))
        if self.problems or image is None:
            return None
        return Style(
            style_id=self.path.stem, **texts, tags=tags, image=image, recipe=recipe, origin=self.origin, file=self.path
        )

    def _tell(self, description: str) -> None:
        self.problems.append(StyleProblem(self.path.parent, self.origin, self.path.name, description))

    def _tell_violations(self, violations: Iterable[Violation]) -> None:
        for violation in violations:
            self._tell(f"{violation.field}: {violation.description}")

    def _complain(self, key: str, got: object, allowed: str) -> None:
        self._tell(f"{key}: got {shown(got)}; allowed: {allowed}")

    def _refuse_unknown(self, place: str, entries: Mapping[str, object], known: Sequence[str]) -> None:
        for complaint in unknown_keys(entries, known):
            self._tell(f"{place}: {complaint}" if place else complaint)

    def _texts(self, entries: Mapping[str, object]) -> dict[str, str]:
        """The texts; a bare year, which YAML reads as a number, is one too."""
        texts = {}
        for key in TEXTS:
            value = entries.get(key, "")
            if isinstance(value, bool) or not isinstance(value, str | int):
                self._complain(key, value, "text; quote it")
            else:
                texts[key] = str(value)
        return texts

    def _tags(self, value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
            return tuple(value)
        self._complain("tags", value, "a list of words")
        return ()

    def _image(self, value: object) -> ImageReference | None:
        match value:
            case str():
                return self._local_image(value)
            case dict():
                return self._remote_image(value)
            case _:
                self._complain("image", value, "a file's name, or a mapping of url and sha256; it is required")
                return None

    def _local_image(self, file_name: str) -> ImageReference | None:
        limits = images.ImageLimits()
        try:
            path = self.path.parent / file_name
            found = path.resolve()
            # Folders within are not watched; a link may lead into one, as those do that Kubernetes mounts.
            if Path(file_name).name != file_name or not found.is_relative_to(self.path.parent.resolve()):
                self._complain("image", file_name, "the name of a file in the style's own folder")
                return None
            data = read_bounded(found, limits.max_bytes)
            images.decode(data, limits, fit_side=limits.min_side)
        except (OSError, ValueError, RuntimeError):  # the latter two for names that no file has, and links in a circle
            self._complain("image", file_name, "a file that is there, beside this one")
            return None
        except InvalidImageError as error:
            self._complain("image", file_name, f"an image: {error}")
            return None
        # Not where links lead today: a mount that is swapped leads them elsewhere, and what was there is removed.
        return ImageReference(hashlib.sha256(data).hexdigest(), path=path)

    def _remote_image(self, entries: Mapping[str, object]) -> ImageReference | None:
        self._refuse_unknown("image", entries, ("url", "sha256"))
        url, sha256 = entries.get("url"), entries.get("sha256")
        is_address = _is_address(url)
        if not is_address:
            self._complain("image.url", url, f"an address of {' or '.join(_SCHEMES)}")
        is_digest = isinstance(sha256, str) and is_sha256(sha256)
        if not is_digest:
            self._complain("image.sha256", sha256, "64 lower-case hex digits, the SHA-256 of the file")
        return ImageReference(str(sha256), url=str(url)) if is_address and is_digest else None

    def _recipe(self, value: object) -> RecipeChanges:
        if not isinstance(value, dict):
            self._complain("recipe", value, f"a mapping of {', '.join(_RECIPE_KEYS)}")
            return RecipeChanges()
        self._refuse_unknown("recipe", value, _RECIPE_KEYS)
        weights = value.get("weights", {})
        if not isinstance(weights, dict):
            self._complain("recipe.weights", weights, f"a mapping of {', '.join(_WEIGHTS)}")
            weights = {}
        self._refuse_unknown("recipe.weights", weights, _WEIGHTS)
        changes = RecipeChanges(
            preset=self._word(value, "preset"),
            optimizer=self._word(value, "optimizer"),
            iterations=self._integer(value, "iterations"),
            strength=self._number(value, "strength", "recipe"),
            content_weight=self._number(weights, "content", "recipe.weights"),
            style_weight=self._number(weights, "style", "recipe.weights"),
            total_variation_weight=self._number(weights, "total_variation", "recipe.weights"),
            init=self._word(value, "init"),
            color=self._word(value, "color"),
            seed=self._integer(value, "seed"),
        )
        self._tell_violations(check(changes))
        return changes

    def _word(self, entries: Mapping[str, object], key: str) -> str | None:
        value = entries.get(key)
        if value is None or isinstance(value, str):
            return value
        self._complain(f"recipe.{key}", value, "a word")
        return None

    def _integer(self, entries: Mapping[str, object], key: str) -> int | None:
        value = entries.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self._complain(f"recipe.{key}", value, "a whole number")
        return None

    def _number(self, entries: Mapping[str, object], key: str, where: str) -> float | None:
        value = entries.get(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        self._complain(f"{where}.{key}", value, "a number")
        return None


def _is_address(url: object) -> bool:
    """Whether a file may be fetched from there, as far as its text says: from a host that can be one."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        return parts.scheme in _SCHEMES and host != b"" and parts.port != 0
    except ValueError:  # a port beyond 65535, or a host whose name has parts that are empty or too long, among others
        return False
