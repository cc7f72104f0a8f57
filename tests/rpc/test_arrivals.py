"""Requests on their way in: a few are received at a time, none for long, and no caller is in another's way."""

import asyncio

import grpc
import pytest

from styleserve.errors import RetryLaterError
from styleserve.rpc import arrivals
from styleserve.rpc.access import NEEDED
from styleserve.rpc.arrivals import WITH_IMAGES, Arrivals
from styleserve.v1 import image_pb2
from support.killing import Stub
from support.relay import Relay
from support.rich_errors import refused
from support.service import png, request, running


class Coming:
    """A request that comes when it is told to."""

    def __init__(self) -> None:
        self.is_received = False
        self.has_come = asyncio.Event()

    def __aiter__(self) -> "Coming":
        return self

    async def __anext__(self) -> str:
        self.is_received = True
        await self.has_come.wait()
        return "request"


STYLIZE, GET_JOB = (f"/styleserve.v1.StyleTransferService/{name}" for name in ("Stylize", "GetJob"))


async def begun(arriving: Arrivals, caller: str, coming: Coming, method: str = STYLIZE) -> asyncio.Task:
    task = asyncio.create_task(arriving.receive(caller, method, coming))
    await asyncio.sleep(0.01)
    return task


async def test_of_a_caller_a_few_are_received_at_a_time_and_the_others_in_turn(monkeypatch):
    monkeypatch.setattr(arrivals, "MOST_OF_CALLER", 2)
    arriving, coming = Arrivals(), [Coming() for _ in range(3)]
    tasks = [await begun(arriving, "a", each) for each in coming]
    of_another, without_images = Coming(), Coming()
    tasks.append(await begun(arriving, "b", of_another))
    tasks.append(await begun(arriving, "a", without_images, GET_JOB))
    everything = (*coming, of_another, without_images)
    assert [each.is_received for each in everything] == [True, True, False, True, True]
    for each in everything:
        each.has_come.set()
    assert await asyncio.gather(*tasks) == ["request"] * 5


async def test_one_that_was_given_up_makes_room(monkeypatch):
    monkeypatch.setattr(arrivals, "MOST_OF_CALLER", 1)
    arriving, coming = Arrivals(), [Coming(), Coming()]
    first, second = [await begun(arriving, "a", each) for each in coming]
    first.cancel()
    coming[1].has_come.set()
    assert await asyncio.wait_for(second, 5) == "request"


async def test_one_that_does_not_come_whole_is_refused_and_holds_up_its_caller_for_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(arrivals, "MOST_OF_CALLER", 1)
    monkeypatch.setattr(arrivals, "LONGEST_S", 0.5)
    small = request()
    large = request(content=image_pb2.ImageSource(inline=png(0.2).ljust(5_000_000, b"\0")))
    async with (
        running(tmp_path) as service,
        Relay(service.address, most_bytes=100_000) as relay,
        grpc.aio.insecure_channel(relay.address) as channel,
    ):
        stuck = asyncio.create_task(refused(Stub(channel).Stylize(large)))
        await asyncio.sleep(0.2)
        await service.transfer.Stylize(small, timeout=5)
        code, reason, (retry,) = await asyncio.wait_for(stuck, 5)
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "REQUEST_LATE")
    assert retry.retry_delay.seconds == 1


async def test_one_without_images_that_is_held_up_on_its_way_is_to_be_sent_again_soon(monkeypatch):
    monkeypatch.setattr(arrivals, "LONGEST_WITHOUT_IMAGES_S", 0.05)
    with pytest.raises(RetryLaterError, match="did not come whole"):
        await Arrivals().receive("a", GET_JOB, Coming())


def test_the_methods_that_may_take_their_time_are_some_that_callers_are_known_of():
    assert NEEDED.keys() > WITH_IMAGES
