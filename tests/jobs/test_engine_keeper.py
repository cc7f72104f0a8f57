"""Whichever engine lives is told which style to prepare, and none twice that is done; one that hangs is replaced."""

import asyncio
import dataclasses

import pytest

from styleserve.engine.specification import Command, Prepare
from styleserve.errors import WeightsError
from styleserve.events import Busy, Lost, Prepared, Ready, Settled, Worked
from styleserve.jobs import engine_keeper, watchdog
from styleserve.jobs.engine_keeper import EngineKeeper
from styleserve.observing.observer import SILENCE
from styleserve.workers import Listener
from support.toy import TOY_INFO


class ScriptedWorker:
    """A worker without an engine: a test says what the engine tells, and reads what it was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Command] = asyncio.Queue()
        self.started = asyncio.Event()

    def start(self, listener: Listener) -> None:
        self.tell = listener
        self.started.set()

    def send(self, command: Command) -> None:
        self.told.put_nowait(command)

    def kill(self) -> None:
        self.tell(Lost("killed"))

    def stop(self) -> None:
        pass

    async def next_prepared(self) -> str:
        command = await asyncio.wait_for(self.told.get(), 5)
        assert isinstance(command, Prepare)
        return command.style.key


def keeper_of(worker: ScriptedWorker, longest_silence_s=lambda: None) -> EngineKeeper:
    return EngineKeeper(
        worker,
        hear=lambda event: None,
        welcome=lambda: None,
        take_back=lambda: None,
        longest_silence_s=longest_silence_s,
        tell_alive=lambda is_alive: None,
        tell_broken=lambda error: None,
        observer=SILENCE,
    )


async def test_an_engine_prepares_what_it_finds_and_what_comes_later_and_its_successor_the_rest(monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    images = {key: key.encode for key in "abc"}
    keeper.start()
    keeper.preparation.want({"a": images["a"]})
    worker.tell(Ready(TOY_INFO))
    assert await worker.next_prepared() == "a"
    keeper.preparation.want(images)
    worker.tell(Prepared("a"))
    assert await worker.next_prepared() == "b"
    worker.started.clear()
    worker.tell(Lost("killed"))
    await worker.started.wait()
    keeper.preparation.want({key: images[key] for key in "ac"})
    worker.tell(Ready(TOY_INFO))
    assert await worker.next_prepared() == "c"
    await keeper.stop()


async def test_an_engine_that_has_jobs_and_tells_nothing_gives_way_to_another(monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.01)
    worker, longest_silence_s = ScriptedWorker(), None
    keeper = keeper_of(worker, lambda: longest_silence_s)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    worker.started.clear()
    longest_silence_s = 0.3
    for _ in range(50):
        await asyncio.sleep(0.01)
        worker.tell(Worked((), 0, None))
    longest_silence_s = None
    await asyncio.sleep(0.5)
    assert not worker.started.is_set(), "it was told of work, and then had none"
    longest_silence_s = 0.3
    await asyncio.wait_for(worker.started.wait(), 10)
    await keeper.stop()


async def test_an_engine_that_does_not_become_ready_gives_way_to_another(monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    monkeypatch.setattr(engine_keeper, "LONGEST_WARM_UP_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.01)
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.started.clear()
    await asyncio.wait_for(worker.started.wait(), 10)
    await keeper.stop()


async def test_what_the_first_engine_had_is_waited_for_when_a_later_one_lacks_it(monkeypatch, caplog):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    for lost in (Lost("killed"), Lost("cannot be built", WeightsError("the share is away"))):
        worker.started.clear()
        worker.tell(lost)
        await asyncio.wait_for(worker.started.wait(), 10)
    assert "the share is away" in caplog.text
    worker.tell(Ready(dataclasses.replace(TOY_INFO, weights="others")))
    await asyncio.sleep(0.01)
    assert keeper.is_alive
    assert f"other weights than the engine before, {TOY_INFO.weights}" in caplog.text
    await keeper.stop()


async def test_an_engine_that_cannot_be_killed_is_given_up_and_not_listened_to_any_more(monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    monkeypatch.setattr(engine_keeper, "LONGEST_DEATH_S", 0.05)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.01)
    worker, longest_silence_s = ScriptedWorker(), 0.1
    monkeypatch.setattr(worker, "kill", lambda: None)
    keeper = keeper_of(worker, lambda: longest_silence_s)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    tell_of_the_first = worker.tell
    worker.started.clear()
    await asyncio.wait_for(worker.started.wait(), 10)
    longest_silence_s = None
    worker.tell(Ready(TOY_INFO))
    tell_of_the_first(Lost("at last"))
    await asyncio.sleep(0.1)
    assert keeper.is_alive
    await keeper.stop()


@pytest.mark.parametrize("told", [Worked((), 0, None), Ready(TOY_INFO), Prepared("a")])
async def test_an_engine_in_a_long_step_is_busy_until_it_should_be_done_or_tells_something(told):
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    worker.tell(Busy(0.2))
    await asyncio.sleep(0)
    assert 0.1 < keeper.busy_s() <= 0.2
    await asyncio.sleep(0.2)
    assert keeper.busy_s() == 0
    worker.tell(Busy(60.0))
    await asyncio.sleep(0)
    assert keeper.busy_s() > 50
    worker.tell(told)
    await asyncio.sleep(0)
    assert keeper.busy_s() == 0
    await keeper.stop()


async def test_how_slow_an_engine_was_counts_for_a_while_and_for_no_other_engine(monkeypatch):
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    await asyncio.sleep(0)
    assert keeper.slowness == 1.0
    for told in (Worked((), 0, None, slowness=3.0), Ready(TOY_INFO)):
        worker.tell(told)
        await asyncio.sleep(0)
        assert keeper.slowness == (3.0 if isinstance(told, Worked) else 1.0)
    worker.tell(Worked((), 0, None, slowness=3.0))
    await asyncio.sleep(0)
    monkeypatch.setattr(engine_keeper, "_SLOWNESS_LASTS_S", 0.0)
    assert keeper.slowness == 1.0
    await keeper.stop()


async def test_jobs_are_admitted_by_what_the_engine_takes_by_now():
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.tell(Settled(1))
    worker.tell(Ready(TOY_INFO))
    worker.tell(Settled(7 * 10**9))
    await asyncio.sleep(0)
    assert keeper.engine == dataclasses.replace(TOY_INFO, costs=TOY_INFO.costs.based_on(7 * 10**9))
    await keeper.stop()


async def test_who_gets_to_the_engine_when_its_step_is_over_may_wait_for_one_that_is_as_long():
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    keeper.start()
    worker.tell(Ready(TOY_INFO))
    worker.tell(Busy(60.0))
    await asyncio.sleep(0)
    assert 59 < keeper.busy_s(way_s=50.0) <= 60
    assert 119 < keeper.busy_s(way_s=70.0) <= 120
    worker.tell(Worked((), 0, None))
    await asyncio.sleep(0)
    assert (keeper.busy_s(), keeper.busy_s(way_s=0.1)) == (0.0, 60.0)
    # One that told of no other for long enough makes short steps, or none.
    worker.tell(Busy(0.1))
    worker.tell(Worked((), 0, None))
    await asyncio.sleep(0.2)
    assert keeper.busy_s(way_s=0.1) == 0.0
    await keeper.stop()
