"""The images of requests are looked at without any caller, or any other kind of work, being kept waiting for it."""

import asyncio
import threading
import time

from styleserve.decoding import Decoder
from styleserve.rpc.inspections import Inspections
from support.killing import until
from support.rich_errors import refused
from support.service import request, running

REQUEST_ID = "0f4b8a1e-6d2c-4c1f-9a59-0c7f4d1f2b11"


async def test_a_caller_with_many_requests_waits_for_itself_alone():
    inspections, goes_on, begun = Inspections(), threading.Event(), []

    def look(name: str) -> None:
        begun.append(name)
        goes_on.wait(20)

    busy = [asyncio.create_task(inspections.do("busy", look, "busy")) for _ in range(9)]
    await until(lambda: len(begun) >= 2)
    other = asyncio.create_task(inspections.do("other", look, "other"))
    await until(lambda: "other" in begun)
    await asyncio.sleep(0.1)
    assert begun == ["busy", "busy", "other"]
    goes_on.set()
    await asyncio.wait_for(asyncio.gather(*busy, other), 20)
    assert begun.count("busy") == 9


async def test_a_call_that_is_cancelled_has_its_turn_until_it_is_out_of_the_way():
    inspections, goes_on, begun = Inspections(), threading.Event(), []

    def look() -> None:
        begun.append(time.monotonic())
        goes_on.wait(20)

    calls = [asyncio.create_task(inspections.do("busy", look)) for _ in range(4)]
    await until(lambda: len(begun) >= 2)
    for call in calls[:2]:
        call.cancel()
    await asyncio.sleep(0.1)
    assert len(begun) == 2
    goes_on.set()
    await asyncio.wait(calls, timeout=20)
    assert len(begun) == 4


async def test_while_many_images_are_looked_at_other_calls_are_answered(tmp_path, monkeypatch):
    measure, goes_on = Decoder.measure, threading.Event()
    async with running(tmp_path) as service:
        await service.transfer.Stylize(request(request_id=REQUEST_ID))
        monkeypatch.setattr(Decoder, "measure", lambda *arguments: (goes_on.wait(20), measure(*arguments))[1])
        invalid = [asyncio.create_task(refused(service.transfer.Stylize(request(priority=99)))) for _ in range(15)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        again = await service.transfer.Stylize(request(request_id=REQUEST_ID))
        assert time.monotonic() - begun < 5
        assert again.result.inline
        goes_on.set()
        assert {reason for _, reason, _ in await asyncio.gather(*invalid)} == {"INVALID_REQUEST"}
