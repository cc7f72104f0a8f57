"""One large job and eight small ones together: who gets the engine's time, and how long each has to wait for a word.

    python -m benchmarks.fairness [--large 1024] [--small 128] [--jobs 8] [--evaluations 100]

Jobs with the loss of `standard` and Adam, at one scale. The large job and the small ones come at the same moment;
the run ends when the small ones are done. Their share of the engine's time should be half, within a tenth, and nobody's
silence, from the moment the jobs came until its own end or that of the run, longer than three evaluations of the
large job.
"""

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, subjects
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.events import EngineEvent, Finished, Looked, Planned, Progressed
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.optimizers.adam import Adam, AdamRun
from styleserve.presets import PRESETS

#: The least and the most of the engine's time that the small jobs should get.
FAIR_SHARE = (0.45, 0.55)
#: The longest silence that is wanted, in evaluations of the large job.
LONGEST_SILENCE = 3


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the engine: the side of its canvases, their number, and when it began and ended."""

    side: int
    number: int
    begun: float
    ended: float


class TimedAdam(Adam):
    """Adam that notes its steps."""

    def __init__(self, evaluator: PerceptualEvaluator) -> None:
        super().__init__(evaluator)
        self.steps: list[Step] = []

    def step(self, runs: Sequence[AdamRun]) -> None:
        """Step and note."""
        side, begun = int(runs[0].state.canvas.shape[1]), time.perf_counter()
        super().step(runs)
        self.steps.append(Step(side, len(runs), begun, time.perf_counter()))


@dataclasses.dataclass
class Run:
    """What happened: steps, and the moments at which each job was heard of, from 0, when the jobs came.

    The last of these is the job's end, or that of the run.
    """

    large: int
    steps: list[Step]
    heard: dict[str, list[float]]

    def small_share(self, until: float) -> float:
        """The small jobs' share of the time that steps took until then."""
        done = [step for step in self.steps if step.ended <= until]
        small_s = sum(step.ended - step.begun for step in done if step.side != self.large)
        return small_s / sum(step.ended - step.begun for step in done)

    def large_evaluation_s(self) -> float:
        """Seconds of one evaluation of the large job."""
        return statistics.median(step.ended - step.begun for step in self.steps if step.side == self.large)

    def silences(self) -> dict[str, float]:
        """The longest time that each job was not heard of, in evaluations of the large one."""
        unit_s = self.large_evaluation_s()
        return {
            name: max(b - a for a, b in itertools.pairwise([0.0, *moments])) / unit_s
            for name, moments in self.heard.items()
        }


def run(subject: subjects.Subject, large: int, small: int, number: int, evaluations: int) -> Run:
    """Drive an engine until the small jobs are done."""
    adam = TimedAdam(subject.evaluator)
    heard: dict[str, list[float]] = {"large": [], **{f"small {index}": [] for index in range(number)}}
    finished: set[str] = set()

    def listen(event: EngineEvent) -> None:
        if isinstance(event, Planned | Looked | Progressed | Finished):
            heard[event.job_id].append(time.perf_counter() - begun)
        if isinstance(event, Finished):
            finished.add(event.job_id)

    def job(name: str, side: int, iterations: int) -> JobSpecification:
        recipe = dataclasses.replace(PRESETS["standard"], optimizer="adam", pyramid=None, iterations=iterations)
        return JobSpecification(name, subjects.photograph(side), (subject.style,), recipe)

    jobs = [job(name, large if name == "large" else small, evaluations) for name in heard]
    engine = Engine(subject.evaluator, {"adam": adam}, listen)
    begun = time.perf_counter()
    for each in jobs:
        engine.accept(each)
    while len(finished - {"large"}) < number and engine.step():
        pass
    for name in heard.keys() - finished:
        heard[name].append(time.perf_counter() - begun)
    engine.close()
    steps = [dataclasses.replace(step, begun=step.begun - begun, ended=step.ended - begun) for step in adam.steps]
    return Run(large, steps, heard)


def plot(result: Run, path: Path) -> None:
    """The small jobs' share over time, and everybody's longest silence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    moments = [step.ended for step in result.steps]
    axes[0].plot(moments, [result.small_share(moment) for moment in moments])
    axes[0].axhspan(*FAIR_SHARE, color="tab:green", alpha=0.15)
    axes[0].set(xlabel="seconds", ylabel="share of the small jobs in the engine's time so far", ylim=(0, 1))
    silences = result.silences()
    axes[1].barh(list(silences), list(silences.values()), color="tab:blue")
    axes[1].axvline(LONGEST_SILENCE, color="tab:red")
    axes[1].set(xlabel="longest silence, in evaluations of the large job")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run and write docs/benchmarks/fairness.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=1024, help="side of the large canvas in pixels (default: 1024)")
    parser.add_argument("--small", type=int, default=128, help="side of the small canvases (default: 128)")
    parser.add_argument("--jobs", type=int, default=8, help="small jobs (default: 8)")
    parser.add_argument("--evaluations", type=int, default=100, help="of each small job (default: 100)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("auto", Path(data_dir))
        run(subject, arguments.small, arguments.small // 2, 2, 3)
        result = run(subject, arguments.large, arguments.small, arguments.jobs, arguments.evaluations)
    end = result.steps[-1].ended
    silences = result.silences()
    most_small = max(silence for name, silence in silences.items() if name != "large")
    rows = [
        ["share of the small jobs", result.small_share(end), "{} to {}".format(*FAIR_SHARE)],
        ["longest silence of the large job", silences["large"], f"at most {LONGEST_SILENCE} evaluations of it"],
        ["longest silence of a small job", most_small, f"at most {LONGEST_SILENCE} evaluations of the large one"],
    ]
    print(report.table(["", "measured", "target"], rows))
    path = report.write(
        "fairness",
        {
            "weights": subject.weights.label,
            "precision": subject.precision,
            "large": arguments.large,
            "small": arguments.small,
            "jobs": arguments.jobs,
            "seconds": end,
            "large_evaluation_s": result.large_evaluation_s(),
            "small_share": result.small_share(end),
            "silences": silences,
            "steps": [[step.side, step.number, round(step.begun, 3), round(step.ended, 3)] for step in result.steps],
        },
    )
    plot(result, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
