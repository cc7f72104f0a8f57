"""The ledger: what the engine did, gathered and told about once a second, so that telling costs nothing to speak of."""

from collections.abc import Callable

from styleserve.events import EngineEvent, Step, Worked

#: Between two tellings, in seconds, while there is work; what is gathered is told at once when there is none.
INTERVAL_S = 1.0
#: Steps that are gathered at most, so that a message stays small however quick they are.
MOST_STEPS = 1000


class Ledger:
    """Takes notes for `Worked`; `resident_bytes` reads the memory of the engine's process, None where nobody can."""

    def __init__(
        self,
        report: Callable[[EngineEvent], None],
        clock: Callable[[], float],
        resident_bytes: Callable[[], int | None],
    ) -> None:
        self._report = report
        self._clock = clock
        self._resident_bytes = resident_bytes
        self._told = clock()
        self._steps: list[Step] = []
        self._num_target_passes = 0

    def note_step(self, num_canvases: int, num_pixels: int, seconds: float) -> None:
        """A batch was evaluated."""
        self._steps.append(Step(num_canvases, num_pixels, seconds))

    def note_targets(self, num_passes: int) -> None:
        """Targets were computed, after a look at the content maybe, with so many passes of the network."""
        self._num_target_passes += num_passes

    def tell(self, is_idle: bool, slowness: float) -> None:
        """Tell what was gathered, if there is something and its time has come: at once when the engine is idle.

        The machine is so many times as slow as predicted by now.
        """
        if not self._steps and not self._num_target_passes:
            return
        now = self._clock()
        if not is_idle and now < self._told + INTERVAL_S and len(self._steps) < MOST_STEPS:
            return
        self._report(Worked(tuple(self._steps), self._num_target_passes, self._resident_bytes(), slowness))
        self._told, self._steps, self._num_target_passes = now, [], 0
