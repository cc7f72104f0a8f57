"""Jobs with deadlines: is any late, how much of their time do they use, and does the quality grow with it?

    python -m benchmarks.anytime [--jobs 40] [--beside-large 12] [--shortest 3] [--longest 60] [--together 3] [--seed 0]

Jobs of random sizes, presets and deadlines (log-uniform: the short ones are the hard ones) go through one engine in
this process, half of them one after the other, half beside others, `--together` at a time. More go one after the other
beside a job of 1024 pixels without a deadline, whose steps take longer than some of them have. A job is right when it
is not late and used at least 80 % of its time, or ran its full recipe. Then one picture is made with growing deadlines
and judged.
"""

import argparse
import dataclasses
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import report, subjects
from benchmarks.judgement import Judge
from styleserve import images
from styleserve.engine.engine import Engine
from styleserve.engine.specification import Cancel, JobSpecification
from styleserve.evaluation import StyleImage
from styleserve.events import EngineEvent, Failed, Finished
from styleserve.presets import PRESETS
from styleserve.recipes import MAX_ITERATIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What wishes are for where nothing else is said: none of these jobs takes minutes without a deadline.
_PRESETS = ("draft", "standard", "fine")
_RAN_WHOLE = ("completed", "converged")
_SMALLEST_SIDE, _LARGEST_SIDE = 64, 384
_LEAST_SHARE = 0.8
_LARGE_SIDE = 1024
ALONE, BESIDE_OTHERS, _BESIDE_LARGE = "alone", "beside others", f"beside {_LARGE_SIDE} px"
_TICKS_S = (3, 5, 10, 20, 30, 60)
_QUALITY_SIDE = 256
_QUALITY_PRESET = "fine"


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """A job to be: its size, its preset, and the seconds that it has."""

    height: int
    width: int
    preset: str
    deadline_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What became of a wish; `spent_s` are the seconds until its picture was there."""

    height: int
    width: int
    preset: str
    company: str
    deadline_s: float
    spent_s: float
    stop_reason: str
    reached_width: int
    iterations: int

    @property
    def late_s(self) -> float:
        """Seconds beyond the deadline."""
        return max(0.0, self.spent_s - self.deadline_s)

    @property
    def share(self) -> float:
        """The share of its time that it used."""
        return self.spent_s / self.deadline_s

    @property
    def is_right(self) -> bool:
        """Whether it was in time, and used it or needed no more."""
        has_used_it = self.stop_reason == "deadline" and self.share >= _LEAST_SHARE
        return self.late_s == 0 and (has_used_it or self.stop_reason in _RAN_WHOLE)

    @property
    def cells(self) -> list[object]:
        """As the table shows it."""
        size = f"{self.width} x {self.height}"
        return [
            *(size, self.preset, self.company, self.deadline_s, self.spent_s, f"{self.share:.1%}", self.stop_reason),
            *(self.iterations, self.reached_width, "" if self.is_right else "WRONG"),
        ]


class Studio:
    """An engine in this process, and when each of its jobs ended."""

    def __init__(self, data_dir: Path) -> None:
        self.ended: dict[str, tuple[float, Finished]] = {}
        self._engine: Engine
        self._engine, self.info = subjects.factory(data_dir)(self._hear)
        self._styles = list(subjects.styles().values())
        self._numbers = itertools.count()

    def make(
        self, wishes: Sequence[Wish], together: int, style: StyleImage | None = None
    ) -> Iterator[tuple[Wish, float, Finished]]:
        """Fulfil the wishes, so many at a time, in turn in every style or all in one; yields each with its end."""
        waiting, running = list(wishes), dict[str, tuple[Wish, float]]()
        while waiting or running:
            while waiting and len(running) < together:
                wish = waiting.pop(0)
                running[self._begin(wish, style)] = wish, time.monotonic()
            self._engine.step()
            for job_id in list(running):
                if job_id in self.ended:
                    wish, begun = running.pop(job_id)
                    at, finished = self.ended.pop(job_id)
                    yield wish, at - begun, finished

    @contextmanager
    def beside_large(self) -> Iterator[None]:
        """Meanwhile a job of `classic` at 1024 pixels is at work."""
        content = images.resize(subjects.photograph(512), _LARGE_SIDE, _LARGE_SIDE)
        recipe = dataclasses.replace(PRESETS["classic"], iterations=MAX_ITERATIONS)
        self._engine.accept(JobSpecification("large", content, (self._styles[0],), recipe))
        self._engine.step()
        yield
        self._engine.accept(Cancel("large"))
        self._engine.step()

    def _begin(self, wish: Wish, style: StyleImage | None) -> str:
        number = next(self._numbers)
        content = images.resize(subjects.photograph(512), wish.height, wish.width)
        style = style or self._styles[number % len(self._styles)]
        deadline = time.monotonic() + wish.deadline_s
        self._engine.accept(JobSpecification(f"{number}", content, (style,), PRESETS[wish.preset], deadline))
        return f"{number}"

    def _hear(self, event: EngineEvent) -> None:
        assert not isinstance(event, Failed), event
        if isinstance(event, Finished):
            self.ended[event.job_id] = time.monotonic(), event


def draw(
    number: int,
    shortest: float,
    longest: float,
    seed: int,
    largest_side: int = _LARGEST_SIDE,
    presets: Sequence[str] = _PRESETS,
) -> list[Wish]:
    """Random wishes."""
    random = np.random.default_rng(seed)

    def wish() -> Wish:
        height, width = random.integers(_SMALLEST_SIDE, largest_side + 1, 2).tolist()
        deadline_s = float(np.exp(random.uniform(np.log(shortest), np.log(longest))))
        return Wish(height, width, str(random.choice(presets)), deadline_s)

    return [wish() for _ in range(number)]


def measure_quality(studio: Studio, deadlines: Sequence[float]) -> list[dict[str, float]]:
    """Distances of one picture, by its deadline."""
    judge = Judge(subjects.vgg19())
    content = images.resize(subjects.photograph(512), _QUALITY_SIDE, _QUALITY_SIDE)
    style = next(iter(subjects.styles().values()))
    points = []
    for deadline_s in deadlines:
        wish = Wish(_QUALITY_SIDE, _QUALITY_SIDE, _QUALITY_PRESET, deadline_s)
        ((_, spent_s, finished),) = studio.make([wish], together=1, style=style)
        found = judge.judge(finished.pixels, content, style)
        points.append({"deadline_s": deadline_s, "spent_s": spent_s, "style": found.style, "content": found.content})
    return points


def plot(rows: Sequence[Row], points: Sequence[dict[str, float]], path: Path) -> None:
    """The share of their time that jobs used, and the style distance, over the deadline."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    plot_shares(rows, axes[0])
    axes[1].plot([point["deadline_s"] for point in points], [point["style"] for point in points], "o-")
    axes[1].set(xscale="log", xlabel="deadline, s", ylabel="style distance")
    axes[1].set_title(f"{_QUALITY_PRESET}, {_QUALITY_SIDE} x {_QUALITY_SIDE}", fontsize="medium")
    _mark_seconds(axes[1])
    figure.savefig(path, dpi=110)


def plot_shares(rows: Sequence[Row], axis: "Axes") -> None:
    """The share of their time that jobs used, over the deadline: a colour a company."""
    for rank, company in enumerate(dict.fromkeys(row.company for row in rows)):
        for is_full, marker in ((False, "o"), (True, "x")):
            chosen = [row for row in rows if row.company == company and (row.stop_reason in _RAN_WHOLE) == is_full]
            axis.scatter(
                [row.deadline_s for row in chosen],
                [row.share for row in chosen],
                marker=marker,
                color=f"C{rank}",
                label=f"{company}, full recipe" if is_full else company,
            )
    axis.axhspan(_LEAST_SHARE, 1.0, color="0.92", zorder=0)
    axis.set(xscale="log", xlabel="deadline, s", ylabel="share of it that was used", ylim=(0, 1.1))
    axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    _mark_seconds(axis)


def _mark_seconds(axis: "Axes") -> None:
    axis.set_xticks(_TICKS_S, [f"{seconds:g}" for seconds in _TICKS_S])
    axis.minorticks_off()


def table(rows: Sequence[Row]) -> str:
    """A line a job, and how many of them are late and right."""
    header = ["size", "preset", "company", "deadline, s", "spent, s", "share", "stop reason", "iterations", "reached"]
    late = sum(row.late_s > 0 for row in rows)
    told = f"{late} of {len(rows)} jobs are late; {sum(row.is_right for row in rows)} are right"
    return f"{report.table([*header, ''], [row.cells for row in rows])}\n{told}"


def main() -> None:
    """Measure, print, and write docs/benchmarks/anytime.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--beside-large", type=int, default=12, help="jobs beside one of 1024 pixels")
    parser.add_argument("--shortest", type=float, default=3.0, help="the shortest deadline, seconds")
    parser.add_argument("--longest", type=float, default=60.0, help="the longest deadline, seconds")
    parser.add_argument("--together", type=int, default=3, help="jobs beside each other")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    number = arguments.jobs + arguments.beside_large
    wishes = draw(number, arguments.shortest, arguments.longest, arguments.seed)
    half = arguments.jobs // 2
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as data_dir:
        studio = Studio(Path(data_dir))
        for chosen, company in (
            (wishes[:half], ALONE),
            (wishes[half : arguments.jobs], BESIDE_OTHERS),
            (wishes[arguments.jobs :], _BESIDE_LARGE),
        ):
            together = arguments.together if company == BESIDE_OTHERS else 1
            with studio.beside_large() if company == _BESIDE_LARGE else nullcontext():
                for wish, spent_s, finished in studio.make(chosen, together):
                    rows.append(
                        Row(
                            *(wish.height, wish.width, wish.preset, company, wish.deadline_s, spent_s),
                            *(finished.stop_reason, finished.progress.width, finished.progress.iteration),
                        )
                    )
                    print(report.table([], [rows[-1].cells]).splitlines()[-1], flush=True)
        points = measure_quality(studio, np.geomspace(arguments.shortest, arguments.longest, 6).round(1).tolist())
    _print_and_write(rows, points, studio.info.precision)


def _print_and_write(rows: Sequence[Row], points: Sequence[dict[str, float]], precision: str) -> None:
    print(table(rows))
    print(report.table(list(points[0]), [list(point.values()) for point in points]))
    jobs = [dataclasses.asdict(row) for row in rows]
    results: dict[str, report.Value] = {"precision": precision, "jobs": jobs, "quality": [*map(dict, points)]}
    plot(rows, points, report.write("anytime", results).with_suffix(".png"))


if __name__ == "__main__":
    main()
