"""Better pictures for the time: every preset and the published schedule on the same pictures, judged in float32.

    python -m benchmarks.quality [--sides 256 512] [--recipes standard classic ...] [--pairs 16] [--again]

Four photographs by four styles, so ordered that the first four pairs show each once. Each pair is painted by every
recipe in turn, and judged (`judgement`) on the way. A pair takes minutes, so results are kept in
docs/benchmarks/quality.json as they come and are not computed again unless `--again` says so or a recipe has changed:
the benchmark can be broken off and goes on where it stood. The table compares over the pairs that were painted.
"""

import argparse
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TypeAlias

from benchmarks import report, subjects
from benchmarks.judgement import Judge
from benchmarks.painting import SCHEDULE, Look, Painter
from styleserve import images
from styleserve.evaluation import Pixels, StyleImage
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe

RECIPES: Mapping[str, Recipe] = {
    **{name: PRESETS[name] for name in ("classic", "draft", "standard", "fine")},
    "classic, L-BFGS-B": dataclasses.replace(PRESETS["classic"], optimizer="lbfgsb", iterations=150),
    "schedule": SCHEDULE,
}
NUM_LOOKS = 6
#: Pictures judged of each painting, the last one the result.
Record: TypeAlias = dict[str, report.Value]


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph at its size, and a style."""

    content_name: str
    style_name: str
    content: Pixels
    style: StyleImage


def pairs(side: int) -> list[Pair]:
    """All of them, a Latin square after the other."""
    contents, styles = list(subjects.photographs().items()), list(subjects.styles().items())
    return [
        Pair(content_name, style_name, images.fit(content, side), style)
        for shift in range(len(styles))
        for rank, (content_name, content) in enumerate(contents)
        for style_name, style in [styles[(rank + shift) % len(styles)]]
    ]


def paint(painter: Painter, judge: Judge, pair: Pair, recipe: Recipe) -> list[Record]:
    """Judgements on the way, the last that of the result."""
    looks: list[Record] = []

    def show(look: Look) -> None:
        judgement = judge.judge(look.picture, pair.content, pair.style)
        looks.append(
            {
                "seconds": look.seconds,
                "evaluations": look.evaluations,
                "megapixels": look.megapixels,
                "style": judgement.style,
                "content": judgement.content,
            }
        )

    painter.paint(pair.content, pair.style, recipe, show, NUM_LOOKS)
    return looks


def key(side: int, pair: Pair, name: str, weights: str, precision: str) -> str:
    """A name for one painting, which changes with all that determines it."""
    recipe = hashlib.sha256(RECIPES[name].to_json().encode()).hexdigest()[:12]
    return f"{side} {pair.content_name} {pair.style_name} {name} {recipe} {weights} {precision}"


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/quality.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="longest sides (default: 256 512)")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: all")
    parser.add_argument("--pairs", type=int, default=16, help="how many of the sixteen pairs (default: 16)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="default: auto")
    parser.add_argument("--again", action="store_true", help="paint what was painted before, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject(arguments.precision, Path(data_dir))
        painter, judge = Painter(subject.evaluator), Judge(subject.weights)
        painter.warm_up({name: RECIPES[name] for name in arguments.recipes})
        known = dict(_known())
        for side in arguments.sides:
            for pair in pairs(side)[: arguments.pairs]:
                for name in arguments.recipes:
                    own = key(side, pair, name, subject.weights.label, subject.precision)
                    if arguments.again or own not in known:
                        known[own] = paint(painter, judge, pair, RECIPES[name])
                        report.write("quality", {"paintings": known})
                        print(own, known[own][-1], flush=True)
    for side in arguments.sides:
        chosen = {
            name: [
                known[own]
                for pair in pairs(side)[: arguments.pairs]
                if (own := key(side, pair, name, subject.weights.label, subject.precision)) in known
            ]
            for name in arguments.recipes
        }
        print(f"\n{side} px, {arguments.pairs} pairs\n{_table(chosen)}")
        _plot(chosen, report.FOLDER / f"quality-{side}.png")


def _known() -> Mapping[str, list[Record]]:
    paintings = report.read("quality").get("paintings", {})
    assert isinstance(paintings, dict)
    return paintings


def _table(chosen: Mapping[str, Sequence[Sequence[Record]]]) -> str:
    """Means over the pairs; times and distances against the first recipe named, and pairs won on both distances."""
    first = next(iter(chosen))
    header = ["recipe", "seconds", f"time / {first}", "style", "content", f"better than {first} on both, pairs"]
    return report.table(header, [list(_row(name, chosen[name], chosen[first])) for name in chosen])


def _row(name: str, paintings: Sequence[Sequence[Record]], others: Sequence[Sequence[Record]]) -> Iterator[object]:
    results, rivals = [looks[-1] for looks in paintings], [looks[-1] for looks in others]
    yield name
    yield mean(number(result, "seconds") for result in results)
    yield mean(number(a, "seconds") / number(b, "seconds") for a, b in zip(results, rivals, strict=True))
    for distance in ("style", "content"):
        yield mean(number(result, distance) for result in results)
    better = [
        all(number(a, distance) < number(b, distance) for distance in ("style", "content"))
        for a, b in zip(results, rivals, strict=True)
    ]
    yield f"{sum(better)} of {len(better)}"


def number(record: Record, name: str) -> float:
    """A figure of a record."""
    value = record[name]
    assert isinstance(value, int | float)
    return float(value)


def _plot(chosen: Mapping[str, Sequence[Sequence[Record]]], path: Path) -> None:
    """Both distances against seconds, means over the pairs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, distance in zip(axes, ("style", "content"), strict=True):
        for name, paintings in chosen.items():
            looks = list(zip(*paintings, strict=False))
            seconds = [mean(number(look, "seconds") for look in column) for column in looks]
            axis.plot(
                seconds, [mean(number(look, distance) for look in column) for column in looks], marker="o", label=name
            )
        axis.set(xlabel="seconds", ylabel=f"{distance} distance", xscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
