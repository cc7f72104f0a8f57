"""Callers of a soak: whatever they do, they know what has to come of it, and complain when something else does."""

import asyncio
import io
import itertools
import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import numpy as np
import pytest
from PIL import Image

from styleserve import images
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_transfer_pb2
from support.killing import Account, Stub, follow, large_png, slow_parts, until_answered
from support.relay import Relay
from support.rich_errors import details

#: Heights and widths; few, so that what is traced for each is traced soon.
SIZES = ((16, 16), (24, 32), (48, 64), (64, 64))
PRESETS = ("classic", "paper", "draft", "standard", "fine")
OPTIMIZERS = (recipe_pb2.OPTIMIZER_ADAM, recipe_pb2.OPTIMIZER_LBFGS, recipe_pb2.OPTIMIZER_LBFGSB)
_ENDED = {job_pb2.JOB_STATE_SUCCEEDED: "succeeded", job_pb2.JOB_STATE_CANCELLED: "cancelled"}
_LONG = 2000


@dataclass
class Ledger:
    """What callers did, what became of their jobs, and what should not have happened."""

    done: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """What a caller has: a server and its address, a style there, chance, and the ledger."""

    stub: Stub
    address: str
    style: str
    dice: random.Random
    ledger: Ledger
    iterations: int


Deed: TypeAlias = Callable[[World], Coroutine[None, None, None]]


async def call_until(world: World, deeds: tuple[Deed, ...], is_over: Callable[[], bool]) -> None:
    """Do one thing after the other, by chance; what goes wrong with one is written down, and the next comes."""
    while not is_over():
        deed = world.dice.choice(deeds)
        try:
            await deed(world)
        except Exception as error:
            world.ledger.complaints.append(f"{deed.__name__}: {type(error).__name__}: {str(error)[:200]}")
        world.ledger.done[deed.__name__] += 1


async def make_all_kinds(world: World, num_callers: int) -> None:
    """Have pictures made of every size by every preset and optimizer, in batches of every number of them.

    From then on nothing is new to the engine, which keeps what it worked out for each. Jobs of one kind that begin
    together and end one after the other have batches that become smaller.
    """
    iterations = [world.iterations * number // num_callers for number in range(1, num_callers + 1)]
    for kind in itertools.product(SIZES, PRESETS, OPTIMIZERS):
        asked = [_request(world, *kind, number) for number in iterations]
        await asyncio.gather(*(until_answered(lambda one=one: world.stub.Stylize(one)) for one in asked))


async def paint(world: World) -> None:
    """Start a job, lose its stream or not, come back, and have the picture."""
    asked = _ask(world, detached=True)
    account = Account(0.0, name=(await until_answered(lambda: world.stub.Stylize(asked, timeout=20))).job.name)
    await _have_ended(world, account, "succeeded")


async def wait(world: World) -> None:
    """Wait for a picture in one call, made again whenever it breaks."""
    asked = _ask(world, orphan_policy=style_transfer_pb2.ORPHAN_POLICY_CONTINUE)
    response = await until_answered(lambda: world.stub.Stylize(asked))
    account = Account(0.0, name=response.job.name)
    await _have_ended(world, account, "succeeded")
    assert response.result.inline == account.picture


async def cancel(world: World) -> None:
    """Start a long job and have it cancelled."""
    asked = _ask(world, detached=True, iterations=_LONG)
    account = Account(0.0, name=(await until_answered(lambda: world.stub.Stylize(asked, timeout=20))).job.name)
    await asyncio.sleep(world.dice.uniform(0, 1))
    cancelling = style_transfer_pb2.CancelJobRequest(name=account.name)
    await until_answered(lambda: world.stub.CancelJob(cancelling, timeout=20))
    await _have_ended(world, account, "cancelled")


async def leave(world: World) -> None:
    """Start a job by a stream with previews, and hang up; it ends all the same."""
    start = style_transfer_pb2.StreamProgressRequest(
        start=_ask(world, iterations=world.iterations), preview=style_transfer_pb2.PreviewOptions(max_side=32)
    )

    async def begin() -> str:
        call = world.stub.StreamProgress(start)
        update = await call.read()
        assert isinstance(update, style_transfer_pb2.StreamProgressResponse)
        await asyncio.sleep(world.dice.uniform(0, 0.5))
        call.cancel()
        return update.job.name

    await _have_ended(world, Account(0.0, name=await until_answered(begin)), "succeeded", "cancelled")


async def hang_up(world: World) -> None:
    """Wait for a picture in one call, and hang up; when that had come to a job, it ends."""
    name = f"chosen-{world.dice.getrandbits(64):016x}"
    waiting = world.stub.Stylize(_ask(world, iterations=10 * world.iterations, job_id=name))
    await asyncio.sleep(world.dice.uniform(0, 0.5))
    waiting.cancel()
    try:
        await _have_ended(world, Account(0.0, name=f"jobs/{name}"), "cancelled")
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise


async def lose_connection(world: World) -> None:
    """Watch a job by a connection that breaks; it ends all the same, whoever comes back to it."""
    async with Relay(world.address) as relay, grpc.aio.insecure_channel(relay.address) as channel:
        start = style_transfer_pb2.StreamProgressRequest(start=_ask(world))

        async def begin() -> str:
            update = await Stub(channel).StreamProgress(start).read()
            assert isinstance(update, style_transfer_pb2.StreamProgressResponse)
            return update.job.name

        name = await until_answered(begin)
        relay.cut()
    await _have_ended(world, Account(0.0, name=name), "succeeded", "cancelled")


async def send_bad_image(world: World) -> None:
    """Send what is no image, and be told so."""
    whole = _noise(world, 24, 24)
    bad = world.dice.choice((b"", b"once upon a time", whole[: len(whole) // 2], world.dice.randbytes(500)))
    asked = _ask(world)
    asked.content.inline = bad

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await until_answered(lambda: world.stub.Stylize(asked, timeout=20))
    assert details(caught.value)[0].reason == "INVALID_REQUEST"


async def upload(world: World) -> None:
    """Break an upload off, make it again, and download the same."""
    data = large_png(world.dice.random())
    broken = world.stub.UploadImage(slow_parts(data))
    await asyncio.sleep(world.dice.uniform(0, 0.3))
    broken.cancel()
    name = (await until_answered(lambda: world.stub.UploadImage(slow_parts(data)))).image

    async def download() -> bytes:
        call = world.stub.DownloadImage(style_transfer_pb2.DownloadImageRequest(image=name))
        return b"".join([part.chunk async for part in call])

    assert await until_answered(download) == data


async def read(world: World) -> None:
    """Read jobs."""
    listed = await until_answered(
        lambda: world.stub.ListJobs(style_transfer_pb2.ListJobsRequest(page_size=20), timeout=20)
    )
    assert len({job.name for job in listed.jobs}) == len(listed.jobs)


DEEDS: tuple[Deed, ...] = (
    paint,
    paint,
    wait,
    cancel,
    leave,
    hang_up,
    lose_connection,
    send_bad_image,
    upload,
    read,
)


async def _have_ended(world: World, account: Account, *allowed: str) -> None:
    """Follow the job to its end: it has one, which stays, with a picture where it succeeded."""
    await until_answered(lambda: follow(world.stub, account))
    assert account.end is not None, account
    state = _ENDED.get(account.end.state, "failed")
    world.ledger.ended[state] += 1
    assert state in allowed or (state == "succeeded" and "cancelled" in allowed), account.end
    again = await until_answered(
        lambda: world.stub.GetJob(style_transfer_pb2.GetJobRequest(name=account.name), timeout=20)
    )
    assert again.job == account.end
    if state == "succeeded":
        picture = Image.open(io.BytesIO(account.picture))
        picture.load()
        assert picture.size == (account.end.result.width, account.end.result.height)


def _ask(world: World, iterations: int | None = None, **fields: object) -> style_transfer_pb2.StylizeRequest:
    """A request by chance."""
    size, preset, optimizer = (world.dice.choice(choices) for choices in (SIZES, PRESETS, OPTIMIZERS))
    if iterations is None:
        iterations = world.dice.randint(1, world.iterations)
    return _request(world, size, preset, optimizer, iterations, **fields)


def _request(
    world: World, size: tuple[int, int], preset: str, optimizer: int, iterations: int, **fields: object
) -> style_transfer_pb2.StylizeRequest:
    """A request with a picture and an ID of its own."""
    return style_transfer_pb2.StylizeRequest(
        content=image_pb2.ImageSource(inline=_noise(world, *size)),
        styles=[recipe_pb2.StyleInput(style=world.style)],
        recipe=recipe_pb2.Recipe(preset=preset, optimizer=optimizer, iterations=iterations),
        request_id=str(uuid.UUID(int=world.dice.getrandbits(128), version=4)),
        **fields,
    )


def _noise(world: World, height: int, width: int) -> bytes:
    pixels = np.random.default_rng(world.dice.getrandbits(32)).random((height, width, 3), np.float32)
    return images.encode(images.Picture(pixels), "png").data
