"""Rules: what the facts of a style may be, wherever they come from: a YAML file or a caller's request."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from styleserve.errors import Violation

#: The facts that are text, in the order of a file; `title` is required.
TEXTS = ("title", "artist", "date", "source", "license")
MAX_TEXT = 500
MAX_TAGS, MAX_TAG = 32, 64
_ID_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])")
#: Unicode's categories of control characters, which would act on a reader's terminal, and of halves of characters.
_FORBIDDEN_CATEGORIES = ("Cc", "Cs")
_SHOWN = 40


def check_id(style_id: str, field: str) -> list[Violation]:
    """What is wrong with a style's ID; `field` is where it stands."""
    if _ID_PATTERN.fullmatch(style_id):
        return []
    allowed = "2 to 63 of a-z, 0-9 and '-', which is the style's ID"
    return [Violation(field, f"got {_shown(style_id)}; allowed: {allowed}", "BAD_FORMAT")]


def check_facts(texts: Mapping[str, str], tags: Sequence[str]) -> list[Violation]:
    """Everything wrong with the tags and with those texts that are there, by the names of `TEXTS`."""
    violations = [problem for key, text in texts.items() for problem in _check_text(key, text, MAX_TEXT)]
    if texts.get("title") == "":
        violations.append(Violation("title", "got none; allowed: a title; it is required", "REQUIRED"))
    if len(tags) > MAX_TAGS:
        violations.append(Violation("tags", f"got {len(tags)}; allowed: at most {MAX_TAGS}", "TOO_MANY"))
    for index, tag in enumerate(tags[:MAX_TAGS]):
        violations += _check_text(f"tags[{index}]", tag, MAX_TAG)
        if not tag.strip():
            violations.append(Violation(f"tags[{index}]", f"got {tag!r}; allowed: a word", "REQUIRED"))
    return violations


def _check_text(field: str, text: str, max_length: int) -> list[Violation]:
    if len(text) > max_length:
        description = f"got {len(text)} characters; allowed: at most {max_length}"
        return [Violation(field, description, "TOO_LONG")]
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in text if character not in "\n\t"):
        return [Violation(field, f"got {_shown(text)}; allowed: text without control characters", "BAD_FORMAT")]
    return []


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
