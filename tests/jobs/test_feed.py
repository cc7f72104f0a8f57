"""The feed: states are never lost, progress is conflated, silence is broken."""

import asyncio
import dataclasses
import gc
import itertools
import time
import weakref

import numpy as np
import pytest

from styleserve.errors import DrainingError
from styleserve.evaluation import Losses
from styleserve.events import Progress
from styleserve.images import Encoded
from styleserve.jobs.crowd import LONGEST_REST_S
from styleserve.jobs.feed import IDLE_S, Feed, Update
from styleserve.jobs.frames import PreviewWish
from styleserve.jobs.status import JobStatus, StoredImage
from styleserve.observing.happenings import PreviewDropped, PreviewSent
from styleserve.observing.observer import Silence


def status(state: str) -> JobStatus:
    return JobStatus(name="jobs/a", state=state, create_time=0.0, labels=())


def come_to(iteration: int) -> JobStatus:
    progress = Progress(iteration, 10, iteration, Losses(1.0, 0.0, 1.0, 0.0), 8, 8, 1.0, 1.0)
    return dataclasses.replace(status("running"), progress=progress)


async def read(feed: Feed, **options: object) -> list[Update]:
    return [update async for update in feed.watch(**options)]


def told(updates: list[Update]) -> list[object]:
    return [
        update.content.state
        if update.kind in ("state", "position")
        else getattr(update.content, "iteration", update.kind)
        for update in updates
    ]


async def test_a_slow_watcher_misses_progress_but_no_state():
    feed = Feed()
    feed.tell_state(status("queued"))
    watching = feed.watch()
    assert (await anext(watching)).content.state == "queued"
    feed.tell_state(status("running"))
    for iteration in range(5):
        feed.tell_progress(come_to(iteration))
    feed.tell_state(status("failed"))
    feed.close()
    rest = [update async for update in watching]
    assert told(rest) == ["running", 4, "failed"]
    assert [update.sequence for update in rest] == [2, 7, 8]


async def test_who_comes_late_gets_the_whole_job_first():
    feed = Feed()
    feed.tell_state(status("running"))
    feed.tell_progress(come_to(3))
    feed.tell_result(StoredImage("0" * 64, "image/png", 1, 1, 1))
    feed.tell_state(status("succeeded"))
    feed.close()
    for after, expected in ((0, [3, 4, 5]), (2, [3, 4, 5]), (3, [4, 5]), (4, [5]), (5, [])):
        updates = await read(feed, after_sequence=after)
        assert [update.sequence for update in updates] == expected
    assert told(await read(feed)) == ["succeeded", "result", "succeeded"]


async def test_the_whole_job_is_told_first_as_far_as_it_has_come():
    feed = Feed()
    feed.tell_state(status("running"))
    feed.tell_progress(come_to(3))
    watching, silent = feed.watch(), feed.watch(after_sequence=2, idle_s=0.02)
    for first in (await anext(watching), await anext(silent)):
        assert (first.kind, first.content) == ("state", come_to(3))
    feed.tell_progress(come_to(4))
    assert told([await anext(watching), await anext(silent)]) == [4, 4]
    await watching.aclose()
    await silent.aclose()


async def test_silence_is_broken_by_the_last_progress_under_its_own_sequence():
    feed = Feed()
    feed.tell_state(status("running"))
    watching = feed.watch(idle_s=0.02)
    await anext(watching)
    feed.tell_progress(come_to(1))
    first, again = await anext(watching), await anext(watching)
    assert first == again
    await watching.aclose()


async def test_silence_before_any_progress_is_broken_by_the_whole_job():
    feed = Feed()
    feed.tell_state(status("queued"))
    watching = feed.watch(idle_s=0.02)
    assert (await anext(watching)) == (await anext(watching))
    await watching.aclose()


async def test_silence_is_broken_by_the_whole_job_for_one_who_saw_everything():
    feed = Feed()
    feed.tell_state(status("running"))
    feed.tell_progress(come_to(1))
    watching = feed.watch(after_sequence=2, idle_s=0.02)
    assert (await anext(watching)).content.state == "running"
    feed.tell_progress(come_to(2))
    assert (await anext(watching)).content.iteration == 2
    await watching.aclose()


async def test_a_preview_is_encoded_once_a_size_for_all_watchers(monkeypatch):
    from styleserve.jobs import feed as module

    sizes = []
    original = module.images.encode_preview
    monkeypatch.setattr(
        module.images, "encode_preview", lambda pixels, side: sizes.append(side) or original(pixels, side)
    )
    feed = Feed()
    feed.tell_state(status("running"))
    watchers = [feed.watch(wish=PreviewWish(max_side=side)) for side in (16, 16, 32)]
    for watcher in watchers:
        await anext(watcher)
    feed.tell_preview(np.zeros((64, 64, 3), np.uint8))
    previews = await asyncio.gather(*(anext(watcher) for watcher in watchers))
    assert [preview.content.width for preview in previews] == [16, 16, 32]
    assert sorted(sizes) == [16, 32]
    for watcher in watchers:
        await watcher.aclose()


async def test_previews_are_not_kept_for_as_long_as_the_job(monkeypatch):
    class Watched(Encoded):
        """One that a weak reference can follow."""

    monkeypatch.setattr("styleserve.jobs.feed.images.encode_preview", lambda *_: Watched(b"jpeg", "image/jpeg", 8, 8))
    feed = Feed()
    feed.tell_state(status("running"))
    watching = feed.watch(wish=PreviewWish(max_side=16))
    await anext(watching)
    feed.tell_preview(np.zeros((8, 8, 3), np.uint8))
    shown = weakref.ref((await anext(watching)).content)
    feed.tell_state(status("succeeded"))
    feed.close()
    await watching.aclose()
    deadline = time.monotonic() + 2  # the thread that encoded it lets go of it a little later
    while shown() is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        gc.collect()
    assert shown() is None


class Listener(Silence):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard = []

    def hear(self, happening) -> None:
        self.heard.append(type(happening))


async def test_a_preview_that_gave_way_before_a_watcher_took_it_counts_as_dropped_for_those_it_was_due_to():
    feed = Feed()
    feed.tell_state(status("running"))
    slow, quick, other = Listener(), Listener(), Listener()
    wish = PreviewWish(max_side=16, interval_s=0.0)
    watchers = [feed.watch(wish=wish, observer=slow), feed.watch(wish=wish, observer=quick), feed.watch(observer=other)]
    for watcher in watchers:
        await anext(watcher)
    for _ in range(3):
        feed.tell_preview(np.zeros((64, 64, 3), np.uint8))
        assert (await anext(watchers[1])).kind == "preview"
    assert quick.heard == [PreviewSent] * 3
    assert slow.heard == [PreviewDropped] * 2
    feed.tell_state(status("succeeded"))
    feed.close()
    assert slow.heard == [PreviewDropped] * 3
    assert quick.heard == [PreviewSent] * 3
    assert other.heard == []
    for watcher in watchers:
        await watcher.aclose()


async def test_an_interruption_ends_every_watch():
    feed = Feed()
    feed.tell_state(status("running"))
    watching = asyncio.ensure_future(read(feed))
    waiting = asyncio.ensure_future(feed.ended())
    await asyncio.sleep(0)
    feed.interrupt(DrainingError(1))
    for task in (watching, waiting):
        with pytest.raises(DrainingError):
            await task


async def heard_of(feed: Feed, num_watchers: int, seconds: float) -> int:
    """How many events all watchers together hear of a job that comes further every millisecond."""
    heard = 0

    async def listen() -> None:
        nonlocal heard
        async for _ in feed.watch():
            heard += 1

    feed.tell_state(status("running"))
    async with asyncio.TaskGroup() as group:
        for _ in range(num_watchers):
            group.create_task(listen())
        end = time.monotonic() + seconds
        iteration = 0
        while time.monotonic() < end:
            await asyncio.sleep(0.001)
            feed.tell_progress(come_to(iteration := iteration + 1))
        before_the_end = heard
        feed.tell_state(status("failed"))
        feed.close()
    assert heard - before_the_end >= num_watchers, "the end reaches everybody, however short they rested"
    return before_the_end


async def test_a_crowd_hears_no_more_often_than_a_few_together():
    few, crowd = await heard_of(Feed(), 10, 0.5), await heard_of(Feed(), 500, 0.5)
    assert crowd < 500 + 3 * few, "the first event of each, and then no more than a few hear"


async def test_who_has_had_as_many_previews_as_it_wanted_wants_no_more():
    feed, wish = Feed(), PreviewWish(interval_s=0.0, max_count=1)
    feed.tell_state(status("running"))
    feed.wish(wish)
    feed.wish(PreviewWish(interval_s=7.0, max_side=16))
    watching = feed.watch(wish=wish)
    await anext(watching)
    assert feed.previews_wanted == PreviewWish(max_side=256, interval_s=0.0)
    feed.tell_preview(np.zeros((8, 8, 3), np.uint8))
    assert (await anext(watching)).kind == "preview"
    assert feed.previews_wanted == PreviewWish(max_side=16, interval_s=7.0)
    await watching.aclose()
    feed.withdraw(wish)
    assert feed.previews_wanted == PreviewWish(max_side=16, interval_s=7.0)


async def test_who_rests_for_longer_than_a_step_takes_sees_the_previews_as_well_as_the_progress(monkeypatch):
    monkeypatch.setattr("styleserve.jobs.crowd.SECONDS_A_WATCHER", 0.1)
    feed = Feed()
    feed.tell_state(status("running"))

    async def go_on() -> None:
        for iteration in itertools.count():
            feed.tell_progress(come_to(iteration))
            feed.tell_preview(np.zeros((8, 8, 3), np.uint8))
            await asyncio.sleep(0.01)

    going_on = asyncio.create_task(go_on())
    watching = feed.watch(wish=PreviewWish(interval_s=0.0))
    heard = [(await anext(watching)).kind for _ in range(9)]
    going_on.cancel()
    await watching.aclose()
    assert heard.count("preview") == heard.count("progress") == 4


async def test_no_rest_however_large_the_crowd_makes_a_silence_longer(monkeypatch):
    monkeypatch.setattr("styleserve.jobs.crowd.SECONDS_A_WATCHER", 1000.0)
    monkeypatch.setattr("styleserve.jobs.crowd.LONGEST_REST_S", 1.0)
    feed = Feed()
    feed.tell_state(status("running"))
    feed.tell_progress(come_to(1))
    watching = feed.watch(idle_s=1.2)
    await anext(watching)
    feed.tell_progress(come_to(2))
    async with asyncio.timeout(30):
        assert (await anext(watching)).content.iteration == 2
        begun = time.monotonic()
        assert (await anext(watching)).content.iteration == 2
    assert time.monotonic() - begun < 1.8, "the rest is part of the silence, which a repetition breaks"
    await watching.aclose()


def test_the_longest_rest_is_within_the_longest_silence():
    assert LONGEST_REST_S < IDLE_S


async def test_a_change_of_state_wakes_whoever_rests():
    feed = Feed()
    feed.tell_state(status("queued"))
    crowd = [feed.watch() for _ in range(1000)]
    for watching in crowd:
        await anext(watching)
    resting = [asyncio.create_task(anext(watching)) for watching in crowd]
    await asyncio.sleep(0)
    feed.tell_state(status("running"))
    begun = time.monotonic()
    assert {update.content.state for update in await asyncio.gather(*resting)} == {"running"}
    assert time.monotonic() - begun < 2.0, "a rest of such a crowd takes up to ten seconds"
    for watching in crowd:
        await watching.aclose()
