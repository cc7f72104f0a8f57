"""Calls with deadlines, over a real server in its own process and loopback: does every picture come back in time?

    python -m benchmarks.deadlines [--calls 40] [--shortest 3] [--longest 60] [--largest 1024] [--together 3] [--seed 1]

The wishes are drawn as those of `benchmarks.anytime`, random sizes, presets and deadlines, but of larger sides and all
presets. Here a client asks for them, half of them one after the other, half beside others, `--together` at a time, and
its time is the whole call's: the photograph's way to the server, its decoding, the engine, the picture's encoding, its
way back, and its decoding. Runs with other sides stay in the file, each with the machine that it is of.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import report, subjects
from benchmarks.anytime import ALONE, BESIDE_OTHERS, Row, Wish, draw, plot_shares, table
from styleserve import images
from styleserve.cli.connection import private_server
from styleserve.presets import PRESETS
from styleserve.v1 import job_pb2
from styleserve_client import Client, StyleServeError

_STYLES = ("mosaic", "stained-glass", "ink-wash")


def main() -> None:
    """Call, print, and write docs/benchmarks/deadlines.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--shortest", type=float, default=3.0, help="the shortest deadline, seconds (default: 3)")
    parser.add_argument("--longest", type=float, default=60.0, help="the longest deadline, seconds (default: 60)")
    parser.add_argument("--largest", type=int, default=1024, help="the longest side, pixels (default: 1024)")
    parser.add_argument("--together", type=int, default=3, help="calls beside each other (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the wishes (default: 1)")
    arguments = parser.parse_args()
    presets = tuple(PRESETS)
    wishes = draw(arguments.calls, arguments.shortest, arguments.longest, arguments.seed, arguments.largest, presets)
    half = len(wishes) // 2
    weights = subjects.weights_choice()
    with tempfile.TemporaryDirectory() as data_dir:
        server_arguments = ("--data-dir", data_dir, "--weights", weights, "--no-cache")
        with private_server(server_arguments) as server, Client(server.address) as client:
            info = client.info()
            rows = [
                *_make(client, wishes[:half], ALONE, together=1),
                *_make(client, wishes[half:], BESIDE_OTHERS, arguments.together),
            ]
    print(table(rows))
    keep(arguments.largest, info.weights, info.precision, rows)
    _plot(runs(), report.FOLDER / "deadlines.png")


def keep(largest_side: int, weights: str, precision: str, rows: Sequence[Row]) -> None:
    """Write them in the place of those of this side, with the machine."""
    calls = [dataclasses.asdict(row) for row in rows]
    own: report.Value = {"machine": report.machine(), "weights": weights, "precision": precision, "calls": calls}
    report.write("deadlines", {"runs": {**_kept(), str(largest_side): own}})


def runs() -> dict[str, list[Row]]:
    """All of the file, by their longest side."""
    return {side: [Row(**call) for call in run["calls"]] for side, run in _kept().items()}


def _kept() -> Mapping[str, Mapping[str, Any]]:
    """The runs as they are written."""
    known = report.read("deadlines").get("runs", {})
    assert isinstance(known, dict)
    return known


def _make(client: Client, wishes: Sequence[Wish], company: str, together: int) -> list[Row]:
    """Fulfil the wishes, so many at a time."""
    contents = [_photograph(wish) for wish in wishes]  # before any time is taken
    styles = [_STYLES[number % len(_STYLES)] for number in range(len(wishes))]
    with ThreadPoolExecutor(together) as callers:
        return list(callers.map(partial(_call, client, company), wishes, contents, styles))


def _photograph(wish: Wish) -> bytes:
    picture = images.resize(subjects.photograph(512), wish.height, wish.width)
    return images.encode(images.Picture(picture), "png").data


def _call(client: Client, company: str, wish: Wish, content: bytes, style: str) -> Row:
    """One call; without a picture the error's name is the reason why it stopped, and it is not right."""
    begun = time.monotonic()
    try:
        picture = client.stylize(content, style, preset=wish.preset, timeout_s=wish.deadline_s)
        picture.to_pil()
    except StyleServeError as error:
        job, reason = job_pb2.Job(), type(error).__name__
    else:
        job, reason = picture.job, job_pb2.StopReason.Name(picture.job.stop_reason)
    spent_s = time.monotonic() - begun
    row = Row(
        *(wish.height, wish.width, wish.preset, company, wish.deadline_s, spent_s),
        *(reason.removeprefix("STOP_REASON_").lower(), job.progress.width, job.progress.iteration),
    )
    print(report.table([], [row.cells]).splitlines()[-1], flush=True)
    return row


def _plot(runs: Mapping[str, Sequence[Row]], path: Path) -> None:
    """The share of its time that each call used, a panel a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (0.4 + 4.8 * len(runs), 4.4)
    figure, panels = pyplot.subplots(1, len(runs), figsize=size, squeeze=False, layout="constrained")
    for axis, (side, rows) in zip(panels[0], runs.items(), strict=True):
        plot_shares(rows, axis)
        axis.set_title(f"sides of up to {side} px")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
