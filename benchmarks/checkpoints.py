"""What checkpoints cost: seconds that the engine waited for them, over the seconds that it had jobs.

    python -m benchmarks.checkpoints [--seconds 60]

A real server with its interval of ten seconds; Adam, whose arrays are the largest. The target: at most 2 % of the
engine's time. The server's metrics say how long it waited; the caller's clock, for how long there were jobs.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import report, subjects
from styleserve import images
from styleserve.cli.connection import private_server
from styleserve_client import Client

#: Longest side in pixels, and how many jobs are made of that side at once.
CASES = ((512, 1), (256, 8))
_METRICS = "127.0.0.1:9464"


def main() -> None:
    """Measure, print, and write docs/benchmarks/checkpoints.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of work a case (default: 60)")
    arguments = parser.parse_args()
    header = ["side", "jobs", "seconds", "checkpoints", "waited, s", "share, %"]
    rows = [[side, jobs, *_measure(side, jobs, arguments.seconds)] for side, jobs in CASES]
    print(report.table(header, rows))
    report.write("checkpoints", {"cases": [dict(zip(header, row, strict=True)) for row in rows]})


def _measure(side: int, jobs: int, seconds: float) -> Iterator[report.Value]:
    """Seconds of the case, checkpoints written, seconds that the engine waited for them, and the share in percent."""
    content = images.encode(images.Picture(subjects.photograph(side)), "png").data
    with tempfile.TemporaryDirectory() as data_dir:
        options = ("--data-dir", data_dir, "--weights", subjects.weights_choice(), "--no-cache", "--metrics", _METRICS)
        with private_server(options) as server, Client(server.address) as client:
            begun = time.perf_counter()
            names = [client.submit(content, "mosaic", preset="classic", iterations=10_000).name for _ in range(jobs)]
            time.sleep(seconds)
            waited_s, written = _metric("styleserve_checkpoint_seconds_total"), _metric("styleserve_checkpoints_total")
            spent_s = time.perf_counter() - begun
            for name in names:
                client.cancel(name)
    yield from (spent_s, int(written), waited_s, 100 * waited_s / spent_s)


def _metric(name: str) -> float:
    """The sum of a metric's samples of that name which count what was written, or all that have no outcome."""
    with closing(urlopen(f"http://{_METRICS}/metrics", timeout=10)) as response:
        families = text_string_to_metric_families(response.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels.get("outcome", "written") == "written"
    )


if __name__ == "__main__":
    main()
