"""A server whose processes are killed again and again while callers go on as a good client would."""

import asyncio
import contextlib
import json
import math
import os
import random
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import grpc

from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2, style_transfer_pb2_grpc
from styleserve_client.errors import from_call
from styleserve_client.requests import CHUNK_BYTES, upload_parts
from support import processes
from support.service import GREY, png, request
from support.toy_process import SETTINGS

AnswerT = TypeVar("AnswerT")
Colour: TypeAlias = float | tuple[float, float, float]
Stub = style_transfer_pb2_grpc.StyleTransferServiceStub
Whom = Literal["front", "engine", "both"]

ITERATIONS = 200
#: A moment between two kills, from the time that the engine is ready again.
LONGEST_PEACE_S = 3.0
#: An upload takes a while, so that kills fall into it: its chunks, and the pause before each.
NUM_CHUNKS, CHUNK_PAUSE_S = 5, 0.1
_RETRY_S = 0.2
_LOOK_S = 0.01
#: What a call may take that is made again and again, by a server that is killed every few seconds or that loads a
#: network on a busy machine; and what may take a look at its files to be as they should.
_LONGEST_S = 900.0
_LONGEST_LOOK_S = 60.0
_TESTS = Path(__file__).resolve().parents[1]


class Victim:
    """The server's processes: a front of ours, and its engine; what they log is in `log`.

    `exit_codes` are those of the fronts that have ended.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.log = folder / "server.log"
        self.mark = str(folder)
        self._command = [sys.executable, "-m", *arguments]
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None
        self.num_starts = 0
        self.exit_codes: list[int] = []

    async def live(self) -> None:
        """Start the front again whenever it has ended, until this is cancelled; then end it."""
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, **self._environment, "PYTHONPATH": paths}
        try:
            with self.log.open("ab") as log:
                while True:
                    self.num_starts += 1
                    self._process = await asyncio.create_subprocess_exec(
                        *self._command,
                        cwd=_TESTS,
                        env=processes.marked_environment(self.mark, environment),
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=log,
                    )
                    self.exit_codes.append(await self._process.wait())
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    def kill(self, whom: Whom) -> None:
        """End front, engine or both, without a word."""
        if whom != "front":
            processes.kill(self.mark, "engine")
        if whom != "engine":
            processes.kill(self.mark, "front")

    def stop_front(self) -> None:
        """Tell the front to stop, as an operator does."""
        assert self._process is not None
        self._process.terminate()


@contextlib.asynccontextmanager
async def living(victim: Victim, address: str) -> AsyncIterator[Stub]:
    """While this lasts the server comes back whenever it is killed; yields a stub that reconnects soon."""
    life = asyncio.create_task(victim.live())
    try:
        async with grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 500)]) as channel:
            yield Stub(channel)
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


def toy_victim(folder: Path, address: str, *moment: str, **settings: object) -> Victim:
    """A server with the toy engine; `settings` are those of `toy_process`."""
    return Victim(folder, ["support.toy_process", str(folder), address, *moment], {SETTINGS: json.dumps(settings)})


def network_victim(folder: Path, address: str, **settings: object) -> Victim:
    """`styleserve serve` with the network itself, untrained; `settings` are those of Config."""
    given = {
        "listen": address,
        "data_dir": folder / "data",
        "cache_dir": folder / "cache",
        "weights": "untrained",
        "memory_limit": "2GB",
        **settings,
    }
    flags = [(f"--{name.replace('_', '-')}", value) for name, value in given.items()]
    arguments = [flag if value is True else f"{flag}={value}" for flag, value in flags]
    return Victim(folder, ["styleserve", "serve", *arguments])


def free_address() -> str:
    """An address of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass(frozen=True)
class Broken:
    """A call that ended without an answer, and was made again: when, by `time.monotonic()`, and with which code."""

    at_s: float
    code: grpc.StatusCode


@dataclass
class Account:
    """What came of one job: how it ended, its picture, how often it was watched, and iterations done again.

    `colour` is that of its content, `broken` are its calls that had to be made again.
    """

    colour: Colour
    name: str = ""
    num_watches: int = 0
    last_sequence: int = 0
    iteration: int = 0
    repeated: list[int] = field(default_factory=list)
    end: job_pb2.Job | None = None
    picture: bytes = b""
    doing: str = "uploading"
    broken: list[Broken] = field(default_factory=list)


async def stylize(stub: Stub, account: Account) -> Account:
    """Ask for a picture as a careful client does: one request ID, and every call again until it is answered.

    Its style is of one colour, the opposite of the content's.
    """
    content = await until_answered(lambda: _upload(stub, account), account.broken)
    account.doing = "asking"
    asked = request(
        ITERATIONS,
        content=image_pb2.ImageSource(image=content),  # of two sources the one that was set last counts
        request_id=str(uuid.uuid4()),
        detached=True,
    )
    asked.styles[0].CopyFrom(recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png(opposite(account.colour)))))
    asked.recipe.color = recipe_pb2.COLOR_MODE_CONTENT_LUMINANCE
    account.name = (await until_answered(lambda: stub.Stylize(asked, timeout=5), account.broken)).job.name
    account.doing = "watching"
    await until_answered(lambda: follow(stub, account), account.broken)
    account.doing = "done"
    return account


def opposite(colour: Colour) -> Colour:
    """The colour that makes white together with this one."""
    return tuple(1 - part for part in colour) if isinstance(colour, tuple) else 1 - colour


def large_png(colour: Colour) -> bytes:
    """A PNG of one colour that takes a while to upload: more follows its end, where no reader looks."""
    return png(colour).ljust(NUM_CHUNKS * CHUNK_BYTES, b"\0")


async def slow_parts(data: bytes) -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
    """An upload that takes a while."""
    for part in upload_parts(data, len(data), ""):
        yield part
        await asyncio.sleep(CHUNK_PAUSE_S)


async def _upload(stub: Stub, account: Account) -> str:
    """Upload the content from its beginning, whatever became of it before."""
    return (await stub.UploadImage(slow_parts(large_png(account.colour)))).image


async def follow(stub: Stub, account: Account) -> None:
    """Follow the job to its end, from where the last watch broke off."""
    account.num_watches += 1
    call = stub.StreamProgress(
        style_transfer_pb2.StreamProgressRequest(
            job=account.name, after_sequence=account.last_sequence, include_result=True
        )
    )
    async for update in call:
        if update.sequence <= account.last_sequence:  # after a long silence the newest is told again
            assert update.WhichOneof("event") != "result"
            continue
        account.last_sequence = update.sequence
        match update.WhichOneof("event"):
            case "progress":
                if update.progress.iteration < account.iteration:
                    account.repeated.append(account.iteration - update.progress.iteration)
                account.iteration = update.progress.iteration
                if account.iteration == update.progress.total_iterations:
                    account.doing = "waiting for the picture"
            case "result":
                account.picture = update.result.inline
            case "job":
                account.end = update.job


async def until_answered(call: Callable[[], Awaitable[AnswerT]], broken: list[Broken] | None = None) -> AnswerT:
    """The answer, however often the server is away; what it refuses for good is raised. `broken` gets what had none."""
    deadline = time.monotonic() + _LONGEST_S
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            code = from_call(error).code
            is_away = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if not is_away or time.monotonic() > deadline:
                raise
            if broken is not None:
                broken.append(Broken(time.monotonic(), code))
            await asyncio.sleep(_RETRY_S)


async def until(has_happened: Callable[[], bool], longest_s: float = _LONGEST_LOOK_S) -> None:
    """Wait for what no event tells, since it happens in another process."""
    deadline = time.monotonic() + longest_s
    while not has_happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(_LOOK_S)


async def until_ready(stub: Stub, style: str = GREY, timeout_s: float = 5.0) -> None:
    """Wait until the server and its engine make pictures in a style, which takes them less than `timeout_s` seconds."""
    asked = request(0)
    asked.styles[0].style = style
    await until_answered(lambda: stub.Stylize(asked, timeout=timeout_s))


@dataclass
class Kill:
    """Whom it met, what callers were doing at that moment, and from when to when callers had no front."""

    whom: Whom
    doing: tuple[str, ...]
    at_s: float
    over_s: float = math.inf

    def excuses(self, broken: Broken) -> bool:
        """Whether the call may have ended because of it: an engine's end is no excuse."""
        return self.whom != "engine" and self.at_s <= broken.at_s <= self.over_s


async def kill_at_random(
    victim: Victim, stub: Stub, rounds: int, dice: random.Random, accounts: Iterable[Account]
) -> list[Kill]:
    """Kill front, engine or both, `rounds` times, each at a random moment after the engine was ready again."""
    kills: list[Kill] = []
    for _ in range(rounds):
        await until_ready(stub)
        if kills:
            kills[-1].over_s = time.monotonic()
        await asyncio.sleep(dice.uniform(0, LONGEST_PEACE_S))
        whom: Whom = dice.choice(("front", "engine", "both"))
        doing = tuple(account.doing for account in accounts if account.doing != "done")
        kills.append(Kill(whom, doing, time.monotonic()))
        victim.kill(whom)
    return kills
