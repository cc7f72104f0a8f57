"""Strength from 0 to 1: what it does to both distances, and that it looks the same at every size.

    python -m benchmarks.strength [--preset standard] [--sides 256 512] [--pairs 16 4] [--grid]

Tells for every strength the distances of `judgement` at every size, over the pairs that are painted at all of them; the
spread is how far a pair's content distance at the size where it is largest lies above that where it is smallest. That
the content distance rises with strength is told of every pair. `--grid` paints docs/strength.jpg anew, a grid of
pictures of a style that the project draws itself.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TypeAlias

import numpy as np
from PIL import Image

from benchmarks import gallery, report, subjects
from benchmarks.gallery import Gallery, Judged, Pair
from styleserve import images
from styleserve.evaluation import Pixels
from styleserve.presets import resolve
from styleserve.recipes import Recipe, RecipeChanges

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
GRID_STYLE = "stained-glass"
GRID = subjects.ROOT / "docs" / "strength.jpg"
_GRID_CELL = 256

#: Judgements by pair, size and rank of the strength.
_Judged: TypeAlias = Mapping[str, Mapping[int, Sequence[Judged]]]


def of_strength(preset: str, strength: float) -> Recipe:
    """The preset's recipe at a strength."""
    return resolve(RecipeChanges(), RecipeChanges(preset=preset, strength=strength))


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/strength.json and .png, and the grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="standard", choices=("draft", "standard", "fine"), help="default: standard")
    gallery.add_sides(parser)
    parser.add_argument("--grid", action="store_true", help="paint the grid of pictures anew")
    arguments = parser.parse_args()
    recipes = [of_strength(arguments.preset, strength) for strength in STRENGTHS]
    judged: dict[str, dict[int, list[Judged]]] = {}
    with gallery.opened() as pictures:
        for side, num_pairs in zip(arguments.sides, arguments.pairs, strict=True):
            for pair in gallery.pairs(side, num_pairs):
                judged.setdefault(pair.name, {})[side] = [pictures.result(pair, recipe) for recipe in recipes]
        if arguments.grid:
            _draw_grid(pictures, recipes, arguments.sides)
    _print(judged, arguments.sides)
    path = report.write(
        "strength",
        {
            "weights": pictures.subject.weights.label,
            "precision": pictures.subject.precision,
            "painted on": sorted(pictures.machines),
            "preset": arguments.preset,
            "strengths": list(STRENGTHS),
            "style and content": {
                name: {str(side): [[one.style, one.content] for one in of_side] for side, of_side in of_pair.items()}
                for name, of_pair in judged.items()
            },
        },
    )
    _plot(judged, path.with_suffix(".png"))


def _print(judged: _Judged, sides: Sequence[int]) -> None:
    at_all = [of_pair for of_pair in judged.values() if len(of_pair) == len(sides)]
    rows = [
        [
            strength,
            *(mean(of_pair[side][rank].content for of_pair in at_all) for side in sides),
            max(_spread([of_pair[side][rank].content for side in sides]) for of_pair in at_all),
            *(mean(of_pair[side][rank].style for of_pair in at_all) for side in sides),
        ]
        for rank, strength in enumerate(STRENGTHS)
    ]
    header = ["strength", *(f"content at {side}" for side in sides), "largest spread of a pair"]
    print(report.table([*header, *(f"style at {side}" for side in sides)], rows))
    rises = [
        all(low.content <= high.content for low, high in itertools.pairwise(of_side))
        for of_pair in judged.values()
        for of_side in of_pair.values()
    ]
    print(f"\nthe content distance rises with strength for {sum(rises)} of {len(rises)} pairs and sizes")


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values) - 1 if min(values) > 0 else 0.0


def _draw_grid(pictures: Gallery, recipes: Sequence[Recipe], sides: Sequence[int]) -> None:
    """A row a size, a column a strength, all shown at one size."""
    style = subjects.read_style(subjects.ROOT / "styles" / f"{GRID_STYLE}.jpg")
    subject = [Pair("astronaut", GRID_STYLE, subjects.photograph(side), style) for side in sides]
    rows = [np.concatenate([_cell(pictures.picture(pair, recipe)) for recipe in recipes], 1) for pair in subject]
    Image.fromarray(images.to_uint8(np.concatenate(rows, 0))).save(GRID, quality=88)


def _cell(picture: Pixels) -> Pixels:
    return images.resize(picture, _GRID_CELL, _GRID_CELL)


def _plot(judged: _Judged, path: Path) -> None:
    """Content distance over strength, and style over content distance: a line a pair, a colour a size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colours = {side: f"C{rank}" for rank, side in enumerate(next(iter(judged.values())))}
    for of_pair in judged.values():
        for side, of_side in of_pair.items():
            contents, styles = ([getattr(one, name) for one in of_side] for name in ("content", "style"))
            axes[0].plot(STRENGTHS, contents, color=colours[side], alpha=0.6)
            axes[1].plot(contents, styles, color=colours[side], alpha=0.6)
    for side, colour in colours.items():
        axes[0].plot([], [], color=colour, label=f"{side} pixels")
    axes[0].set(xlabel="strength", ylabel="content distance")
    axes[1].set(xlabel="content distance", ylabel="style distance")
    axes[0].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
