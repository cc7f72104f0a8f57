"""Better pictures for the time: every preset and the published schedule on the same pictures, judged in float32.

    python -m benchmarks.quality [--sides 256 512] [--recipes classic standard ...] [--pairs 16] [--precision auto]
        [--name NAME] [--busy]

Four photographs by four styles. Each pair is painted by every recipe in turn, and judged (`judgement`) on the way. The
table compares, at every size, over the pairs that all of the recipes have painted. `--name` gives the files another
name, so that other recipes do not take the place of these.

A quotient of times is the mean over the pairs that one quiet machine has painted by both recipes, seconds over those
that one has painted by all; `--busy` says that this one is not quiet. Without seconds the plot is over judged
megapixels, which cost about the same.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks import gallery, report
from benchmarks.gallery import Gallery, Judged
from benchmarks.painting import SCHEDULE
from styleserve.presets import PRESETS
from styleserve.recipes import OptimizerName, Recipe

_PRESETS = ("classic", "draft", "standard", "fine")
_OPTIMIZERS: Mapping[OptimizerName, str] = {"adam": "Adam", "lbfgs": "L-BFGS", "lbfgsb": "L-BFGS-B"}
#: `classic` has 500 of Adam's; the others need fewer.
_ITERATIONS_BY_OTHERS = {"classic": 150}


def _by_others(preset: str) -> dict[str, Recipe]:
    """The preset by the optimizers that are not its own."""
    own = PRESETS[preset]
    iterations = _ITERATIONS_BY_OTHERS.get(preset, own.iterations)
    return {
        f"{preset}, {label}": dataclasses.replace(own, optimizer=optimizer, iterations=iterations)
        for optimizer, label in _OPTIMIZERS.items()
        if optimizer != own.optimizer
    }


#: Of the preset's own optimizer and of others, in plots whose colours are those of presets.
_MARKERS = {"": "o", "Adam": "^", "L-BFGS": "s", "L-BFGS-B": "x"}
CLASSIC_BY_LBFGSB = "classic, L-BFGS-B"
_OWN: Mapping[str, Recipe] = {**{name: PRESETS[name] for name in _PRESETS}, SCHEDULE.preset: SCHEDULE}
_OTHERS = {name: recipe for preset in _PRESETS for name, recipe in _by_others(preset).items()}
RECIPES = {**_OWN, "paper": PRESETS["paper"], **_OTHERS}


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/NAME.json and a plot a side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="longest sides (default: 256 512)")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(_OWN), help=f"default: {', '.join(_OWN)}")
    parser.add_argument("--pairs", type=int, default=16, help="how many of the sixteen pairs (default: 16)")
    parser.add_argument("--precision", choices=gallery.PRECISIONS, default="auto", help="default: auto")
    parser.add_argument("--busy", action="store_true", help="other work runs beside: keep no seconds")
    parser.add_argument("--name", default="quality", help="of the files in docs/benchmarks (default: quality)")
    arguments = parser.parse_args()
    with gallery.opened(arguments.precision, is_quiet=not arguments.busy) as pictures:
        of_side = {side: _paint(pictures, side, arguments.pairs, arguments.recipes) for side in arguments.sides}
    tables, machines = {}, {}
    for side, of_recipe in of_side.items():
        header, rows = _table(of_recipe)
        tables[str(side)] = [dict(zip(header, row, strict=True)) for row in rows]
        machines[str(side)] = sorted({looks[-1].machine for paintings in of_recipe.values() for looks in paintings})
        print(f"\n{side} px, {arguments.pairs} pairs\n{report.table(header, rows)}")
        print("\npainted on:", *machines[str(side)], sep="\n  ")
        _plot(of_recipe, report.FOLDER / f"{arguments.name}-{side}.png")
    subject = pictures.subject
    of_what: Mapping[str, report.Value] = {"weights": subject.weights.label, "precision": subject.precision}
    known = report.read(arguments.name)
    is_kept = all(known.get(name) == value for name, value in of_what.items())
    # The tables of other sizes with the same network and precision stay.
    results = {
        name: {**(_mapping(known.get(name)) if is_kept else {}), **of_sides}
        for name, of_sides in (("painted on", machines), ("means", tables))
    }
    report.write(arguments.name, {**of_what, **results})


def _mapping(value: report.Value) -> Mapping[str, report.Value]:
    return value if isinstance(value, dict) else {}


def _paint(pictures: Gallery, side: int, num_pairs: int, names: Sequence[str]) -> dict[str, list[list[Judged]]]:
    """Judgements on the way, of every pair for every recipe."""
    of_recipe: dict[str, list[list[Judged]]] = {name: [] for name in names}
    for pair in gallery.pairs(side, num_pairs):
        for name in names:
            of_recipe[name].append(pictures.judged(pair, RECIPES[name]))
    return of_recipe


def _with_seconds_of_the_same_pairs(
    of_recipe: Mapping[str, Sequence[Sequence[Judged]]],
) -> Mapping[str, Sequence[Sequence[Judged]]]:
    """The same without seconds of pairs that no one machine has timed with all: means are over the same pairs."""
    by_pair = zip(*of_recipe.values(), strict=True)
    are_timed = [_are_of_one_machine([looks[-1] for looks in paintings]) for paintings in by_pair]
    return {
        name: [
            looks if is_timed else [dataclasses.replace(look, seconds=math.nan) for look in looks]
            for looks, is_timed in zip(paintings, are_timed, strict=True)
        ]
        for name, paintings in of_recipe.items()
    }


def _are_of_one_machine(results: Sequence[Judged]) -> bool:
    """Whether one has timed them all."""
    return all(math.isfinite(result.seconds) for result in results) and len({one.machine for one in results}) == 1


def _table(of_recipe: Mapping[str, Sequence[Sequence[Judged]]]) -> tuple[list[str], list[list[report.Value]]]:
    """Means over the pairs; against the first recipe and the last, times and the pairs won on both distances."""
    first, last = next(iter(of_recipe)), list(of_recipe)[-1]
    rivals = dict.fromkeys((first, last))
    header = ["recipe", "seconds", f"time / {first}", "style", "content"]
    header += [f"better than {rival} on both, pairs" for rival in rivals]
    timed = _with_seconds_of_the_same_pairs(of_recipe)
    seconds = {name: _mean_known(looks[-1].seconds for looks in paintings) for name, paintings in timed.items()}
    return header, [[name, seconds[name], *_row(of_recipe, name, first, rivals)] for name in of_recipe]


def _row(
    of_recipe: Mapping[str, Sequence[Sequence[Judged]]], name: str, first: str, rivals: Mapping[str, None]
) -> Iterator[report.Value]:
    results = [looks[-1] for looks in of_recipe[name]]
    beside = [(result, looks[-1]) for result, looks in zip(results, of_recipe[first], strict=True)]
    yield _mean_known(one.seconds / other.seconds for one, other in beside if _are_of_one_machine([one, other]))
    yield mean(result.style for result in results)
    yield mean(result.content for result in results)
    for rival in rivals:
        yield sum(
            result.style < looks[-1].style and result.content < looks[-1].content
            for result, looks in zip(results, of_recipe[rival], strict=True)
        )


def _mean_known(seconds: Iterable[float]) -> float | None:
    """The mean of those that are numbers; None where none is."""
    known = [one for one in seconds if math.isfinite(one)]
    return mean(known) if known else None


def _plot(of_recipe: Mapping[str, Sequence[Sequence[Judged]]], path: Path) -> None:
    """Both distances against seconds, or against judged megapixels where there are none; means over the pairs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    timed = _with_seconds_of_the_same_pairs(of_recipe)
    is_timed = any(math.isfinite(looks[-1].seconds) for paintings in timed.values() for looks in paintings)
    cost = "seconds" if is_timed else "megapixels"
    for name, paintings in timed.items():
        fewest = min(len(looks) for looks in paintings)
        looks = list(zip(*(looks[-fewest:] for looks in paintings), strict=True))
        costs = [_mean_known(getattr(look, cost) for look in column) for column in looks]
        preset, _, optimizer = name.partition(", ")
        how = {"color": f"C{list(RECIPES).index(preset)}", "marker": _MARKERS[optimizer], "label": name}
        axes[0].plot(costs, [mean(look.style for look in column) for column in looks], **how)
        axes[1].plot(costs, [mean(look.content for look in column) for column in looks], **how)
    for axis, distance in zip(axes, ("style", "content"), strict=True):
        axis.set(xlabel=f"{cost} judged" if cost == "megapixels" else cost, ylabel=f"{distance} distance", xscale="log")
        axis.grid(alpha=0.3, which="both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")  # which hides no point
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
