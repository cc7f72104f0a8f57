"""What a crowd of watchers costs: the engine's pace and the front's memory, alone and with 550 watchers of one job.

    python -m benchmarks.watchers [--reading 500] [--silent 50] [--turns 3] [--seconds 20]

A real server makes one long picture; in turn nobody watches it, and a crowd does: most read all that comes, some take
one event and never read again. The crowd is a process of its own with the lowest priority, since what clients do with
what they hear is not the server's. The targets: the pace changes by less than 5 %, the memory by less than 100 MB.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from benchmarks import report, subjects
from styleserve import images
from styleserve.cli.connection import private_server
from styleserve.v1 import style_transfer_pb2
from styleserve_client import Client

_WATCH = "/styleserve.v1.StyleTransferService/StreamProgress"
_STREAMS_A_CONNECTION = 25
_LOWEST_PRIORITY = 19
_SETTLING_S = 5.0


def main() -> None:
    """Measure, print, and write docs/benchmarks/watchers.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reading", type=int, default=500, help="watchers who read everything (default: 500)")
    parser.add_argument("--silent", type=int, default=50, help="watchers who never read again (default: 50)")
    parser.add_argument("--turns", type=int, default=3, help="turns of each, after one to warm up (default: 3)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of a turn (default: 20)")
    parser.add_argument("--side", type=int, default=256, help="longest side of the picture in pixels (default: 256)")
    parser.add_argument("--crowd", nargs=2, metavar=("ADDRESS", "JOB"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.crowd:
        address, job = arguments.crowd
        asyncio.run(_watch(address, job, arguments.reading, arguments.silent))
        return
    alone, watched, memory, info = _measure(arguments)
    ratio = statistics.median(watched) / statistics.median(alone)
    growth = (max(memory["watched"]) - memory["alone"][0]) / 1e6
    rows = [["alone", statistics.median(alone), memory["alone"][0] / 1e6]]
    rows += [["watched", statistics.median(watched), max(memory["watched"]) / 1e6]]
    print(report.table(["watchers", "evaluations a second", "front at first, and at most, MB"], rows))
    print(f"pace {ratio:.3f}, memory {growth:+.0f} MB")
    report.write(
        "watchers",
        {
            **info,
            **{name: getattr(arguments, name) for name in ("reading", "silent", "side", "seconds")},
            "alone_per_s": alone,
            "watched_per_s": watched,
            "pace": ratio,
            "front_bytes": memory,
        },
    )


def _measure(
    arguments: argparse.Namespace,
) -> tuple[list[float], list[float], dict[str, list[int]], dict[str, str]]:
    """Evaluations a second alone and watched, a turn each, the front's bytes at each, and what it ran on."""
    alone: list[float] = []
    watched: list[float] = []
    memory: dict[str, list[int]] = {"alone": [], "watched": []}
    content = images.encode(images.Picture(subjects.photograph(arguments.side)), "png").data
    server_arguments = ("--weights", subjects.weights_choice(), "--no-cache")
    with tempfile.TemporaryDirectory() as data_dir:
        data = ("--data-dir", data_dir)
        with private_server((*data, *server_arguments)) as server, Client(server.address) as client:
            front = int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[0])
            job = client.submit(content, "mosaic", preset="classic", iterations=10_000).name
            for turn in range(arguments.turns + 1):
                calm = _pace(client, job, arguments.seconds)
                memory["alone"].append(_resident_bytes(front))
                with _crowd(server.address, job, arguments.reading, arguments.silent):
                    busy = _pace(client, job, arguments.seconds)
                    memory["watched"].append(_resident_bytes(front))
                if turn > 0:
                    alone.append(calm)
                    watched.append(busy)
                print(f"{calm:.3f} {busy:.3f} evaluations a second", flush=True)
            info = client.info()
            client.cancel(job)
    return alone, watched, memory, {"weights": info.weights, "precision": info.precision}


def _pace(client: Client, job: str, seconds: float) -> float:
    """Evaluations a second, once what came before has settled."""
    time.sleep(_SETTLING_S)
    begun, before = time.perf_counter(), client.job(job).progress.evaluations
    time.sleep(seconds)
    return (client.job(job).progress.evaluations - before) / (time.perf_counter() - begun)


def _resident_bytes(process: int) -> int:
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def _crowd(address: str, job: str, reading: int, silent: int) -> Iterator[None]:
    """Watchers in a process of their own, all of them there when this begins."""
    command = [sys.executable, "-m", "benchmarks.watchers", "--crowd", address, job]
    counts = ["--reading", str(reading), "--silent", str(silent)]
    with subprocess.Popen([*command, *counts], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "watching"
        try:
            yield
        finally:
            process.kill()


async def _watch(address: str, job: str, reading: int, silent: int) -> None:
    """Watch until the process is ended."""
    os.nice(_LOWEST_PRIORITY)
    request = style_transfer_pb2.StreamProgressRequest(job=job).SerializeToString()
    count = reading + silent
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-count // _STREAMS_A_CONNECTION))
    ]
    watches: list[Any] = [channel.unary_stream(_WATCH) for channel in channels]
    calls = [watches[index % len(watches)](request) for index in range(count)]
    for call in calls:
        await call.read()
    print("watching", flush=True)
    await asyncio.gather(*(_read(call) for call in calls[:reading]))


async def _read(call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


if __name__ == "__main__":
    main()
