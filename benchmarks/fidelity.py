"""More than one fidelity: do coarse scales or early iterations on the light network save time where VGG19 paints?

    python -m benchmarks.fidelity [--pairs 4] [--side 256] [--weights FILE]

`standard` in four ways, looked at on the way and judged by VGG19 in float32: by VGG19 alone, with all iterations and
with shares of them at every scale; by the light network at the coarse scales and VGG19 at the last; by the light
network at all scales and VGG19 at the last once more; by the light network alone. It pays where a way with both lies
below VGG19 alone at the same seconds, in both distances.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks import gallery, report, subjects
from benchmarks.gallery import Pair
from benchmarks.judgement import Judge
from styleserve import detail, images
from styleserve.evaluation import Pixels
from styleserve.model.light import FILE, light
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.optimizers import Run
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe, Scale, plan_scales

_STANDARD = PRESETS["standard"]
_SHARES = (0.15, 0.3, 0.5, 0.7, 1.0)
#: Evaluations by VGG19 at the last scale after which a picture is judged.
_LOOKS = (5, 10, 20, 35, 50, 75)


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of the way: a network at a scale, and after which evaluations there its picture is judged."""

    network: str
    scale: Scale
    looks: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A picture on a way, after so many evaluations by VGG19 at the last scale, or a share of the recipe."""

    way: str
    amount: float
    seconds: float
    style: float
    content: float


class Studio:
    """Paints ways with two evaluators, and judges."""

    def __init__(self, light_weights: Path, folder: Path) -> None:
        self._evaluators: dict[str, PerceptualEvaluator] = {}
        for network, weights in (("vgg19", None), ("light", light(light_weights))):
            self._evaluators[network] = subjects.subject("auto", folder / network, weights=weights).evaluator
        self._optimizers = {network: every_optimizer(own)["lbfgs"] for network, own in self._evaluators.items()}
        self._judge = Judge(subjects.vgg19())

    def paint(self, pair: Pair, legs: Sequence[Leg]) -> Iterator[tuple[int, float, Pixels]]:
        """Yields evaluations of a leg, seconds of painting and the picture, wherever a leg wants it looked at."""
        seconds, begun = 0.0, time.perf_counter()
        run: Run | None = None
        recipe = _STANDARD
        for leg in legs:
            recipe, _ = self._evaluators[leg.network].calibrate(pair.content, _STANDARD)
            run = self._begin(run, pair, leg, recipe)
            while run.ended is None:
                self._optimizers[leg.network].step([run])
                if run.evaluations in leg.looks:
                    seconds += time.perf_counter() - begun
                    yield run.evaluations, seconds, detail.grow(run.result(), pair.content, recipe)
                    begun = time.perf_counter()

    def point(self, way: str, amount: float, seconds: float, picture: Pixels, pair: Pair) -> Point:
        """What a picture is worth."""
        found = self._judge.judge(picture, pair.content, pair.style)
        return Point(way, amount, seconds, found.style, found.content)

    def _begin(self, run: Run | None, pair: Pair, leg: Leg, recipe: Recipe) -> Run:
        scale, optimizer = leg.scale, self._optimizers[leg.network]
        small = images.resize(pair.content, scale.height, scale.width)
        objective = self._evaluators[leg.network].objective(small, [pair.style], recipe)
        canvas = small if run is None else detail.grow(run.result(), small, recipe)
        begun: Run = optimizer.start(canvas, objective, recipe, scale.iterations)
        return begun


def ways(scales: Sequence[Scale]) -> Iterator[tuple[str, float | None, list[Leg]]]:
    """Each way by its name, with the share of the recipe that it is, and its legs; no share where looks say it."""
    *coarse, last = scales
    for share in _SHARES:
        shrunk = [dataclasses.replace(scale, iterations=max(5, round(share * scale.iterations))) for scale in scales]
        ends = [()] * len(coarse) + [(shrunk[-1].iterations + 1,)]
        yield "vgg19", share, [Leg("vgg19", scale, looks) for scale, looks in zip(shrunk, ends, strict=True)]
    final = Leg("vgg19", last, _LOOKS)
    yield "light, then vgg19 at the last scale", None, [*(Leg("light", scale) for scale in coarse), final]
    yield "light at all scales, then vgg19", None, [*(Leg("light", scale) for scale in scales), final]
    yield "light", 1.0, [*(Leg("light", scale) for scale in coarse), Leg("light", last, (last.iterations + 1,))]


def measure(studio: Studio, pairs: Sequence[Pair]) -> list[Point]:
    """Every way's points, means over the pairs; a first pair is painted before, for the sake of traces and kernels."""
    seen: dict[tuple[str, float], list[Point]] = {}
    for number, pair in enumerate([pairs[0], *pairs]):
        scales = plan_scales(_STANDARD, *pair.content.shape[:2])
        if number == 0:
            scales = tuple(dataclasses.replace(scale, iterations=3) for scale in scales)
        for way, share, legs in ways(scales):
            for evaluations, seconds, picture in studio.paint(pair, legs):
                if number > 0:
                    point = studio.point(way, share or evaluations, seconds, picture, pair)
                    seen.setdefault((way, point.amount), []).append(point)
                    print(pair.name, dataclasses.astuple(point), flush=True)
    return [
        Point(
            *(way, amount),
            *(mean(getattr(point, name) for point in points) for name in ("seconds", "style", "content")),
        )
        for (way, amount), points in seen.items()
    ]


def plot(points: Sequence[Point], path: Path) -> None:
    """Both distances over seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for way in dict.fromkeys(point.way for point in points):
        own = [point for point in points if point.way == way]
        for axis, name in zip(axes, ("style", "content"), strict=True):
            axis.plot([point.seconds for point in own], [getattr(point, name) for point in own], "o-", label=way)
            axis.set(xlabel="seconds", ylabel=f"{name} distance")
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/fidelity.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen pairs (default: 4)")
    parser.add_argument("--side", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--weights", type=Path, default=FILE, help="another file that training.export wrote")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        points = measure(Studio(arguments.weights, Path(folder)), gallery.pairs(arguments.side, arguments.pairs))
    rows: list[list[report.Value]] = [list(dataclasses.astuple(point)) for point in points]
    print(report.table([field.name for field in dataclasses.fields(Point)], rows))
    results: dict[str, report.Value] = {
        "side": arguments.side,
        "pairs": arguments.pairs,
        "points": [dataclasses.asdict(point) for point in points],
    }
    plot(points, report.write("fidelity", results).with_suffix(".png"))


if __name__ == "__main__":
    main()
