"""Preparing: computes the targets of the catalogue's styles, a piece at a time, while nobody waits for a picture."""

import logging
from collections import deque
from collections.abc import Callable

from styleserve.costs import CostModel
from styleserve.engine.forecast import style_piece_s
from styleserve.engine.pace import Expectation, Pace
from styleserve.engine.specification import Prepare
from styleserve.evaluation import Evaluator, PendingTargets, StyleImage
from styleserve.events import EngineEvent, Prepared, Unprepared

logger = logging.getLogger(__name__)


class Preparing:
    """The styles that are to be prepared, one after the other, each reported when it is done or cannot be.

    `announce` is told how many seconds the next piece is likely to take, and `note_passes` how many passes of the
    network came to their end; `give_back` gives memory that a style which is done needs no more back to the system.
    The pace is one of its own: how far off the predictions of styles are says nothing of those of steps.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        costs: CostModel | None,
        report: Callable[[EngineEvent], None],
        clock: Callable[[], float],
        announce: Callable[[float], None],
        note_passes: Callable[[int], None],
        give_back: Callable[[], object],
    ) -> None:
        self._evaluator = evaluator
        self._costs = costs
        self._report = report
        self._clock = clock
        self._announce = announce
        self._note_passes = note_passes
        self._give_back = give_back
        self._wanted: deque[Prepare] = deque()
        self._pending: PendingTargets | None = None
        self._pace = Pace(clock)

    def accept(self, command: Prepare) -> None:
        """Take a style to prepare after those that are there."""
        self._wanted.append(command)

    def step(self) -> bool:
        """Do the next piece of the first style; False when there is none."""
        if not self._wanted:
            return False
        style = self._wanted[0].style
        try:
            is_ready = self._look_at(style)
        except Exception:
            logger.exception("targets of the style image %s cannot be prepared", style.key)
            self._end(Unprepared(style.key))
            return True
        if is_ready:
            self._end(Prepared(style.key))
        return True

    def _look_at(self, style: StyleImage) -> bool:
        """Do the next piece of a style's targets, after a word of how long that takes; True when there is none left."""
        if self._pending is None:
            self._pending = self._evaluator.prepare(style)
        if self._pending.is_ready:
            return True
        expected = Expectation(self._pending.coming_pixels, style_piece_s(self._pending, self._costs), first_s=0.0)
        self._announce(self._pace.likely_s(expected))
        begun = self._clock()
        self._note_passes(self._pending.look())
        if expected.step_s:
            self._pace.record(expected, self._clock() - begun)
        return False

    def _end(self, told: Prepared | Unprepared) -> None:
        self._wanted.popleft()
        self._pending = None
        self._give_back()
        self._report(told)
