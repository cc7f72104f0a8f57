"""Figures as tables in Markdown, for people."""

from collections.abc import Mapping


def two_columns(figures: Mapping[str, object]) -> str:
    """What was measured, and its figure, a row each."""
    rows = [("what", "figure"), ("---", "---"), *((name, _shown(figure)) for name, figure in figures.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(figure: object) -> str:
    match figure:
        case float():
            return f"{figure:.4g}"
        case Mapping():
            return ", ".join(f"{name} {_shown(part)}" for name, part in figure.items())
        case list() | tuple():
            return ", ".join(_shown(part) for part in figure)
        case _:
            return str(figure)
