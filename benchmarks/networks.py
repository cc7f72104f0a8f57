"""The light network beside VGG19: its pictures, judged by VGG19 in float32, and the seconds of an evaluation.

    python -m benchmarks.networks [--sides 256 512] [--pairs 16 4] [--beside classic standard] [--weights FILE]
                                  [--timed float32 bfloat16]

Pairs of `benchmarks.quality`, to whose pictures no training image belongs. `standard` by the light network stands
beside `standard` and `classic` by VGG19, whose paintings are taken from the gallery where they are there already in
one of `--reference-precision`. Evaluations, loss and gradient as `standard` and `classic` ask for them, are timed in
turn, in each of the precisions of `--timed`. The cosines are those of the gradients to the pixels of both networks, at
the content and on the way. A grid of pictures by both, in styles that the project draws itself, goes to
docs/light.jpg. With `--distances-only` nothing is timed or drawn. What the file has of other sides and numbers of pairs
by the same weights stays.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median

import numpy as np
from PIL import Image

from benchmarks import gallery, report, subjects
from benchmarks.gallery import Gallery, Pair
from styleserve import images
from styleserve.evaluation import Pixels
from styleserve.model.light import FILE, light
from styleserve.model.weights import Weights
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe
from styleserve.workers.vgg_engine import PrecisionChoice

GRID = subjects.ROOT / "docs" / "light.jpg"
_GRID_CELL = 256
_STANDARD, _CLASSIC = PRESETS["standard"], PRESETS["classic"]
_BESIDE = ("classic", "standard")


def main() -> None:
    """Paint, judge, time, print, and write docs/benchmarks/networks.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gallery.add_sides(parser)
    parser.add_argument("--beside", nargs="+", choices=_BESIDE, default=list(_BESIDE), help="VGG19's (default: both)")
    parser.add_argument("--weights", type=Path, default=FILE, help="another file that training.export wrote")
    parser.add_argument(
        "--reference-precision",
        nargs="+",
        choices=gallery.PRECISIONS,
        default=["auto"],
        help="VGG19's; what is painted in none of them is painted in the last (default: auto)",
    )
    parser.add_argument("--distances-only", action="store_true", help="time and draw nothing")
    parser.add_argument(
        "--timed", nargs="+", choices=gallery.PRECISIONS, default=["auto"], help="of evaluations (default: auto)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="turns of each network that are timed (default: 7)")
    arguments = parser.parse_args()
    weights = light(arguments.weights)
    results = _known(weights.label)
    beside = {preset: PRESETS[preset] for preset in arguments.beside}
    with ExitStack() as opened:
        of_vgg19 = [opened.enter_context(gallery.opened(precision)) for precision in arguments.reference_precision]
        of_light = opened.enter_context(gallery.opened("auto", weights=weights))
        for side, num_pairs in zip(arguments.sides, arguments.pairs, strict=True):
            pairs = gallery.pairs(side, num_pairs)
            header, rows = _quality(of_vgg19, of_light, pairs, beside)
            print(f"\n{side} px\n{report.table(header, rows)}", flush=True)
            results[f"{side}, {num_pairs} pairs"] = [dict(zip(header, row, strict=True)) for row in rows]
        if not arguments.distances_only:
            _draw_grid([opened.enter_context(gallery.opened("auto")), of_light])
            results |= _timed(weights, arguments.timed, arguments.sides, arguments.repeats)
    report.write("networks", results)


def _known(weights: str) -> dict[str, report.Value]:
    """What is written of these weights, but for the machine."""
    written = {name: value for name, value in report.read("networks").items() if name != "machine"}
    return written if written.get("weights") == weights else {"weights": weights}


def _timed(
    weights: Weights, precisions: Sequence[PrecisionChoice], sides: Sequence[int], repeats: int
) -> dict[str, report.Value]:
    """Seconds of evaluations, and cosines of gradients, in each precision at each side."""
    timed: dict[str, report.Value] = {}
    for precision in precisions:
        with gallery.opened(precision) as of_vgg19, gallery.opened(precision, weights=weights) as of_light:
            for side in sides:
                pairs = gallery.pairs(side, 4)
                own: report.Value = {
                    "evaluation": evaluations(of_vgg19, of_light, pairs[0], repeats),
                    "cosine": cosines(of_vgg19, of_light, pairs),
                }
                timed[f"{side} evaluation, {of_light.subject.precision}"] = own
                print(side, of_light.subject.precision, own, flush=True)
    return timed


def _draw_grid(galleries: Sequence[Gallery]) -> None:
    """A row a network, a column a photograph in a style of its own."""
    contents = [(name, _square(content)) for name, content in subjects.photographs().items()]
    pairs = [
        Pair(content_name, style_name, content, subjects.read_style(path))
        for (content_name, content), (style_name, path) in zip(contents, subjects.DRAWN_STYLES.items(), strict=True)
    ]
    rows = [np.concatenate([own.picture(pair, _STANDARD) for pair in pairs], axis=1) for own in galleries]
    Image.fromarray(images.to_uint8(np.concatenate(rows))).save(GRID, quality=88)


def _square(content: Pixels) -> Pixels:
    """The middle of a photograph."""
    height, width = content.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images.resize(content[top : top + side, left : left + side], _GRID_CELL, _GRID_CELL)


def _quality(
    of_vgg19: Sequence[Gallery], of_light: Gallery, pairs: Sequence[Pair], beside: Mapping[str, Recipe]
) -> tuple[list[str], list[list[report.Value]]]:
    """Distances of each pair by each network, and their means; the factors, to the last of VGG19's, are of means."""
    rows: list[list[report.Value]] = []
    for pair in pairs:
        results = [gallery.owner(of_vgg19, pair, recipe).result(pair, recipe) for recipe in beside.values()]
        results.append(of_light.result(pair, _STANDARD))
        rows.append([pair.name, *(distance for result in results for distance in (result.style, result.content))])
        print(report.table([], [rows[-1]]).splitlines()[-1], flush=True)
    header = ["pair", *(f"{name}, {what}" for name in (*beside, "light") for what in ("style", "content"))]
    columns = list(zip(*rows, strict=True))[1:]
    means = [mean(map(float, column)) for column in columns]
    unsaid = [""] * (len(means) - 2)
    factors: list[report.Value] = [f"light / {list(beside)[-1]}", *unsaid, means[-2] / means[-4], means[-1] / means[-3]]
    return header, [*rows, ["mean", *means], factors]


def evaluations(of_vgg19: Gallery, of_light: Gallery, pair: Pair, repeats: int) -> dict[str, report.Value]:
    """Median seconds of an evaluation by each network, in turn, and how many times cheaper the light one is."""
    told: dict[str, report.Value] = {}
    canvas = images.noise(pair.content.shape[0], pair.content.shape[1], seed=0)
    evaluators = [own.subject.evaluator for own in (of_vgg19, of_light)]
    for recipe in (_STANDARD, _CLASSIC):
        objectives = [own.objective(pair.content, [pair.style], recipe) for own in evaluators]
        seconds: list[list[float]] = [[], []]
        for turn in range(repeats + 1):
            for rank, (evaluator, objective) in enumerate(zip(evaluators, objectives, strict=True)):
                begun = time.perf_counter()
                for _ in range(1 + 3 * rank):
                    evaluator.evaluate([canvas], [objective])
                if turn > 0:
                    seconds[rank].append((time.perf_counter() - begun) / (1 + 3 * rank))
        of_each = [median(own) for own in seconds]
        told[f"{recipe.preset}, vgg19 s"], told[f"{recipe.preset}, light s"] = of_each
        told[f"{recipe.preset}, times cheaper"] = of_each[0] / of_each[1]
    return told


def cosines(of_vgg19: Gallery, of_light: Gallery, pairs: Sequence[Pair]) -> dict[str, report.Value]:
    """Cosines of the gradients of `standard`, means over the pairs, at contents and at what the light one paints."""
    at_content, at_painting = [], []
    for pair in pairs:
        at_content.append(_cosine(of_vgg19, of_light, pair, pair.content))
        at_painting.append(_cosine(of_vgg19, of_light, pair, of_light.picture(pair, PRESETS["draft"])))
    return {"at the content": mean(at_content), "at a draft": mean(at_painting)}


def _cosine(of_vgg19: Gallery, of_light: Gallery, pair: Pair, canvas: Pixels) -> float:
    gradients = []
    for own in (of_vgg19, of_light):
        objective = own.subject.evaluator.objective(pair.content, [pair.style], _STANDARD)
        (evaluation,) = own.subject.evaluator.evaluate([canvas], [objective])
        assert evaluation is not None
        gradients.append(evaluation.gradient.astype(np.float64).ravel())
    one, other = gradients
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


if __name__ == "__main__":
    main()
