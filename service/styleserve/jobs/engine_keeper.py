"""EngineKeeper: keeps an engine alive: starts one, starts another when it is lost, and says when there is no use in it.

It lives on the event loop, and passes on to its owner what the engine tells of jobs.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable

from styleserve.costs import CostModel
from styleserve.engine.specification import Command
from styleserve.errors import ConfigurationError
from styleserve.events import (
    Busy,
    EngineEvent,
    EngineInfo,
    JobEvent,
    Lost,
    Prepared,
    Ready,
    Settled,
    Unprepared,
    Worked,
)
from styleserve.jobs.preparation import Preparation
from styleserve.jobs.watchdog import Watchdog
from styleserve.observing.observer import Observer
from styleserve.recipes import Recipe
from styleserve.workers import Worker

logger = logging.getLogger(__name__)

#: Engines lost before the first was ready after which there is no use in another.
MAX_STILLBIRTHS = 3
#: From its start an engine may take so long until it is ready, in seconds: it may have 80 MB to fetch by a slow line.
LONGEST_WARM_UP_S = 3600.0
#: One that was killed and is not gone after so many seconds is given up for lost.
LONGEST_DEATH_S = 30.0
_FIRST_RESTART_S = 0.5
_LONGEST_RESTART_S = 30.0
#: An engine is taken to make long steps one after the other for so many times as long as the last was to take.
_STEPS_FOLLOW = 1.5
#: How slow an engine was said to be counts for so many seconds: where nothing is computed, nothing corrects it.
_SLOWNESS_LASTS_S = 60.0


class EngineKeeper:
    """One worker and the engines that live in it, one after the other.

    `tell_alive` hears whether an engine lives, `tell_broken` what the operator has to mend before the first can: what a
    later one lacks was there once, and may be there again. `hear` gets
    what the engine tells of jobs, `welcome` is called when one is ready, and `take_back` when one is lost with the jobs
    that it had. An engine that tells nothing for longer than `longest_silence_s` is killed, and so is lost; None there
    while it has no job. So is one that is not ready in time. `observer` is told of the engine itself. `generation`
    changes with every engine; `engine` is what the last one that was ready runs on; `preparation` has each of them
    prepare styles.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        hear: Callable[[JobEvent], None],
        welcome: Callable[[], None],
        take_back: Callable[[], None],
        longest_silence_s: Callable[[], float | None],
        tell_alive: Callable[[bool], None],
        tell_broken: Callable[[ConfigurationError], None],
        observer: Observer,
    ) -> None:
        self._worker = worker
        self._observer = observer
        self._hear_of_job = hear
        self._tell_welcome = welcome
        self._take_back = take_back
        self._tell_alive = tell_alive
        self._tell_broken = tell_broken
        self._num_stillbirths = 0
        self._restart_s = _FIRST_RESTART_S
        self._longest_silence_of_jobs_s = longest_silence_s
        self._watchdog = Watchdog(self._longest_silence_s, self._kill)
        self._watching: asyncio.Task[None] | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._busy_until = 0.0
        self._long_step = Busy(0.0)
        self._long_step_told = 0.0
        self._slowness = (1.0, 0.0)
        self.generation = 0
        self.is_alive = False
        self.engine: EngineInfo | None = None
        self.preparation = Preparation(worker.send)

    def start(self) -> None:
        """Start the worker."""
        self._start_worker()
        self._watching = asyncio.get_running_loop().create_task(self._watchdog.watch())

    def busy_s(self, way_s: float = 0.0) -> float:
        """Seconds until the engine hears of a new job that takes so many to get there, as far as it said so.

        While that is on its way another step may begin that is as long as the last.
        """
        now, step_s = time.monotonic(), self._long_step.seconds
        left_s = max(0.0, self._busy_until - now)
        is_at_it = now < self._long_step_told + _STEPS_FOLLOW * step_s
        return left_s + step_s if left_s < way_s and is_at_it else left_s

    @property
    def slowness(self) -> float:
        """How many times as long as predicted the engine's steps take, as it said lately; 1 when it did not."""
        slowness, told = self._slowness
        return slowness if time.monotonic() < told + _SLOWNESS_LASTS_S else 1.0

    async def stop(self) -> None:
        """End the worker, with whatever it still does; nothing more is heard of it."""
        self.generation += 1
        for pending in (self._restart, self._watching):
            if pending is not None:
                pending.cancel()
        self.preparation.end()
        await asyncio.to_thread(self._worker.stop)

    def send(self, command: Command) -> None:
        """Hand the engine a command."""
        self._worker.send(command)

    def note_begun(self, recipe: Recipe) -> None:
        """The engine has begun a job of the recipe: from now on it costs what it does after that."""
        self._change_costs(lambda costs: costs.after(recipe))

    def _change_costs(self, change: Callable[[CostModel], CostModel]) -> None:
        if self.engine is not None:
            self.engine = dataclasses.replace(self.engine, costs=change(self.engine.costs))

    def _start_worker(self) -> None:
        self.generation += 1
        generation, loop = self.generation, asyncio.get_running_loop()

        def listen(event: EngineEvent) -> None:
            loop.call_soon_threadsafe(self._hear, generation, event)

        self._watchdog.hear()
        self._worker.start(listen)

    def _hear(self, generation: int, event: EngineEvent) -> None:
        """Take an event of the engine's; those of one that was given up for lost come too late."""
        if generation != self.generation:
            return
        self._watchdog.hear()
        if isinstance(event, Ready | Lost | Worked):
            self._observer.hear(event)
        self._busy_until = 0.0  # it tells nothing while it is busy with what it told of
        match event:
            case Ready(info):
                self._welcome(info)
            case Lost():
                self._replace(event)
            case Prepared() | Unprepared():
                self.preparation.hear(event)
            case Busy(seconds):
                self._long_step, self._long_step_told = event, time.monotonic()
                self._busy_until = self._long_step_told + seconds
            case Worked(slowness=slowness):
                self._slowness = slowness, time.monotonic()
            case Settled(base_bytes):
                self._change_costs(lambda costs: costs.based_on(base_bytes))
            case _:
                self._hear_of_job(event)

    def _longest_silence_s(self) -> float | None:
        return self._longest_silence_of_jobs_s() if self.is_alive else LONGEST_WARM_UP_S

    def _kill(self, silence_s: float) -> None:
        """Kill an engine that hangs; a device or a disk that holds it in the kernel keeps it from dying."""
        doing = "has jobs" if self.is_alive else "is not ready"
        logger.error("the engine %s and told nothing for %.0f s: it is killed", doing, silence_s)
        self._worker.kill()
        lost = Lost("the engine was killed and does not end: it is given up")
        asyncio.get_running_loop().call_later(LONGEST_DEATH_S, self._hear, self.generation, lost)

    def _welcome(self, info: EngineInfo) -> None:
        logger.info("an engine is ready: %s", info)
        if self.engine is not None and self.engine.weights != info.weights:
            logger.warning("it has other weights than the engine before, %s: so do its pictures", self.engine.weights)
        self.engine = info
        self.is_alive = True
        self._slowness = (1.0, 0.0)
        self._restart_s = _FIRST_RESTART_S
        self.preparation.begin()
        self._tell_alive(True)
        self._tell_welcome()

    def _replace(self, lost: Lost) -> None:
        """Have the lost engine's jobs taken back and start another, each time a little later."""
        self.generation += 1
        self.is_alive = False
        self.preparation.end()
        self._tell_alive(False)
        if self.engine is None:
            if lost.error is not None:
                self._tell_broken(lost.error)
                return
            self._num_stillbirths += 1
            if self._num_stillbirths >= MAX_STILLBIRTHS:
                self._tell_broken(
                    ConfigurationError(
                        f"no engine could be started, {self._num_stillbirths} times in a row: {lost.description}"
                    )
                )
                return
        why = lost.description if lost.error is None else f"{lost.description}: {lost.error}"
        logger.error("%s; another is started in %.1f s", why, self._restart_s)
        self._take_back()
        self._restart = asyncio.get_running_loop().call_later(self._restart_s, self._start_worker)
        self._restart_s = min(2 * self._restart_s, _LONGEST_RESTART_S)
