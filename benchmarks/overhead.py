"""What a Stylize call takes beyond the engine's own time, over a real server in its own process and loopback.

    python -m benchmarks.overhead [--side 256] [--iterations 50] [--repeats 7]

The engine's time is the job's `progress.elapsed`, from when it takes the job up to its last evaluation; the call's is
that of the client, whose picture is decoded from its PNG. The target is 3 % of the engine's time or 0.3 s, whichever is
more.
"""

import argparse
import statistics
import tempfile
import time

from benchmarks import report, subjects
from styleserve import images
from styleserve.cli.connection import private_server
from styleserve_client import Client


def main() -> None:
    """Measure, print, and write docs/benchmarks/overhead.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="side of the canvas in pixels (default: 256)")
    parser.add_argument("--iterations", type=int, default=50, help="iterations (default: 50)")
    parser.add_argument("--repeats", type=int, default=7, help="repeats after one call to warm up (default: 7)")
    arguments = parser.parse_args()
    content = images.encode(images.Picture(subjects.photograph(arguments.side)), "png").data
    weights = subjects.weights_choice()
    with tempfile.TemporaryDirectory() as data_dir:
        server_arguments = ("--data-dir", data_dir, "--weights", weights, "--no-cache")
        with private_server(server_arguments) as server, Client(server.address) as client:
            _wait_for_targets(client)
            info = client.info()
            times = [_measure(client, content, arguments.iterations) for _ in range(arguments.repeats + 1)][1:]
    overheads = [call_s - engine_s for call_s, engine_s in times]
    engine_s = statistics.median(engine_s for _, engine_s in times)
    allowed_s = max(0.03 * engine_s, 0.3)
    rows = [[engine_s, statistics.median(overheads), max(overheads), allowed_s]]
    print(report.table(["engine, s", "overhead, s (median)", "overhead, s (most)", "allowed, s"], rows))
    report.write(
        "overhead",
        {
            "weights": info.weights,
            "precision": info.precision,
            "side": arguments.side,
            "iterations": arguments.iterations,
            "call_s": [call_s for call_s, _ in times],
            "engine_s": [engine_s for _, engine_s in times],
            "allowed_s": allowed_s,
        },
    )


def _wait_for_targets(client: Client) -> None:
    """Wait until the server has nothing more to prepare, which would compete with the first calls."""
    at_hand = [style.name for style in client.styles() if client.style(style.name).HasField("thumbnail")]
    while not all(client.style(name).targets_ready for name in at_hand):
        time.sleep(0.5)


def _measure(client: Client, content: bytes, iterations: int) -> tuple[float, float]:
    """Seconds of the whole call, its picture decoded, and of the engine."""
    begun = time.perf_counter()
    picture = client.stylize(content, "mosaic", iterations=iterations)
    picture.to_pil()
    call_s = time.perf_counter() - begun
    return call_s, picture.job.progress.elapsed.ToTimedelta().total_seconds()


if __name__ == "__main__":
    main()
