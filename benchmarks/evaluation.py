"""One evaluation (loss and gradient) against a plain PyTorch loop, and against the machine's own matrix product.

    python -m benchmarks.evaluation [--sides 256 512] [--repeats 7] [--steps 3]

The `classic` objective, batch 1, Adam. The engine's step runs in float32 and in bfloat16, PyTorch's in float32 as its
users run it, in both of its memory formats, each framework in a process of its own that waits while the others have
their turn. First it is shown that they compute the same: losses and gradients agree within 1e-3 in float32. The share
of the machine is the work of the convolutions alone, forward and back to the pixels, per second, over that of the best
of several square matrix products of the same type.

The targets are 0.5 of PyTorch's seconds in bfloat16 on a processor that multiplies it, 0.85 in float32, and 80 % of the
machine. PyTorch comes with the extra `bench`.
"""

import argparse
import functools
import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import report, subjects
from benchmarks.turns import Answers, Contestant, seconds_per
from styleserve import images
from styleserve.evaluation import Pixels
from styleserve.model.style_pictures import decoded_side, style_size
from styleserve.model.weights import kernel_shapes
from styleserve.optimizers.adam import Adam
from styleserve.presets import PRESETS
from styleserve.workers.vgg_engine import PrecisionChoice

CLASSIC = PRESETS["classic"]
MEMORY_FORMATS = ("contiguous", "channels_last")
PRECISIONS = ("float32", "bfloat16")
MATRIX_SIDES = (1024, 2048, 4096)
AGREEMENT = 1e-3


def engine(precision: PrecisionChoice, data_dir: Path) -> Answers:
    """The engine's Adam in this process."""
    subject = subjects.subject(precision, data_dir)
    adam = Adam(subject.evaluator)
    dtype = tf.as_dtype(precision)
    product = tf.function(tf.matmul, autograph=False)
    runs = {}

    def judge(side: int) -> tuple[list[float], Pixels]:
        content = subjects.photograph(side)
        objective = subject.evaluator.objective(content, [subject.style], CLASSIC)
        runs[side] = adam.start(_canvas(side), objective, CLASSIC, iterations=10**6)
        (evaluation,) = subject.evaluator.evaluate([_canvas(side)], [objective])
        assert evaluation is not None
        losses = evaluation.losses
        return [losses.total, losses.content, losses.style, losses.total_variation], evaluation.gradient

    def seconds(side: int, steps: int) -> float:
        return seconds_per(lambda: adam.step([runs[side]]), steps)

    def products() -> list[float]:
        """Operations a second of a matrix product, one a side."""

        def multiply(matrix: tf.Tensor) -> None:
            product(matrix, matrix)[0, 0].numpy()

        speeds = []
        for side in MATRIX_SIDES:
            matrix = tf.cast(tf.random.stateless_normal([side, side], [0, 1]), dtype)
            spent = seconds_per(functools.partial(multiply, matrix), 2)
            speeds.append(2 * side**3 / spent)
        return speeds

    return {"judge": judge, "seconds": seconds, "products": products, "weights": lambda: subject.weights.label}


def convolution_work(side: int, deepest: str) -> int:
    """Operations of the convolutions up to `deepest`: 2 a multiply-add, once forward and once back to the pixels."""
    work = 0
    for name, (height, width, channels, filters) in kernel_shapes().items():
        positions = (side // 2 ** (int(name[len("block")]) - 1)) ** 2
        work += 2 * 2 * positions * height * width * channels * filters
        if name == deepest:
            break
    return work


def _canvas(side: int) -> Pixels:
    """A canvas that is off the content, so that no loss is zero."""
    return np.asarray((subjects.photograph(side) + images.noise(side, side, seed=0)) / 2, np.float32)


def _style(side: int) -> Pixels:
    """The style as the engine sees it for a canvas of that side."""
    data = next(iter(subjects.styles().values())).data
    style = images.decode(data, images.ImageLimits(), fit_side=decoded_side(side)).pixels
    return images.resize(style, *style_size(style.shape[0], style.shape[1], side))


def _difference(ours: tuple[list[float], Pixels], theirs: tuple[list[float], Pixels]) -> float:
    """The largest relative difference among the losses and the gradient's norm."""
    losses = np.abs(np.subtract(ours[0], theirs[0])) / np.abs(theirs[0])
    return max(float(losses.max()), float(np.linalg.norm(ours[1] - theirs[1]) / np.linalg.norm(theirs[1])))


def main() -> None:
    """Measure, print, and write docs/benchmarks/evaluation.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="sides of the canvas in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="turns that each has after its warm-up (default: 7)")
    parser.add_argument("--steps", type=int, default=3, help="evaluations in a turn at 256 pixels (default: 3)")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit("needs PyTorch to compare with: pip install -c constraints.txt -e '.[bench]', or run `make bench`")
    from benchmarks import plain_torch

    with (
        tempfile.TemporaryDirectory() as data_dir,
        Contestant(engine, "float32", Path(data_dir)) as float32,
        Contestant(engine, "bfloat16", Path(data_dir)) as bfloat16,
        Contestant(plain_torch.answers, subjects.weights_choice()) as torch,
    ):
        engines = {"float32": float32, "bfloat16": bfloat16}
        results = [
            _compare(engines, torch, side, arguments.repeats, max(1, arguments.steps * 256**2 // side**2))
            for side in arguments.sides
        ]
        weights = float32.ask("weights")
    _print_and_write(weights, results)


def _compare(engines: dict[str, Contestant], torch: Contestant, side: int, repeats: int, steps: int) -> dict[str, Any]:
    """All that is measured at one side; seconds are medians over the turns."""
    judged = {precision: engine.ask("judge", side) for precision, engine in engines.items()}
    pictures = subjects.photograph(side), _style(side), _canvas(side)
    theirs = {kind: torch.ask("judge", *pictures, kind) for kind in MEMORY_FORMATS}
    differences = {precision: _difference(own, theirs["contiguous"]) for precision, own in judged.items()}
    assert differences["float32"] < AGREEMENT, f"not the same objective: they differ by {differences['float32']:.2g}"
    assert _difference(theirs["channels_last"], theirs["contiguous"]) < AGREEMENT
    turns: dict[str, list[float]] = {}
    products: dict[str, list[list[float]]] = {precision: [] for precision in engines}
    for repeat in range(repeats + 1):
        times = {f"PyTorch {kind}": torch.ask("seconds", side, kind, steps) for kind in MEMORY_FORMATS}
        times |= {name: contestant.ask("seconds", side, steps) for name, contestant in engines.items()}
        speeds = {name: contestant.ask("products") for name, contestant in engines.items()}
        if repeat > 0:
            for name, spent in times.items():
                turns.setdefault(name, []).append(spent)
            for name, measured in speeds.items():
                products[name].append(measured)
    seconds = {name: statistics.median(spent) for name, spent in turns.items()}
    print(f"{side}: differences from PyTorch {_show(differences)}; seconds {_show(seconds)}", flush=True)
    return {
        "side": side,
        "differences": differences,
        "turns_s": turns,
        "seconds": seconds,
        "work": convolution_work(side, CLASSIC.loss.content_layers[-1][0]),
        "products_per_s": {
            name: max(statistics.median(column) for column in zip(*measured, strict=True))
            for name, measured in products.items()
        },
    }


def _show(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _rows(results: list[dict[str, Any]]) -> list[list[Any]]:
    """One row a side and precision: both seconds, their ratio, and the share of the machine."""
    rows = []
    for result in results:
        seconds = result["seconds"]
        theirs = min(seconds[f"PyTorch {kind}"] for kind in MEMORY_FORMATS)
        for precision in PRECISIONS:
            speed, product = result["work"] / seconds[precision], result["products_per_s"][precision]
            ratio = seconds[precision] / theirs
            head = [result["side"], precision, seconds[precision], theirs, ratio]
            rows.append([*head, speed / 1e9, product / 1e9, speed / product])
    return rows


def _print_and_write(weights: str, results: list[dict[str, Any]]) -> None:
    header = ["side", "precision", "engine, s", "PyTorch float32, s", "ratio"]
    rows = _rows(results)
    print(report.table([*header, "engine, GFLOP/s", "matrix product, GFLOP/s", "share of the machine"], rows))
    plot(rows, report.write("evaluation", {"weights": weights, "sides": results}).with_suffix(".png"))


def plot(rows: list[list[Any]], path: Path) -> None:
    """Both measures beside their targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (ratios, shares) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    labels = [f"{row[0]} px\n{row[1]}" for row in rows]
    ratios.bar(labels, [row[4] for row in rows], color=["C0", "C1"] * len(rows))
    for position, row in enumerate(rows):
        target = 0.5 if row[1] == "bfloat16" else 0.85
        ratios.hlines(target, position - 0.4, position + 0.4, colors="black", linestyles="dashed")
    ratios.set(ylabel="seconds, over PyTorch's in float32")
    shares.bar(labels, [row[7] for row in rows], color=["C0", "C1"] * len(rows))
    shares.axhline(0.8, color="black", linestyle="dashed")
    shares.set(ylabel="operations a second, over a matrix product's")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
