"""What each choice of `standard` is worth: one choice changed at a time, at the same work, on the same pictures.

    python -m benchmarks.ablation [--side 256] [--pairs 4] [--variants NAME ...] [--precision auto]

Work is judged pixels, those of the halved canvas included; each variant's iterations are set so that it does as much as
`standard`, within 3 %. Style and content distances are those of `judgement`; they trade against each other, so a
variant is better where one falls and the other does not rise. The files are written where all variants are painted.
"""

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks import gallery, report
from benchmarks.experiments import (
    AveragePooled,
    CarryingAdam,
    Experiment,
    Moments,
    SlowingAdam,
    SlowingCarryingAdam,
    SparingLbfgs,
    WeighedMeans,
    with_moments,
)
from benchmarks.gallery import Gallery, Judged, Pair
from benchmarks.painting import SCHEDULE
from styleserve.costs import STYLE_TILE_SIDE
from styleserve.presets import PRESETS
from styleserve.recipes import LossDesign, Pyramid, Recipe, plan_scales

STANDARD = PRESETS["standard"]


def _scales(smallest_side: int, growth: float, last_share: float) -> Recipe:
    return dataclasses.replace(STANDARD, pyramid=Pyramid(smallest_side, growth, last_share, adds_detail=True))


def _design(loss: LossDesign) -> Recipe:
    return dataclasses.replace(STANDARD, loss=loss)


def _adam(average_decay: float, learning_rate: float) -> Recipe:
    settings = dataclasses.replace(STANDARD.adam, average_decay=average_decay, learning_rate=learning_rate)
    return dataclasses.replace(STANDARD, optimizer="adam", adam=settings)


def _layers(*weights: float) -> tuple[tuple[str, float], ...]:
    return tuple((f"block{block}_conv1", weight / sum(weights)) for block, weight in enumerate(weights, start=1))


VARIANTS: Mapping[str, Recipe] = {
    "standard": STANDARD,
    **{
        f"Adam, average {average}, step {step}": _adam(average, step)
        for average, step in ((0.9, 0.02), (0.9, 0.05), (0.9, 0.1), (0.0, 0.05), (0.99, 0.05))
    },
    "L-BFGS-B in each scale": dataclasses.replace(STANDARD, optimizer="lbfgsb"),
    "without the content's detail": dataclasses.replace(STANDARD, pyramid=Pyramid(64, 2.0, 0.5, adds_detail=False)),
    "one scale": dataclasses.replace(STANDARD, pyramid=None),
    "scales from 128, by 2": _scales(128, 2.0, 0.5),
    "scales from 64, by sqrt 2": _scales(64, math.sqrt(2), 0.5),
    "scales from 32, by 2": _scales(32, 2.0, 0.5),
    "a fifth of the iterations at the end": _scales(64, 2.0, 0.2),
    "four fifths of the iterations at the end": _scales(64, 2.0, 0.8),
    "style at one size": _design(dataclasses.replace(STANDARD.loss, style_sizes=1)),
    "deep layers weigh more, 1:1:1:2:3": _design(
        dataclasses.replace(STANDARD.loss, style_layers=_layers(1, 1, 1, 2, 3))
    ),
    "shallow layers weigh more, 3:2:1:1:1": _design(
        dataclasses.replace(STANDARD.loss, style_layers=_layers(3, 2, 1, 1, 1))
    ),
    "content by weight 0.4, no bound": dataclasses.replace(
        _design(dataclasses.replace(STANDARD.loss, bounds_content=False)), content_weight=0.4
    ),
    "no total variation": dataclasses.replace(STANDARD, total_variation_weight=0.0),
    "total variation 20": dataclasses.replace(STANDARD, total_variation_weight=20.0),
    "from noise": dataclasses.replace(STANDARD, init="noise"),
    "the loss of the published schedule": dataclasses.replace(
        SCHEDULE, preset="standard", adam=STANDARD.adam, pyramid=STANDARD.pyramid
    ),
}

_MOMENTS = _design(with_moments(STANDARD.loss))

#: The same for what a recipe has no words for.
EXPERIMENTS: Mapping[str, tuple[Recipe, Experiment]] = {
    "Adam, a step that falls from 0.05": (_adam(0.0, 0.05), Experiment(adam=SlowingAdam)),
    "Adam, moments carried, a step that falls from 0.02": (_adam(0.0, 0.02), Experiment(adam=SlowingCarryingAdam)),
    **{
        f"Adam, moments carried, average {average}, step {step}": (_adam(average, step), Experiment(adam=CarryingAdam))
        for average, step in ((0.0, 0.02), (0.9, 0.02), (0.99, 0.02), (0.9, 0.01), (0.9, 0.05))
    },
    "L-BFGS, three pairs in bfloat16": (STANDARD, Experiment(lbfgs=SparingLbfgs)),
    "average pooling": (STANDARD, Experiment(network=AveragePooled)),
    "means count half in a Gram": (STANDARD, Experiment(network=WeighedMeans(0.5))),
    "means count twice in a Gram": (STANDARD, Experiment(network=WeighedMeans(2.0))),
    "means count four times in a Gram": (STANDARD, Experiment(network=WeighedMeans(4.0))),
    "means and covariances": (_MOMENTS, Experiment(network=Moments())),
    "means and covariances at the last scale": (
        _MOMENTS,
        Experiment(network=Moments(), coarse_loss=STANDARD.loss),
    ),
    "means and covariances in blocks 4 and 5": (
        _design(with_moments(STANDARD.loss, blocks=(4, 5))),
        Experiment(network=Moments()),
    ),
    "means and covariances of every fourth channel": (_MOMENTS, Experiment(network=Moments(stride=4))),
    "block 5 at the full size alone": (
        STANDARD,
        Experiment(coarse_loss=dataclasses.replace(STANDARD.loss, style_layers=_layers(1, 1, 1, 1))),
    ),
}


def work(recipe: Recipe, height: int, width: int) -> float:
    """Judged megapixels of a recipe, those of the halved canvas included."""
    scales = plan_scales(recipe, height, width)
    return recipe.loss.seen_pixels * sum(scale.height * scale.width * (scale.iterations + 1) for scale in scales) / 1e6


def at_equal_work(recipe: Recipe, height: int, width: int) -> Recipe:
    """The recipe with as many iterations as make its work that of `standard`."""
    goal = work(STANDARD, height, width)
    candidates = (dataclasses.replace(recipe, iterations=iterations) for iterations in range(10, 2000))
    return min(candidates, key=lambda candidate: abs(work(candidate, height, width) - goal))


_NAMES = [*VARIANTS, *EXPERIMENTS]


def main() -> None:
    """Paint, print, and write docs/benchmarks/ablation.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="longest side in pixels (default: 256)")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen pairs (default: 4)")
    parser.add_argument("--variants", nargs="+", choices=_NAMES, default=_NAMES, help="default: all")
    parser.add_argument("--precision", choices=gallery.PRECISIONS, default="auto", help="default: auto")
    arguments = parser.parse_args()
    if arguments.side > STYLE_TILE_SIDE and not EXPERIMENTS.keys().isdisjoint(arguments.variants):
        allowed = f"up to {STYLE_TILE_SIDE} with experiments, whose networks have to see styles whole"
        parser.error(f"--side: got {arguments.side}; allowed: {allowed}")
    chosen = gallery.pairs(arguments.side, arguments.pairs)
    results: dict[str, list[Judged]] = {}
    with gallery.opened(arguments.precision) as pictures:
        for name in arguments.variants:
            if name in VARIANTS:
                results[name] = _results(pictures, chosen, VARIANTS[name])
    for name in arguments.variants:
        if name in EXPERIMENTS:
            recipe, experiment = EXPERIMENTS[name]
            with gallery.opened(arguments.precision, experiment) as beside:
                results[name] = _results(beside, chosen, dataclasses.replace(recipe, preset=name))
    means = {
        name: (mean(one.style for one in judged), mean(one.content for one in judged))
        for name, judged in results.items()
    }
    print(report.table(["variant", "style", "content"], [[name, *pair] for name, pair in means.items()]))
    if set(results) == set(_NAMES):
        path = report.write(
            "ablation",
            {
                "weights": pictures.subject.weights.label,
                "precision": pictures.subject.precision,
                "side": arguments.side,
                "painted on": sorted({one.machine for judged in results.values() for one in judged}),
                "pairs": [pair.name for pair in chosen],
                "distances": {name: [[one.style, one.content] for one in judged] for name, judged in results.items()},
            },
        )
        _plot(means, path.with_suffix(".png"))


def _results(pictures: Gallery, pairs: Sequence[Pair], recipe: Recipe) -> list[Judged]:
    return [pictures.result(pair, at_equal_work(recipe, *pair.content.shape[:2])) for pair in pairs]


def _plot(means: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Both distances of every variant, a line each, with those of `standard` to hold them against."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(means)[::-1]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 0.22 * len(names)), sharey=True, layout="constrained")
    for axis, which, label in zip(axes, (0, 1), ("style distance", "content distance"), strict=True):
        axis.axvline(means["standard"][which], color="tab:red", linewidth=0.8)
        axis.plot([means[name][which] for name in names], names, "o", color="tab:blue")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
