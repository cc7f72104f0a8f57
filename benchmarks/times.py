"""What a preset costs beside `classic`: whole paintings, in turn in one run, with nothing beside them.

    python -m benchmarks.times [--side 256] [--pairs 4]

The paintings of `benchmarks.quality` are made over days and on whatever machine is there; these are made to be timed.
Each pair, of another photograph and style, is painted by every preset in turn; a run warms up with small canvases.
Times at other sides stay in the file, each with the machine that they are of.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import gallery, report, subjects
from benchmarks.gallery import Pair
from benchmarks.painting import Look, Painter
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe

#: The share of `classic`'s time that a preset may take. `fine` may take the published schedule's, twice `classic`'s.
TARGETS: Mapping[str, float] = {"draft": 1 / 12, "standard": 1 / 4}
_PRESETS = ("classic", "draft", "standard", "fine")


def main() -> None:
    """Paint, print, and write docs/benchmarks/times.json and .png."""
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
    keep(arguments.side, subject.precision, [dict(zip(header, row, strict=True)) for row in (*rows, middle)])
    plot(shares(), report.FOLDER / "times.png")


def keep(side: int, precision: str, times: Sequence[Mapping[str, report.Value]]) -> None:
    """Write them in the place of those of this side, with the machine."""
    own: report.Value = {"machine": report.machine(), "precision": precision, "times": times}
    report.write("times", {"sides": {**_kept(), str(side): own}})


def shares() -> dict[str, list[dict[str, float]]]:
    """By side, each pair's times in shares of `classic`'s, as the file has them."""
    found = {}
    for side, own in _kept().items():
        times = own["times"]
        assert isinstance(times, list)
        pairs = [row for row in times if row["pair"] != "median"]
        found[side] = [{preset: float(row[f"{preset} / classic"]) for preset in _PRESETS[1:]} for row in pairs]
    return found


def plot(of_sides: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """A panel a side: the median share of each preset as a bar, a dot a pair, and what is wanted at most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (1 + 4.5 * len(of_sides), 4)
    figure, panels = pyplot.subplots(1, len(of_sides), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (side, pairs) in zip(panels[0], of_sides.items(), strict=True):
        presets = list(pairs[0])
        columns = [[pair[preset] for pair in pairs] for preset in presets]
        axis.bar(presets, [median(column) for column in columns], width=0.5, alpha=0.6, label="median")
        for index, (preset, column) in enumerate(zip(presets, columns, strict=True)):
            axis.plot([index] * len(column), column, "k.", label="a pair" if index == 0 else None)
            if preset in TARGETS:
                label = "target" if index == 0 else None
                axis.hlines(TARGETS[preset], index - 0.35, index + 0.35, color="tab:red", label=label)
        axis.set_title(f"{side} px")
        axis.grid(alpha=0.3, axis="y")
    panels[0][0].set_ylabel("time / classic")
    panels[0][0].legend(loc="upper left")
    figure.savefig(path, dpi=110)


def _kept() -> Mapping[str, Mapping[str, report.Value]]:
    known = report.read("times").get("sides", {})
    assert isinstance(known, dict)
    return known


def _seconds(painter: Painter, pair: Pair, recipe: Recipe) -> float:
    looks: list[Look] = []
    painter.paint(pair.content, pair.style, recipe, looks.append)
    return looks[-1].seconds


if __name__ == "__main__":
    main()
