"""What new sizes cost: laps of fifty jobs of fifty sizes that the engine has never seen, and of fifty jobs of one size.

    python -m benchmarks.sizes [--jobs 50] [--iterations 8] [--laps 3] [--memory-laps 8]

One engine in one process, jobs one after the other, the `classic` recipe with Adam in the machine's own precision. Both
kinds of lap have the same number of pixels, take turns, and every lap of different sizes has new ones. More laps of new
sizes follow, of one iteration a job, for the memory alone, which is read after every tenth job of a different size. The
target is at most 10 % more for different sizes than for one, and memory that levels off.
"""

import argparse
import dataclasses
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, subjects
from styleserve import images
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Pixels
from styleserve.model.device import MemoryMeter, Pool
from styleserve.optimizers.adam import Adam
from styleserve.presets import PRESETS

SMALLEST_SIDE, SIDE_STEP = 64, 2
JOBS_BETWEEN_READINGS = 10

Size = tuple[int, int]


class Painter:
    """An engine that paints one job after the other, and gives back what none needs, as a server's does."""

    def __init__(self, subject: subjects.Subject) -> None:
        meter = MemoryMeter(is_gpu=False, pool=Pool(is_gpu=False))
        self._engine = Engine(
            subject.evaluator, {"adam": Adam(subject.evaluator)}, lambda _: None, give_back=meter.settle
        )
        self._style = subject.style
        self._num_jobs = 0

    def paint(self, content: Pixels, iterations: int) -> None:
        """One job, from its admission to its picture."""
        self._num_jobs += 1
        recipe = dataclasses.replace(PRESETS["classic"], iterations=iterations)
        self._engine.accept(JobSpecification(f"job-{self._num_jobs}", content, (self._style,), recipe))
        while self._engine.step():
            pass


def different_sizes(num_jobs: int, laps: int) -> list[list[Size]]:
    """For each lap as many (height, width) as there are jobs, none of them twice in all laps."""
    sides = [SMALLEST_SIDE + SIDE_STEP * index for index in range(num_jobs)]
    shifts = random.Random(0).sample(range(num_jobs), laps)
    return [[(side, sides[(index + shift) % num_jobs]) for index, side in enumerate(sides)] for shift in shifts]


def seconds_per_megapixel(
    painter: Painter, contents: Sequence[Pixels], iterations: int, memory_mb: list[float] | None = None
) -> float:
    """Seconds of a lap over the megapixels of its pictures; notes the memory in use after every tenth job."""
    spent, num_pixels = 0.0, 0
    for number, content in enumerate(contents, start=1):
        begun = time.perf_counter()
        painter.paint(content, iterations)
        spent += time.perf_counter() - begun
        num_pixels += content.shape[0] * content.shape[1]
        if memory_mb is not None and number % JOBS_BETWEEN_READINGS == 0:
            memory_mb.append(_resident_mb())
    return spent / (num_pixels / 1e6)


def main() -> None:
    """Measure, print, and write docs/benchmarks/sizes.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50, help="jobs in a lap (default: 50)")
    parser.add_argument("--iterations", type=int, default=8, help="iterations of a job (default: 8)")
    parser.add_argument("--laps", type=int, default=3, help="laps of each kind (default: 3)")
    parser.add_argument("--memory-laps", type=int, default=8, help="laps of different sizes after them (default: 8)")
    arguments = parser.parse_args()
    photograph = subjects.photograph(256)
    first, *laps = different_sizes(arguments.jobs, 1 + arguments.laps + arguments.memory_laps)
    timed, others = [first[:JOBS_BETWEEN_READINGS], *laps[: arguments.laps]], laps[arguments.laps :]
    memory_mb: list[float] = []
    different, alike = [], []
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        painter = Painter(subject)
        for sizes in timed:
            side = round(math.sqrt(statistics.mean(height * width for height, width in sizes)))
            same = [images.resize(photograph, side, side)] * len(sizes)
            alike.append(seconds_per_megapixel(painter, same, arguments.iterations))
            contents = [images.resize(photograph, *size) for size in sizes]
            different.append(seconds_per_megapixel(painter, contents, arguments.iterations, memory_mb))
        for sizes in others:
            contents = [images.resize(photograph, *size) for size in sizes]
            seconds_per_megapixel(painter, contents, 1, memory_mb)
    ratios = [new / same for new, same in zip(different, alike, strict=True)][1:]
    header = [
        "sizes",
        "s per megapixel, lap by lap",
        "ratio",
        "MB at first, after the timed laps, half of the others, all",
    ]
    num_timed = sum(len(sizes) for sizes in timed) // JOBS_BETWEEN_READINGS
    levels = memory_mb[0], memory_mb[num_timed - 1], memory_mb[(num_timed + len(memory_mb)) // 2 - 1], memory_mb[-1]
    rows: list[list[object]] = [
        ["one", _list(alike[1:]), "", ""],
        ["different", _list(different[1:]), statistics.median(ratios), " ".join(f"{level:.0f}" for level in levels)],
    ]
    print(report.table(header, rows))
    results: dict[str, report.Value] = {
        "weights": subject.weights.label,
        "precision": subject.precision,
        "jobs": arguments.jobs,
        "iterations": arguments.iterations,
        "seconds_per_megapixel": {"different": different[1:], "one": alike[1:]},
        "memory_mb": memory_mb,
    }
    plot(memory_mb, report.write("sizes", results).with_suffix(".png"))


def plot(memory_mb: Sequence[float], path: Path) -> None:
    """The memory in use against the jobs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    axes.plot([JOBS_BETWEEN_READINGS * (number + 1) for number in range(len(memory_mb))], memory_mb, marker="o")
    axes.set(xlabel="jobs of different sizes", ylabel="memory in use, MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _list(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _resident_mb() -> float:
    """Resident memory of this process, as Linux tells it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
