"""What new sizes cost: laps of fifty jobs of fifty sizes that the engine has never seen, and of fifty jobs of one size.

    python -m benchmarks.sizes [--jobs 50] [--laps 3] [--memory-laps 20]

One engine in one process, jobs one after the other, in the machine's own precision: whole jobs of the shortest preset,
`draft`, and jobs of 8 iterations of `classic`, in which whatever comes with a new size weighs more than in any preset.
Both kinds of lap have the same number of pixels, take turns, and every lap of different sizes has new ones. More laps
of new sizes follow, of one iteration a job, for the memory alone, which is read after every tenth job of a different
size. The target is at most 10 % more for different sizes than for one, and memory that levels off.
"""

import argparse
import dataclasses
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report, subjects
from styleserve import images
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Pixels
from styleserve.model.device import MemoryMeter, Pool
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS
from styleserve.recipes import Recipe

SMALLEST_SIDE, SIDE_STEP = 64, 2
JOBS_BETWEEN_READINGS = 10
JOBS: Mapping[str, Recipe] = {
    "draft": PRESETS["draft"],
    "classic, 8 iterations": dataclasses.replace(PRESETS["classic"], iterations=8),
}
#: Of the laps for the memory alone.
_BRIEF = dataclasses.replace(PRESETS["classic"], iterations=1)

Size = tuple[int, int]


class Painter:
    """An engine that paints one job after the other, and gives back what none needs, as a server's does."""

    def __init__(self, subject: subjects.Subject) -> None:
        meter = MemoryMeter(is_gpu=False, pool=Pool(is_gpu=False))
        optimizers = every_optimizer(subject.evaluator)
        self._engine = Engine(subject.evaluator, optimizers, lambda _: None, give_back=meter.settle)
        self._style = subject.style
        self._num_jobs = 0

    def paint(self, content: Pixels, recipe: Recipe) -> None:
        """One job, from its admission to its picture."""
        self._num_jobs += 1
        self._engine.accept(JobSpecification(f"job-{self._num_jobs}", content, (self._style,), recipe))
        while self._engine.step():
            pass


def different_sizes(num_jobs: int, laps: int) -> list[list[Size]]:
    """For each lap as many (height, width) as there are jobs, none of them twice in all laps."""
    sides = [SMALLEST_SIDE + SIDE_STEP * index for index in range(num_jobs)]
    shifts = random.Random(0).sample(range(num_jobs), laps)
    return [[(side, sides[(index + shift) % num_jobs]) for index, side in enumerate(sides)] for shift in shifts]


class Course:
    """Laps by one painter over one photograph; notes the memory in use after every tenth job of a different size."""

    def __init__(self, painter: Painter, photograph: Pixels) -> None:
        self.memory_mb: list[float] = []
        self._painter = painter
        self._photograph = photograph

    def of_different_sizes(self, sizes: Sequence[Size], recipe: Recipe) -> float:
        """Seconds of a lap over the megapixels of its pictures."""
        contents = [images.resize(self._photograph, *size) for size in sizes]
        return self._lap(contents, recipe, self.memory_mb)

    def of_one_size(self, sizes: Sequence[Size], recipe: Recipe) -> float:
        """The same of as many jobs of one size with about as many pixels as these have."""
        side = round(math.sqrt(statistics.mean(height * width for height, width in sizes)))
        contents = [images.resize(self._photograph, side, side)] * len(sizes)
        return self._lap(contents, recipe, memory_mb=[])

    def _lap(self, contents: Sequence[Pixels], recipe: Recipe, memory_mb: list[float]) -> float:
        spent, num_pixels = 0.0, 0
        for number, content in enumerate(contents, start=1):
            begun = time.perf_counter()
            self._painter.paint(content, recipe)
            spent += time.perf_counter() - begun
            num_pixels += content.shape[0] * content.shape[1]
            if number % JOBS_BETWEEN_READINGS == 0:
                memory_mb.append(_resident_mb())
        return spent / (num_pixels / 1e6)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per megapixel of pictures, by lap, of different sizes and of one."""

    different: Sequence[float]
    one: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Of different sizes over one, by lap."""
        return [new / same for new, same in zip(self.different, self.one, strict=True)]


def pace(course: Course, recipe: Recipe, laps: Sequence[Sequence[Size]]) -> Pace:
    """Laps of both kinds in turn, after a short one of each to warm up, whose sizes are those of no other lap."""
    warm_up, *timed = laps
    brief = warm_up[:JOBS_BETWEEN_READINGS]
    turns = [
        (course.of_one_size(sizes, recipe), course.of_different_sizes(sizes, recipe)) for sizes in (brief, *timed)
    ][1:]
    return Pace(different=[different for _, different in turns], one=[one for one, _ in turns])


def main() -> None:
    """Measure, print, and write docs/benchmarks/sizes.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=50, help="jobs in a lap (default: 50)")
    parser.add_argument("--laps", type=int, default=3, help="laps of each kind (default: 3)")
    parser.add_argument("--memory-laps", type=int, default=20, help="laps of different sizes after them (default: 20)")
    arguments = parser.parse_args()
    num_laps = len(JOBS) * (1 + arguments.laps) + arguments.memory_laps
    if num_laps > arguments.jobs:
        parser.error(f"got {arguments.jobs} jobs for {num_laps} laps; allowed: at least as many jobs as laps")
    laps = iter(different_sizes(arguments.jobs, num_laps))
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        course = Course(Painter(subject), subjects.photograph(256))
        paces = {name: pace(course, recipe, _next(laps, 1 + arguments.laps)) for name, recipe in JOBS.items()}
        for sizes in laps:
            course.of_different_sizes(sizes, _BRIEF)
    header = ["jobs", "one size, s per megapixel by lap", "different sizes", "ratio"]
    rows = [
        [name, _list(measured.one), _list(measured.different), statistics.median(measured.ratios)]
        for name, measured in paces.items()
    ]
    print(report.table(header, rows))
    print("MB after every tenth job:", *(f"{level:.0f}" for level in course.memory_mb))
    results: dict[str, report.Value] = {
        "weights": subject.weights.label,
        "precision": subject.precision,
        "jobs": arguments.jobs,
        "seconds_per_megapixel": {name: dataclasses.asdict(measured) for name, measured in paces.items()},
        "memory_mb": course.memory_mb,
    }
    plot(course.memory_mb, report.write("sizes", results).with_suffix(".png"))


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


def _next(laps: Iterator[list[Size]], count: int) -> list[list[Size]]:
    return [next(laps) for _ in range(count)]


def _list(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _resident_mb() -> float:
    """Resident memory of this process, as Linux tells it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
