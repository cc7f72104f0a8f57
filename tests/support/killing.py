"""A server whose processes are killed again and again while callers go on as a good client would."""

import asyncio
import json
import os
import random
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2, style_transfer_pb2_grpc
from support.service import png, request

ITERATIONS = 200
#: A moment between two kills, from the time that the engine is ready again.
LONGEST_PEACE_S = 3.0
_RETRY_S = 0.2
_LONGEST_S = 90.0
_TESTS = Path(__file__).resolve().parents[1]


class Victim:
    """The server's processes: a front of ours, and its engine. `settings` are those of Config.

    `exit_codes` are those of the fronts that have ended.
    """

    def __init__(self, folder: Path, address: str, **settings: object) -> None:
        self._folder = folder
        self._address = address
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self.num_starts = 0
        self.exit_codes: list[int] = []

    async def live(self) -> None:
        """Start the front again whenever it has ended, until this is cancelled; then end it."""
        try:
            while True:
                self.num_starts += 1
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "support.toy_process",
                    str(self._folder),
                    self._address,
                    json.dumps(self._settings),
                    cwd=_TESTS,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                self.exit_codes.append(await self._process.wait())
        finally:
            self.kill_front()
            if self._process is not None:
                await self._process.wait()

    def stop_front(self) -> None:
        """Tell the front to stop, as an operator does."""
        assert self._process is not None
        self._process.terminate()

    def kill_front(self) -> None:
        """End the front, without a word."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def kill_engine(self) -> None:
        """End the front's engine, if it has one."""
        for pid in _children(self._process.pid if self._process else -1):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Account:
    """What came of one job: how it ended, its picture, how often it was watched, and iterations done again."""

    colour: float
    name: str = ""
    num_watches: int = 0
    last_sequence: int = 0
    iteration: int = 0
    repeated: list[int] = field(default_factory=list)
    end: job_pb2.Job | None = None
    picture: bytes = b""


async def stylize(stub: style_transfer_pb2_grpc.StyleTransferServiceStub, colour: float) -> Account:
    """Ask for a picture as a careful client does: one request ID, and every call again until it is answered."""
    account = Account(colour)
    asked = request(
        ITERATIONS,
        content=image_pb2.ImageSource(inline=png(colour)),
        request_id=str(uuid.uuid4()),
        detached=True,
    )
    account.name = (await _until_answered(lambda: stub.Stylize(asked, timeout=5))).job.name
    await _until_answered(lambda: _watch(stub, account))
    return account


async def _watch(stub: style_transfer_pb2_grpc.StyleTransferServiceStub, account: Account) -> None:
    """Follow the job to its end, from where the last watch broke off."""
    account.num_watches += 1
    call = stub.StreamProgress(
        style_transfer_pb2.StreamProgressRequest(
            job=account.name, after_sequence=account.last_sequence, include_result=True
        )
    )
    async for update in call:
        assert update.sequence > account.last_sequence
        account.last_sequence = update.sequence
        match update.WhichOneof("event"):
            case "progress":
                if update.progress.iteration < account.iteration:
                    account.repeated.append(account.iteration - update.progress.iteration)
                account.iteration = update.progress.iteration
            case "result":
                account.picture = update.result.inline
            case "job":
                account.end = update.job


async def _until_answered(call):
    """The answer, however often the server is away; what it refuses for good is raised."""
    deadline = time.monotonic() + _LONGEST_S
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            away = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if error.code() not in away or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_S)


async def kill_at_random(victim: Victim, stub, rounds: int, dice: random.Random) -> None:
    """Kill front, engine or both, `rounds` times, each at a random moment after the engine was ready again."""
    for _ in range(rounds):
        await _until_answered(lambda: stub.Stylize(request(0), timeout=5))
        await asyncio.sleep(dice.uniform(0, LONGEST_PEACE_S))
        whom = dice.choice(("front", "engine", "both"))
        if whom != "front":
            victim.kill_engine()
        if whom != "engine":
            victim.kill_front()


def _children(parent: int) -> list[int]:
    """Engines of a front: the children that were spawned as Python processes."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"\nPPid:\t{parent}\n" in status and b"spawn_main" in command:
            found.append(int(folder.name))
    return found
