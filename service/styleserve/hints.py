"""Hints: of the names that there are, those that look like one that is not among them."""

import difflib
from collections.abc import Sequence

#: More characters than any name has that there is.
_LONGEST_COMPARED = 200


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Up to three of `known` that look like `name`, the most alike first.

    Comparing takes time and memory by the length of the name, which a caller chooses: nothing is like a very long one.
    """
    if len(name) > _LONGEST_COMPARED:
        return []
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)
