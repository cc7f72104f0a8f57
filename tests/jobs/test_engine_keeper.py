"""Whichever engine lives is told which styles to prepare, and none twice that is done."""

import asyncio

from styleserve.engine.specification import Command, Prepare
from styleserve.evaluation import StyleImage
from styleserve.events import Lost, Prepared, Ready
from styleserve.jobs import engine_keeper
from styleserve.jobs.engine_keeper import EngineKeeper
from styleserve.observing.observer import SILENCE
from styleserve.workers import Listener
from support.toy import TOY_INFO


class ScriptedWorker:
    """A worker without an engine: a test says what the engine tells, and reads what it was told."""

    def __init__(self) -> None:
        self.told: list[Command] = []
        self.started = asyncio.Event()

    def start(self, listener: Listener) -> None:
        self.tell = listener
        self.started.set()

    def send(self, command: Command) -> None:
        self.told.append(command)

    def stop(self) -> None:
        pass

    def asked(self) -> list[str]:
        keys = [command.style.key for command in self.told if isinstance(command, Prepare)]
        self.told.clear()
        return keys


def keeper_of(worker: ScriptedWorker) -> EngineKeeper:
    return EngineKeeper(
        worker, lambda event: None, lambda: None, lambda: None, lambda is_alive: None, lambda error: None, SILENCE
    )


async def test_an_engine_prepares_what_it_finds_and_what_comes_later_and_its_successor_the_rest(monkeypatch):
    monkeypatch.setattr(engine_keeper, "_FIRST_RESTART_S", 0.01)
    worker = ScriptedWorker()
    keeper = keeper_of(worker)
    a, b, c = (StyleImage(key, b"", is_catalogued=True) for key in "abc")
    keeper.start()
    keeper.prepare([a], "a")
    assert worker.asked() == []
    worker.tell(Ready(TOY_INFO))
    await asyncio.sleep(0)
    assert worker.asked() == ["a"]
    keeper.prepare([a, b, c], "abc")
    assert worker.asked() == ["b", "c"]
    worker.tell(Prepared("a"))
    worker.started.clear()
    worker.tell(Lost("killed"))
    await worker.started.wait()
    keeper.prepare([], "ac")
    worker.tell(Ready(TOY_INFO))
    await asyncio.sleep(0)
    assert worker.asked() == ["c"]
    assert [keeper.is_preparing(key) for key in "abc"] == [True, False, True]
    await keeper.stop()
