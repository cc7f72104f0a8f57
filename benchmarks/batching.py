"""Eight jobs at once against the same jobs one after another, by the engine alone.

    python -m benchmarks.batching [--sides 64 128 256] [--jobs 8] [--evaluations 64] [--repeats 3]

Jobs with the loss of `standard` and Adam, at one scale, each with a content of its own. Each repeat runs half of
them one after another, then all at once, then the other half, so that a machine that changes its pace slows both. The
engine learns which batches pay in a first round, which does not count. `--evaluations` are those of a job at 128
pixels; other sizes get as many as cost the same. The pictures of both ways are compared as well. Seconds a megapixel
tell how far batching can go: at the largest size a lone canvas nearly fills the machine already. The sizes of the
batches of the last repeat are in the file.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import report, subjects
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Pixels
from styleserve.events import EngineEvent, Finished
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.optimizers.adam import Adam, AdamRun
from styleserve.presets import PRESETS

#: Share of the time of one after another that all at once may take.
TARGETS = {64: 0.65, 128: 0.8, 256: 1.0}


class CountingAdam(Adam):
    """Adam that notes the sizes of its batches."""

    def __init__(self, evaluator: PerceptualEvaluator) -> None:
        super().__init__(evaluator)
        self.sizes: Counter[int] = Counter()

    def step(self, runs: Sequence[AdamRun]) -> None:
        """Step and note."""
        self.sizes[len(runs)] += 1
        super().step(runs)


@dataclasses.dataclass
class Result:
    """Megapixels judged in a repeat, seconds of each, sizes of batches, largest mean difference of pictures, 1/255."""

    megapixels: float
    apart_s: list[float]
    at_once_s: list[float]
    sizes: dict[str, int]
    difference: float

    @property
    def ratio(self) -> float:
        """At once over one after another, the median over the repeats."""
        return statistics.median(together / apart for together, apart in zip(self.at_once_s, self.apart_s, strict=True))


class Bench:
    """An engine and jobs to give it."""

    def __init__(self, subject: subjects.Subject) -> None:
        self.adam = CountingAdam(subject.evaluator)
        self._style = subject.style
        self._events: list[EngineEvent] = []
        self._engine = Engine(subject.evaluator, {"adam": self.adam}, self._events.append)

    def jobs(self, side: int, number: int, evaluations: int) -> list[JobSpecification]:
        """So many jobs that differ in their contents."""
        recipe = dataclasses.replace(PRESETS["standard"], optimizer="adam", pyramid=None, iterations=evaluations - 1)
        photograph = subjects.photograph(side)
        contents = [np.roll(photograph, index * side // number, axis=1) for index in range(number)]
        return [JobSpecification(str(index), content, (self._style,), recipe) for index, content in enumerate(contents)]

    def run(self, jobs: Sequence[JobSpecification]) -> tuple[float, dict[str, Pixels]]:
        """Give the engine these jobs at once and wait for all; seconds, and the pictures by the jobs' IDs."""
        self._events.clear()
        begun = time.perf_counter()
        for job in jobs:
            self._engine.accept(job)
        while self._engine.step():
            pass
        seconds = time.perf_counter() - begun
        return seconds, {event.job_id: event.pixels for event in self._events if isinstance(event, Finished)}


def compare(bench: Bench, side: int, number: int, evaluations: int, repeats: int) -> Result:
    """Measure one size."""
    bench.run(bench.jobs(side, number, evaluations))
    bench.run(bench.jobs(side, 1, 2))
    jobs = bench.jobs(side, number, evaluations)
    result = Result(number * evaluations * side**2 / 1e6, [], [], {}, 0.0)
    for _ in range(repeats):
        apart = [bench.run([job]) for job in jobs[: number // 2]]
        bench.adam.sizes.clear()
        at_once_s, together = bench.run(jobs)
        result.sizes = {str(size): count for size, count in sorted(bench.adam.sizes.items())}
        apart += [bench.run([job]) for job in jobs[number // 2 :]]
        result.apart_s.append(sum(seconds for seconds, _ in apart))
        result.at_once_s.append(at_once_s)
        alone = {name: picture for _, pictures in apart for name, picture in pictures.items()}
        differences = [float(np.abs(together[name] - alone[name]).mean()) * 255 for name in alone]
        result.difference = max(result.difference, *differences)
    return result


def table(results: dict[int, Result]) -> tuple[list[str], list[list[report.Value]]]:
    """A row a size: medians of the seconds, the ratio and what is wanted of it, and the difference in 1/255."""
    header = ["side", "one after another, s", "at once, s", "ratio", "wanted"]
    header += ["one after another, s / MP", "at once, s / MP", "difference between the pictures"]
    rows: list[list[report.Value]] = []
    for side, result in results.items():
        apart_s, at_once_s = statistics.median(result.apart_s), statistics.median(result.at_once_s)
        per_megapixel = [seconds / result.megapixels for seconds in (apart_s, at_once_s)]
        wanted = TARGETS.get(side, "--")
        rows.append([side, apart_s, at_once_s, result.ratio, wanted, *per_megapixel, result.difference])
    return header, rows


def plot(results: dict[int, Result], number: int, path: Path) -> None:
    """The ratio of each size, with its target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    names = [f"{side} px" for side in results]
    axis.bar(names, [result.ratio for result in results.values()], width=0.5, color="tab:blue")
    for index, (side, result) in enumerate(results.items()):
        ratios = [together / apart for together, apart in zip(result.at_once_s, result.apart_s, strict=True)]
        axis.plot([index] * len(ratios), ratios, "k.", markersize=5)
        if side in TARGETS:
            axis.hlines(TARGETS[side], index - 0.35, index + 0.35, color="tab:red", label="target" * (index == 0))
    axis.set(ylabel=f"{number} jobs at once / one after another", ylim=(0, 1.2))
    axis.grid(alpha=0.3, axis="y")
    axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every size and write docs/benchmarks/batching.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256], help="sides of the canvases in pixels")
    parser.add_argument("--jobs", type=int, default=8, help="jobs of each side (default: 8)")
    parser.add_argument("--evaluations", type=int, default=64, help="of each job at 128 pixels (default: 64)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        bench = Bench(subject)
        results = {}
        for side in arguments.sides:
            evaluations = max(4, round(arguments.evaluations * min(2.5, (128 / side) ** 2)))
            results[side] = compare(bench, side, arguments.jobs, evaluations, arguments.repeats)
    print(report.table(*table(results)))
    path = report.write(
        "batching",
        {
            "weights": subject.weights.label,
            "precision": subject.precision,
            "style": subject.style_name,
            "jobs": arguments.jobs,
            "sides": {str(side): dataclasses.asdict(result) for side, result in results.items()},
        },
    )
    plot(results, arguments.jobs, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
