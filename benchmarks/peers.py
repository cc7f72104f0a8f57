"""Our curves of style against content distance, over strengths, beside the points of what others do.

    python -m benchmarks.peers [--side 256] [--pairs 4] [--picture PAIR NAME SECONDS FILE ...]

The peers' recipes are carried out by our engine, which is faster than theirs: `classic` with Adam, also of 300
iterations, and with L-BFGS-B, and the published pyramid in its Gram form, whole, in a short version (150 iterations at
128 pixels, then 80 a scale) with four weights of the content, and in a shorter one (60, 30 and 20). Another program's
picture of one of the pairs joins them by `--picture`, with the seconds that it took: `--picture "astronaut
starry-night" wasserstein 1300 picture.png`. It cannot be painted here, so its point stays in the file, whatever is
painted again, until another picture of that name takes its place.

Style and content trade against each other, so a peer's point is held against our curve at the same content distance:
a quotient below 1 is nearer to the style. A point that lies beyond our curve's ends is held against the end.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import gallery, report
from benchmarks.gallery import Gallery, Pair
from benchmarks.painting import SCHEDULE, SHORT_SCHEDULE, SHORTEST_SCHEDULE
from benchmarks.quality import CLASSIC_BY_LBFGSB, RECIPES
from benchmarks.strength import of_strength
from styleserve import images
from styleserve.recipes import Recipe

STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
OURS = ("standard", "fine")
_MARKERS = "osD^v<>P*X"
PEERS: Mapping[str, Recipe] = {
    "classic": RECIPES["classic"],
    "classic, 300 iterations": dataclasses.replace(RECIPES["classic"], iterations=300),
    CLASSIC_BY_LBFGSB: RECIPES[CLASSIC_BY_LBFGSB],
    "schedule": SCHEDULE,
    **{
        f"short schedule, content {weight}": dataclasses.replace(SHORT_SCHEDULE, content_weight=weight)
        for weight in (0.015, 0.04, 0.08, 0.15)
    },
    "shortest schedule": SHORTEST_SCHEDULE,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A picture in the plane of both distances, and the seconds that another program took for it.

    Those of recipes are of whatever machine painted them, and say nothing.
    """

    name: str
    style: float
    content: float
    seconds: float | None = None


def main() -> None:
    """Paint, judge, print, and write docs/benchmarks/peers.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="longest side in pixels (default: 256)")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen pairs (default: 4)")
    parser.add_argument(
        "--picture",
        nargs=4,
        action="append",
        default=[],
        metavar=("PAIR", "NAME", "SECONDS", "FILE"),
        help="a picture that another program made of a pair",
    )
    arguments = parser.parse_args()
    with gallery.opened() as pictures:
        known = points_of_others(arguments.side, pictures.subject.weights.label)
        chosen = [
            pair
            for rank, pair in enumerate(gallery.pairs(arguments.side))
            if rank < arguments.pairs or pair.name in known
        ]
        curves = {pair.name: _curves(pictures, pair) for pair in chosen}
        peers: dict[str, list[Point]] = {}
        for pair in chosen:
            made = {point.name: point for point in _made(pictures, pair, arguments.picture)}
            others = {point.name: point for point in known.get(pair.name, [])} | made
            peers[pair.name] = [*_peers(pictures, pair), *others.values()]
    header = ["pair", "peer", "style", "content", "seconds"]
    header += [f"`{preset}` style / peer's" for preset in OURS]
    rows = [[name, *_row(point, curves[name])] for name, points in peers.items() for point in points]
    print(report.table(header, rows))
    path = report.write(
        "peers",
        {
            "weights": pictures.subject.weights.label,
            "precision": pictures.subject.precision,
            "painted on": sorted(pictures.machines),
            "side": arguments.side,
            "strengths": list(STRENGTHS),
            "points": [dict(zip(header, row, strict=True)) for row in rows],
            "curves": {
                name: {preset: [[point.style, point.content] for point in curve] for preset, curve in of_pair.items()}
                for name, of_pair in curves.items()
            },
        },
    )
    _plot(curves, peers, path.with_suffix(".png"))


def points_of_others(side: int, weights: str) -> dict[str, list[Point]]:
    """By pair, the points in the file that no recipe here paints; ends the program where writing would lose them."""
    written = report.read("peers")
    points = written.get("points", [])
    assert isinstance(points, list)
    found: dict[str, list[Point]] = {}
    for point in points:
        if point["peer"] not in PEERS:
            style, content, seconds = (float(point[name]) for name in ("style", "content", "seconds"))
            found.setdefault(point["pair"], []).append(Point(point["peer"], style, content, seconds))
    if found and (written["side"], written["weights"]) != (side, weights):
        sys.exit(
            f"peers.json has points of other programs' pictures at side {written['side']}, judged by "
            f"{written['weights']}; got side {side} and {weights}, which would overwrite them: move the file away first"
        )
    return found


def _curves(pictures: Gallery, pair: Pair) -> dict[str, list[Point]]:
    return {
        preset: [_point(pictures, pair, f"{strength}", of_strength(preset, strength)) for strength in STRENGTHS]
        for preset in OURS
    }


def _peers(pictures: Gallery, pair: Pair) -> Iterator[Point]:
    for name, recipe in PEERS.items():
        yield _point(pictures, pair, name, recipe)


def _made(pictures: Gallery, pair: Pair, files: Sequence[Sequence[str]]) -> Iterator[Point]:
    """Points of pictures that other programs made."""
    for pair_name, name, seconds, file in files:
        if pair_name == pair.name:
            picture = images.decode(Path(file).read_bytes(), images.ImageLimits()).pixels
            judgement = pictures.judge(images.resize(picture, *pair.content.shape[:2]), pair)
            yield Point(name, judgement.style, judgement.content, float(seconds))


def _point(pictures: Gallery, pair: Pair, name: str, recipe: Recipe) -> Point:
    judged = pictures.result(pair, recipe)
    return Point(name, judged.style, judged.content)


def _row(peer: Point, curves: Mapping[str, Sequence[Point]]) -> Iterator[report.Value]:
    yield from (peer.name, peer.style, peer.content, peer.seconds)
    for curve in curves.values():
        yield _style_at(curve, peer.content) / peer.style


def _style_at(curve: Sequence[Point], content: float) -> float:
    """The style distance of a curve at a content distance, between two of its points."""
    return float(np.interp(content, [point.content for point in curve], [point.style for point in curve]))


def _plot(
    curves: Mapping[str, Mapping[str, Sequence[Point]]], peers: Mapping[str, Sequence[Point]], path: Path
) -> None:
    """A panel a pair: our curves, and a mark a peer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.2 * len(curves), 4.2), layout="constrained")
    for axis, (name, of_pair) in zip(np.atleast_1d(panels), curves.items(), strict=True):
        for preset, curve in of_pair.items():
            axis.plot([point.content for point in curve], [point.style for point in curve], ".-", label=preset)
        for rank, point in enumerate(peers[name]):
            marker, color = _MARKERS[rank % len(_MARKERS)], f"C{(rank + len(OURS)) % 10}"
            axis.plot(point.content, point.style, marker, color=color, label=point.name)
        axis.set(title=name, xlabel="content distance", ylabel="style distance")
        axis.grid(alpha=0.3)
    figure.legend(*np.atleast_1d(panels)[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
