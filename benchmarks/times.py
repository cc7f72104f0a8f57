"""What a preset costs beside `classic`: whole paintings, in turn in one run, with nothing beside them.

    python -m benchmarks.times [--side 256] [--pairs 4]

The paintings of `benchmarks.quality` are made over days and on whatever machine is there; these are made to be timed.
Each pair, of another photograph and style, is painted by every preset in turn; a run warms up with small canvases.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import gallery, report, subjects
from benchmarks.gallery import Pair
from benchmarks.painting import Look, Painter
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe

_PRESETS = ("classic", "draft", "standard", "fine")


def main() -> None:
    """Paint, print, and write docs/benchmarks/times.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="longest side, pixels")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen pairs")
    arguments = parser.parse_args()
    rows: list[list[report.Value]] = []
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        painter = Painter(subject.evaluator)
        recipes = {name: PRESETS[name] for name in _PRESETS}
        painter.warm_up(recipes)
        for pair in gallery.pairs(arguments.side, arguments.pairs):
            seconds = {name: _seconds(painter, pair, recipe) for name, recipe in recipes.items()}
            rows.append([pair.name, *seconds.values(), *(seconds[name] / seconds["classic"] for name in _PRESETS[1:])])
            print(report.table([], [rows[-1]]).splitlines()[-1], flush=True)
    header = ["pair", *(f"{name}, s" for name in _PRESETS), *(f"{name} / classic" for name in _PRESETS[1:])]
    columns = list(zip(*rows, strict=True))[1:]
    middle: list[report.Value] = ["median", *(median(map(float, column)) for column in columns)]
    print(report.table(header, [*rows, middle]))
    table = [dict(zip(header, row, strict=True)) for row in (*rows, middle)]
    report.write("times", {"side": arguments.side, "precision": subject.precision, "times": table})


def _seconds(painter: Painter, pair: Pair, recipe: Recipe) -> float:
    looks: list[Look] = []
    painter.paint(pair.content, pair.style, recipe, looks.append)
    return looks[-1].seconds


if __name__ == "__main__":
    main()
