"""Eight jobs at once against the same jobs one after another, by the engine alone.

    python -m benchmarks.batching [--optimizers adam lbfgs lbfgsb] [--sides 64 128 256] [--jobs 8] [--evaluations 64]
        [--repeats 3]

Jobs with the loss of `standard`, by each optimizer, at one scale, each with a content of its own. Each repeat runs half
of them one after another, then all at once, then the other half, so that a machine that changes its pace slows both.
The engine learns which batches pay in a first round, which does not count. `--evaluations` are those of a job at 128
pixels; other sizes get as many as cost the same, and line searches of L-BFGS-B a few more. The pictures of both ways
are compared as well. Seconds a megapixel tell how far batching can go: at the largest size a lone canvas nearly fills
the machine already. The sizes of the batches of the last repeat are in the file.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks import report, subjects
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.events import EngineEvent, Finished
from styleserve.optimizers import AnyOptimizer, Run
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS
from styleserve.recipes import OPTIMIZERS, OptimizerName

#: Share of the time of one after another that all at once may take by Adam.
TARGETS = {64: 0.65, 128: 0.8, 256: 1.0}


class Counted:
    """An optimizer that notes the sizes of its batches."""

    def __init__(self, optimizer: AnyOptimizer) -> None:
        self.sizes: Counter[int] = Counter()
        self.upkeep = optimizer.upkeep
        self.start, self.snapshot, self.resume = optimizer.start, optimizer.snapshot, optimizer.resume
        self._step = optimizer.step

    def step(self, runs: Sequence[Run]) -> None:
        """Step and note."""
        self.sizes[len(runs)] += 1
        self._step(runs)


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


#: By optimizer and side.
OfOptimizers: TypeAlias = Mapping[OptimizerName, Mapping[int, Result]]


class Bench:
    """An engine and jobs to give it."""

    def __init__(self, subject: subjects.Subject) -> None:
        self.optimizers = {name: Counted(own) for name, own in every_optimizer(subject.evaluator).items()}
        self._style = subject.style
        self._events: list[EngineEvent] = []
        self._engine = Engine(subject.evaluator, self.optimizers, self._events.append)

    def jobs(self, optimizer: OptimizerName, side: int, number: int, evaluations: int) -> list[JobSpecification]:
        """So many jobs that differ in their contents."""
        recipe = dataclasses.replace(PRESETS["standard"], optimizer=optimizer, pyramid=None, iterations=evaluations - 1)
        photograph = subjects.photograph(side)
        contents = [np.roll(photograph, index * side // number, axis=1) for index in range(number)]
        return [JobSpecification(str(index), content, (self._style,), recipe) for index, content in enumerate(contents)]

    def run(self, jobs: Sequence[JobSpecification]) -> tuple[float, dict[str, Finished]]:
        """Give the engine these jobs at once and wait for all; seconds, and how they finished, by the jobs' IDs."""
        self._events.clear()
        begun = time.perf_counter()
        for job in jobs:
            self._engine.accept(job)
        while self._engine.step():
            pass
        seconds = time.perf_counter() - begun
        return seconds, {event.job_id: event for event in self._events if isinstance(event, Finished)}


def compare(bench: Bench, optimizer: OptimizerName, side: int, number: int, evaluations: int, repeats: int) -> Result:
    """Measure one optimizer at one size."""
    bench.run(bench.jobs(optimizer, side, number, evaluations))
    bench.run(bench.jobs(optimizer, side, 1, 2))
    jobs = bench.jobs(optimizer, side, number, evaluations)
    sizes = bench.optimizers[optimizer].sizes
    result = Result(0.0, [], [], {}, 0.0)
    for _ in range(repeats):
        apart = [bench.run([job]) for job in jobs[: number // 2]]
        sizes.clear()
        at_once_s, together = bench.run(jobs)
        result.sizes = {str(size): count for size, count in sorted(sizes.items())}
        apart += [bench.run([job]) for job in jobs[number // 2 :]]
        result.apart_s.append(sum(seconds for seconds, _ in apart))
        result.at_once_s.append(at_once_s)
        alone = {name: finished for _, of_job in apart for name, finished in of_job.items()}
        result.megapixels = sum(finished.progress.evaluations for finished in alone.values()) * side**2 / 1e6
        differences = [float(np.abs(together[name].pixels - alone[name].pixels).mean()) * 255 for name in alone]
        result.difference = max(result.difference, *differences)
    return result


def table(results: OfOptimizers) -> tuple[list[str], list[list[report.Value]]]:
    """A row an optimizer and size: medians of the seconds, the ratio, what is wanted, and the difference in 1/255."""
    header = ["optimizer", "side", "one after another, s", "at once, s", "ratio", "wanted"]
    header += ["one after another, s / MP", "at once, s / MP", "difference between the pictures"]
    rows: list[list[report.Value]] = []
    for optimizer, of_sides in results.items():
        for side, result in of_sides.items():
            apart_s, at_once_s = statistics.median(result.apart_s), statistics.median(result.at_once_s)
            per_megapixel = [seconds / result.megapixels for seconds in (apart_s, at_once_s)]
            wanted = TARGETS.get(side, "") if optimizer == "adam" else ""
            rows.append([optimizer, side, apart_s, at_once_s, result.ratio, wanted, *per_megapixel, result.difference])
    return header, rows


def plot(results: OfOptimizers, number: int, path: Path) -> None:
    """The ratio of each size by each optimizer, with Adam's target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (1 + 3.5 * len(results), 4)
    figure, panels = pyplot.subplots(1, len(results), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, (optimizer, of_sides) in zip(panels[0], results.items(), strict=True):
        names = [f"{side} px" for side in of_sides]
        axis.bar(names, [result.ratio for result in of_sides.values()], width=0.5, alpha=0.6, label="median")
        for index, (side, result) in enumerate(of_sides.items()):
            ratios = [together / apart for together, apart in zip(result.at_once_s, result.apart_s, strict=True)]
            axis.plot([index] * len(ratios), ratios, "k.", label="a repeat" if index == 0 else None)
            if optimizer == "adam" and side in TARGETS:
                label = "target" if index == 0 else None
                axis.hlines(TARGETS[side], index - 0.35, index + 0.35, color="tab:red", label=label)
        axis.set(title=optimizer, ylim=(0, 1.2))
        axis.grid(alpha=0.3, axis="y")
    panels[0][0].set_ylabel(f"{number} jobs at once / one after another")
    panels[0][0].legend(loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every optimizer at every size and write docs/benchmarks/batching.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS, help="default: all")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256], help="sides of the canvases in pixels")
    parser.add_argument("--jobs", type=int, default=8, help="jobs of each side (default: 8)")
    parser.add_argument("--evaluations", type=int, default=64, help="of each job at 128 pixels (default: 64)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        bench = Bench(subject)
        results: dict[OptimizerName, dict[int, Result]] = {optimizer: {} for optimizer in arguments.optimizers}
        for optimizer, of_sides in results.items():
            for side in arguments.sides:
                evaluations = max(4, round(arguments.evaluations * min(2.5, (128 / side) ** 2)))
                of_sides[side] = compare(bench, optimizer, side, arguments.jobs, evaluations, arguments.repeats)
    print(report.table(*table(results)))
    path = report.write(
        "batching",
        {
            "weights": subject.weights.label,
            "precision": subject.precision,
            "style": subject.style_name,
            "jobs": arguments.jobs,
            "optimizers": {
                optimizer: {str(side): dataclasses.asdict(result) for side, result in of_sides.items()}
                for optimizer, of_sides in results.items()
            },
        },
    )
    plot(results, arguments.jobs, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
