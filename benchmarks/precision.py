"""What bfloat16 in the network changes in the pictures, beside float32.

    python -m benchmarks.precision [--side 256] [--pairs 4] [--recipes NAME ...]

Each pair is painted by every recipe in both and judged (`judgement`) in float32. The table has for each distance how
far the mean over the pairs in bfloat16 lies from that in float32, negative where it is nearer, and the largest
difference of a pair either way. The means should differ by at most 1 %. Recipes that need float32 paint the same in
both and are left out. No seconds are compared, so other work may run beside. What the file has of other sides and
recipes stays.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import TypeAlias

from benchmarks import gallery, report
from benchmarks.gallery import Gallery, Pair
from benchmarks.quality import RECIPES
from styleserve.workers.vgg_engine import PrecisionChoice

#: How far a mean in bfloat16 may lie from that in float32, in percent.
TARGET_PERCENT = 1.0
_PRECISIONS: tuple[PrecisionChoice, ...] = ("float32", "bfloat16")
_RECIPES = {name: recipe for name, recipe in RECIPES.items() if not recipe.needs_float32}
_DEFAULT = ("draft", "standard", "draft, Adam", "standard, Adam", "fine", "classic")
_DISTANCES = ("style", "content")

#: Style and content distance of a recipe's pictures, by pair and precision.
OfRecipe: TypeAlias = Mapping[str, Mapping[str, Sequence[float]]]
#: The same by side and recipe.
OfSides: TypeAlias = Mapping[str, Mapping[str, OfRecipe]]


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/precision.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="longest side in pixels (default: 256)")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen pairs (default: 4)")
    parser.add_argument(
        "--recipes", nargs="+", choices=_RECIPES, default=list(_DEFAULT), help=f"default: {'; '.join(_DEFAULT)}"
    )
    arguments = parser.parse_args()
    chosen = gallery.pairs(arguments.side, arguments.pairs)
    with ExitStack() as opened:
        own = [opened.enter_context(gallery.opened(precision, is_quiet=False)) for precision in _PRECISIONS]
        found = {name: _paint(own, chosen, name) for name in arguments.recipes}
    weights = own[0].subject.weights.label
    known = added(weights, arguments.side, found)
    header, rows = _table(known)
    print(report.table(header, rows))
    path = report.write("precision", {"weights": weights, "distances": known})
    plot(known, path.with_suffix(".png"))


def differences(of_recipe: OfRecipe, which: int) -> list[float]:
    """How far each pair's distance in bfloat16 lies from that in float32, in percent."""
    return [_percent(of_pair["bfloat16"][which], of_pair["float32"][which]) for of_pair in of_recipe.values()]


def difference_of_means(of_recipe: OfRecipe, which: int) -> float:
    """The same for the means over the pairs."""
    ours, theirs = (mean(of_pair[name][which] for of_pair in of_recipe.values()) for name in ("bfloat16", "float32"))
    return _percent(ours, theirs)


def added(weights: str, side: int, found: Mapping[str, OfRecipe]) -> OfSides:
    """The file's with these in their place; these alone where other weights judged."""
    written = report.read("precision")
    known = written.get("distances") if written.get("weights") == weights else {}
    assert isinstance(known, dict)
    return {**known, str(side): {**known.get(str(side), {}), **found}}


def plot(known: OfSides, path: Path) -> None:
    """A panel a distance: for each recipe how far its pairs in bfloat16 lie from float32, and how far their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(f"{name}, {side} px", own) for side, of_recipe in known.items() for name, own in of_recipe.items()][::-1]
    height = 1.4 + 0.4 * len(rows)
    figure, axes = pyplot.subplots(1, 2, figsize=(11, height), sharex=True, sharey=True, layout="constrained")
    for which, axis in enumerate(axes):
        axis.axvspan(-TARGET_PERCENT, TARGET_PERCENT, color="tab:green", alpha=0.15, label="target of the mean")
        axis.axvline(0, color="0.5", linewidth=0.8)
        for name, of_recipe in rows:
            pairs = differences(of_recipe, which)
            axis.plot(pairs, [name] * len(pairs), "o", color="tab:blue", alpha=0.7)
            axis.plot(difference_of_means(of_recipe, which), name, "|", color="tab:red", markersize=16, mew=2)
        axis.set_xlabel(f"{_DISTANCES[which]} distance in bfloat16, % beyond that in float32")
        axis.grid(alpha=0.3)
    axes[0].plot([], [], "o", color="tab:blue", alpha=0.7, label="a pair")
    axes[0].plot([], [], "|", color="tab:red", markersize=12, mew=2, label="mean of the pairs")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=110)


def _paint(galleries: Sequence[Gallery], pairs: Sequence[Pair], name: str) -> OfRecipe:
    """Distances of each pair's picture by the recipe, in the precision of each gallery."""
    found = {}
    for pair in pairs:
        results = {own.subject.precision: own.result(pair, _RECIPES[name]) for own in galleries}
        found[pair.name] = {precision: [result.style, result.content] for precision, result in results.items()}
    return found


def _table(known: OfSides) -> tuple[list[str], list[list[report.Value]]]:
    """A row a side and recipe; all differences in percent."""
    header = ["side", "recipe"]
    header += [f"{distance}, {what}, %" for distance in _DISTANCES for what in ("means", "a pair at most")]
    rows: list[list[report.Value]] = []
    for side, of_side in known.items():
        for name, of_recipe in of_side.items():
            figures = [
                figure
                for which in range(len(_DISTANCES))
                for figure in (difference_of_means(of_recipe, which), max(map(abs, differences(of_recipe, which))))
            ]
            rows.append([side, name, *figures])
    return header, rows


def _percent(value: float, reference: float) -> float:
    return 100 * (value / reference - 1)


if __name__ == "__main__":
    main()
