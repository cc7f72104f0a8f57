"""Fetches: what becomes of a download whose callers have left."""

import asyncio
import gc
import threading

import pytest

from styleserve.catalog.fetches import Fetches


async def test_a_download_that_fails_when_nobody_waits_any_more_is_no_fault_of_the_programs(caplog):
    begun, may_fail, fetches = threading.Event(), threading.Event(), Fetches()

    def download() -> None:
        begun.set()
        may_fail.wait()
        raise OSError("no network")

    caller = asyncio.create_task(fetches.fetch("d" * 64, download))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_fail.set()
    await asyncio.wait(list(fetches._on_their_way.values()))
    gc.collect()
    assert not caplog.records
