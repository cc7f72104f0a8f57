"""What the service predicts of a job, peak memory and seconds, against what it takes; whole canvases and tiled ones.

    python -m benchmarks.memory [--presets standard draft fine classic paper] [--sides 128 256 512 1024 2048]
        [--only whole | tiled] [--iterations N] [--laps 1] [--add]

Each job runs in an engine process of its own, which fits its model of costs while it warms up, as the server's does.
Memory is the process's peak resident memory from then on; seconds are those until the last evaluation. 1024 is done
twice, whole and with a memory limit that asks for tiles; 2048 has a limit of 2.5 GB, and 4096, which takes minutes for
an evaluation on a small machine, one of 4 GB. Every side takes the whole machine, so let nothing run beside it.

A machine that is shared changes its pace between the fit and the job, so jobs are repeated, lap by lap, and compared by
the medians of what was predicted and of what was measured.
"""

import argparse
import dataclasses
import functools
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from statistics import median

from benchmarks import report, subjects
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import StyleImage
from styleserve.events import EngineEvent, Failed, Finished, Lost, Progressed, Ready
from styleserve.presets import PRESETS
from styleserve.sizes import parse_limit
from styleserve.workers.process import ProcessWorker

#: Memory limits that each side is done with, and how many iterations unless others are asked for.
CASES = {
    128: (("auto", 40),),
    256: (("auto", 20),),
    512: (("auto", 10),),
    1024: (("auto", 4), ("1800MB", 10)),
    2048: (("2.5GB", 10),),
    4096: (("4GB", 9),),
}
_PRESETS = ("standard", "draft", "fine", "classic", "paper")
#: Sides beyond are done with the first preset alone.
_LARGEST_FOR_ALL = 1024
_TOLERANCE = 0.25
#: Quantities of a row of which equal jobs have a median.
_BYTES = ("predicted_bytes", "measured_bytes")
_SECONDS = ("predicted_s", "measured_s")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One job, or the median of equal ones: what it was, and bytes and seconds as predicted and as measured."""

    preset: str
    precision: str
    side: int
    tile_side: int | None
    memory_limit: str
    iterations: int
    evaluations: int
    predicted_bytes: int
    measured_bytes: int
    predicted_s: float
    measured_s: float
    machine: str

    @property
    def job(self) -> tuple[str, int, int | None, str, int, str]:
        """Equal for those that are compared together."""
        return self.preset, self.side, self.tile_side, self.memory_limit, self.iterations, self.machine

    @property
    def cells(self) -> list[object]:
        """As the table shows it."""
        return [
            *(self.preset, self.side, self.tile_side or "whole", self.memory_limit, self.evaluations),
            *(self.predicted_bytes / 1e9, self.measured_bytes / 1e9, self.predicted_bytes / self.measured_bytes),
            *(self.predicted_s, self.measured_s, self.predicted_s / self.measured_s),
        ]

    @property
    def is_right(self) -> bool:
        """Whether both predictions are within the tolerance."""
        ratios = (self.predicted_bytes / self.measured_bytes, self.predicted_s / self.measured_s)
        return all(abs(ratio - 1) <= _TOLERANCE for ratio in ratios)


def measure(preset: str, side: int, memory_limit: str, iterations: int, style: StyleImage, data_dir: Path) -> Row:
    """Run one job in a fresh engine."""
    factory = subjects.factory(data_dir, parse_limit(memory_limit))
    worker = ProcessWorker(factory, functools.partial(logging.basicConfig, level=logging.WARNING))
    events: SimpleQueue[EngineEvent] = SimpleQueue()
    worker.start(events.put)
    try:
        ready = events.get()
        assert isinstance(ready, Ready), ready
        process = Path(f"/proc/{worker.pid}")
        (process / "clear_refs").write_text("5")  # the peak begins anew
        recipe = dataclasses.replace(PRESETS[preset], iterations=iterations)
        # Each under its own ID: none goes on from the checkpoints of another.
        worker.send(JobSpecification(f"{preset}-{side}-{memory_limit}", subjects.photograph(side), (style,), recipe))
        while not isinstance(event := events.get(), Finished):
            assert not isinstance(event, Failed | Lost), event
            assert not isinstance(event, Progressed) or event.progress.estimate is not None
        measured_bytes = _peak_bytes(process)
    finally:
        worker.stop()
    progress, estimate = event.progress, event.progress.estimate
    assert estimate is not None
    precision = "float32" if recipe.needs_float32 else ready.info.precision
    return Row(
        *(preset, precision, side, estimate.tile_side, memory_limit, iterations, progress.evaluations),
        *(estimate.peak_bytes, measured_bytes, estimate.seconds, progress.elapsed_s, report.machine_name()),
    )


def _peak_bytes(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def plot(rows: list[Row], path: Path) -> None:
    """Predicted against measured, with the tolerance as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for axis, name, unit, scale in ((axes[0], "bytes", "GB", 1e9), (axes[1], "s", "s", 1.0)):
        for preset, marker in zip(dict.fromkeys(row.preset for row in rows), "osD^v", strict=False):
            for is_tiled, colour in ((False, "tab:blue"), (True, "tab:orange")):
                chosen = [row for row in rows if row.preset == preset and (row.tile_side is not None) == is_tiled]
                points = [(getattr(row, f"measured_{name}"), getattr(row, f"predicted_{name}")) for row in chosen]
                if points:
                    xs, ys = zip(*((x / scale, y / scale) for x, y in points), strict=True)
                    label = f"{preset}, in tiles" if is_tiled else preset
                    axis.scatter(xs, ys, marker=marker, color=colour, label=label, alpha=0.8)
        low, high = axis.get_xlim()
        span = [max(low, min(getattr(row, f"measured_{name}") for row in rows) / scale / 2), high * 1.2]
        axis.fill_between(
            span, [x * (1 - _TOLERANCE) for x in span], [x * (1 + _TOLERANCE) for x in span], color="0.9", zorder=0
        )
        axis.plot(span, span, color="0.5", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel=f"measured, {unit}", ylabel=f"predicted, {unit}")
    axes[0].set_title("peak memory of the engine's process")
    axes[1].set_title("seconds of the job")
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, and write docs/benchmarks/memory.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=tuple(PRESETS), default=_PRESETS)
    parser.add_argument("--sides", nargs="+", type=int, choices=tuple(CASES), default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--laps", type=int, default=1, help="how often every job is done (default: 1)")
    parser.add_argument("--only", choices=("whole", "tiled"), help="the canvases to be done (default: both)")
    parser.add_argument("--iterations", type=int, help="of every job (default: the fewer the larger the side is)")
    parser.add_argument("--add", action="store_true", help="add to the jobs that are in the file")
    arguments = parser.parse_args()
    style = next(iter(subjects.styles().values()))
    rows: list[Row] = _read() if arguments.add else []
    for preset, side, memory_limit, iterations in _cases(arguments):
        with tempfile.TemporaryDirectory() as data_dir:
            rows.append(measure(preset, side, memory_limit, iterations, style, Path(data_dir)))
        print(report.table([], [rows[-1].cells]).splitlines()[-1], flush=True)
    rows.sort(key=lambda row: (row.side, row.tile_side is not None, row.preset))
    _print_and_write(rows)


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """Preset, side, memory limit and iterations of every job of every lap."""
    for _ in range(arguments.laps):
        for side in arguments.sides:
            for preset in arguments.presets if side <= _LARGEST_FOR_ALL else arguments.presets[:1]:
                for memory_limit, own in CASES[side]:
                    way = "whole" if memory_limit == "auto" else "tiled"
                    iterations = own if arguments.iterations is None else arguments.iterations
                    if arguments.only in (None, way):
                        yield preset, side, memory_limit, iterations


def medians(rows: Sequence[Row]) -> list[Row]:
    """One row for each job: the medians of what was predicted and measured of it."""
    found = []
    for job in dict.fromkeys(row.job for row in rows):
        equal = [row for row in rows if row.job == job]
        found.append(
            dataclasses.replace(
                equal[0],
                **{name: round(median(getattr(row, name) for row in equal)) for name in _BYTES},
                **{name: median(getattr(row, name) for row in equal) for name in _SECONDS},
            )
        )
    return found


def _read() -> list[Row]:
    return [Row(**row) for row in json.loads((report.FOLDER / "memory.json").read_text())["jobs"]]


def _print_and_write(jobs: list[Row]) -> None:
    rows = medians(jobs)
    header = ["preset", "side", "tiles", "limit", "evaluations"]
    header += ["predicted, GB", "measured, GB", "ratio", "predicted, s", "measured, s", "ratio"]
    print(report.table(header, [row.cells for row in rows]))
    print(f"{sum(row.is_right for row in rows)} of {len(rows)} jobs are within {_TOLERANCE:.0%} in both")
    path = report.write("memory", {"jobs": [dataclasses.asdict(job) for job in jobs]})
    plot(rows, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
