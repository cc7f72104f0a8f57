"""Run: makes calls for a while, at a rate or by so many callers, and counts them.

At a rate, a call is due at its time whatever became of those before it, and its latency counts from then: a server that
stalls is not spared the calls that would have come meanwhile. Without one, each caller calls again when it is answered.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from styleserve.cli.connection import Server
from styleserve.cli.load.calls import Caller, Outcome
from styleserve.cli.load.mix import Kind
from styleserve.cli.load.tally import Tally

DEFAULT_CONCURRENCY = 8
#: A caller who got no answer calls again after so long.
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of the server.

    Calls come due for `duration_s`; those that have not ended then have `grace_s` to do so. `rate` is calls a second,
    None for callers that wait for their answers; `concurrency` is the most calls under way, None for any number at a
    rate and for `DEFAULT_CONCURRENCY` callers without one.
    """

    kinds: Sequence[Kind]
    duration_s: float
    grace_s: float
    rate: float | None = None
    concurrency: int | None = None
    seed: int = 0
    is_patient: bool = False


async def run(server: Server, plan: Plan) -> Tally:
    """Make the calls; being cancelled, as by Ctrl-C, ends the load at once with what it has."""
    async with server.aio_channel() as channel:
        caller = Caller(channel, server.metadata, plan.seed, plan.is_patient)
        for kind in plan.kinds:
            caller.prepare(kind)
        return await _Load(plan, caller).run()


class _Load:
    """One load on its way."""

    def __init__(self, plan: Plan, caller: Caller) -> None:
        self._plan = plan
        self._caller = caller
        self._tally = Tally.of(plan.kinds)
        self._dice = random.Random(plan.seed)  # noqa: S311 (a mix, no secret)
        self._weights = [kind.weight for kind in plan.kinds]
        self._tasks: set[asyncio.Task[object]] = set()
        self._begun = time.perf_counter()

    async def run(self) -> Tally:
        self._begun = time.perf_counter()
        try:
            if self._plan.rate is None:
                await self._keep_calling()
            else:
                await self._call_at_rate(self._plan.rate)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._plan.grace_s)
        except asyncio.CancelledError:
            # The caller's wish to stop is answered with what there is.
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            self._tally.was_interrupted = True
        for call in self._tasks:
            call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tally.seconds = self._now()
        self._tally.measured_s = max(self._tally.measured_s, min(self._plan.duration_s, self._tally.seconds))
        return self._tally

    def _now(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._begun

    async def _call_at_rate(self, rate: float) -> None:
        """Begin a call whenever one is due, at even distances."""
        limit = asyncio.Semaphore(self._plan.concurrency) if self._plan.concurrency else contextlib.nullcontext()
        due_after_s = (number / rate for number in itertools.count())
        for after_s in itertools.takewhile(lambda after_s: after_s < self._plan.duration_s, due_after_s):
            await asyncio.sleep(after_s - self._now())
            self._spawn(self._call(after_s, limit))
        await asyncio.sleep(self._plan.duration_s - self._now())

    async def _keep_calling(self) -> None:
        """Let callers call one time after the other."""
        for _ in range(self._plan.concurrency or DEFAULT_CONCURRENCY):
            self._spawn(self._call_on())
        await asyncio.wait(self._tasks, timeout=self._plan.duration_s)

    async def _call_on(self) -> None:
        while (now := self._now()) < self._plan.duration_s:
            outcome = await self._call(now, contextlib.nullcontext())
            if not outcome.is_answered:
                await asyncio.sleep(min(PAUSE_S, max(0.0, self._plan.duration_s - self._now())))

    async def _call(self, due: float, limit: "contextlib.AbstractAsyncContextManager[None]") -> Outcome:
        """Make one call of a kind by chance, and note what came of it."""
        (kind,) = self._dice.choices(self._plan.kinds, self._weights)
        has_begun = False
        try:
            async with limit:
                has_begun = True
                self._tally.latest_start_s = max(self._tally.latest_start_s, self._now() - due)
                outcome = await self._caller.call(kind)
        except asyncio.CancelledError:
            self._tally.note_broken_off(kind, has_begun)
            raise
        self._tally.note(kind, outcome, self._now() - due, self._now())
        return outcome

    def _spawn(self, work: "asyncio._CoroutineLike[object]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
