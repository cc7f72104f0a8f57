"""Runs the Dockerfile's commands without Docker, in a clean folder that stands in for the image's root.

    python docs/check_dockerfile.py [--target cpu]

COPY, RUN, ENV, ENTRYPOINT, CMD and HEALTHCHECK are taken from the file as they are, with the image's paths moved below
the folder. What would change this machine itself (users, owners) is printed and left out. At the end the server is
started as the image starts it, asked for its health as the image asks, and told to stop by SIGTERM. The target `gpu` is
resolved by pip and not installed, since its wheels take gigabytes.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
MOVED = ("/opt/styleserve", "/build", "/data", "/weights", "/styles")
#: Where the image asks for its health; here the port may be another server's.
ADDRESS_INSIDE = "127.0.0.1:50051"
START_TIMEOUT_S = 180.0


@dataclass
class Image:
    """What the stages up to a target come to."""

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def instructions() -> list[tuple[str, str]]:
    """The file's instructions and their arguments, continued lines joined, comments left out."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def wanted_stages(target: str) -> set[str]:
    """The stages that the target is built from."""
    parents = {}
    for name, argument in instructions():
        if name == "FROM":
            parent, _, stage = argument.split()
            parents[stage] = {parent}
        elif name == "COPY" and argument.startswith("--from="):
            parents[stage].add(argument.split()[0].removeprefix("--from="))
    stages, left = set(), {target}
    while left:
        stage = left.pop()
        stages.add(stage)
        left |= {parent for parent in parents[stage] if parent in parents} - stages
    return stages


def moved(text: str, root: Path) -> str:
    """The text with the image's paths below `root`."""
    for path in MOVED:
        text = re.sub(rf"(?<![\w.]){re.escape(path)}(?![\w-])", f"{root}{path}", text)
    return text


def run(command: str, folder: Path, root: Path) -> None:
    """Run a RUN instruction in the image's working folder."""
    command = moved(command, root)
    if "useradd" in command:
        print("left out, since it changes this machine's users:", command)
        for path in ("/data", "/weights", "/styles"):
            Path(f"{root}{path}").mkdir(parents=True, exist_ok=True)
        return
    command = re.sub(r"^python ", f"{sys.executable} ", command)
    if "[gpu]" in command:
        command = command.replace("pip install", "pip install --dry-run")
    print("RUN", command, flush=True)
    subprocess.run(["sh", "-ec", command], cwd=folder, check=True)


def build(target: str, root: Path) -> Image:
    """Follow the instructions of every stage that the target needs."""
    image, stages, stage, folder = Image(), wanted_stages(target), "", root
    for name, argument in instructions():
        if name == "FROM":
            stage = argument.split()[2]
        if stage not in stages:
            continue
        match name:
            case "WORKDIR":
                folder = Path(moved(argument, root))
                folder.mkdir(parents=True, exist_ok=True)
            case "COPY" if not argument.startswith("--from="):
                copy(argument.split(), folder)
            case "RUN":
                run(argument, folder, root)
            case "ENV":
                image.environment |= dict(part.split("=", 1) for part in shlex.split(moved(argument, root)))
            case "ENTRYPOINT" | "CMD":
                image.entrypoint += json.loads(argument)
            case "HEALTHCHECK":
                image.health = json.loads(argument.partition(" CMD ")[2])
    return image


def copy(arguments: list[str], folder: Path) -> None:
    """COPY from the project, which git's index stands for, so that nothing else comes along."""
    *sources, destination = arguments
    place = folder / destination
    listed = subprocess.run(["git", "ls-files", *sources], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        is_folder_copy = len(sources) == 1 and (PROJECT / sources[0]).is_dir()
        path = place / (Path(name).relative_to(sources[0]) if is_folder_copy else Path(name).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, path)


def free_address() -> str:
    """An address of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def try_out(image: Image) -> None:
    """Start the server, wait for its health, and stop it as Docker does."""
    path = image.environment["PATH"].replace("$PATH", os.environ["PATH"])
    address = free_address()
    environment = {**os.environ, **image.environment, "PATH": path, "STYLESERVE_LISTEN": address}
    health = [part.replace(ADDRESS_INSIDE, address) for part in image.health]
    server = subprocess.Popen(image.entrypoint, env=environment)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(health, env=environment, check=False).returncode != 0:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not become healthy"
            time.sleep(1)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
    print("the server became healthy and ended on SIGTERM")


def main() -> None:
    """Build the target in a clean folder and try it out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("cpu", "gpu"), default="cpu", help="the stage to build (default: cpu)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        image = build(arguments.target, Path(root))
        if arguments.target == "cpu":
            try_out(image)


if __name__ == "__main__":
    main()
