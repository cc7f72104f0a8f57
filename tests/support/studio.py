"""A studio: an engine whose clock goes on by the pixels that are judged, 0.1 ms each, as predicted."""

import dataclasses
from collections.abc import Callable

from styleserve.costs import CostModel, Line
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.events import EngineEvent, Finished, Progress, Progressed, Started
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import resolve
from styleserve.recipes import Pyramid, RecipeChanges
from support.toy import TOY_COST, TOY_COSTS, ToyEvaluator, plain_image, plain_style

S_PER_PIXEL = 1e-4
START = 100.0
COST = dataclasses.replace(TOY_COST, seconds=Line(0.0, S_PER_PIXEL))
COSTS = dataclasses.replace(TOY_COSTS, costs=tuple((recipe, COST) for recipe, _ in TOY_COSTS.costs))


class Studio:
    """An engine whose evaluations take `slowness` times what was predicted by `costs`; targets take no time.

    The next takes `halt_s` longer.
    """

    def __init__(
        self,
        slowness: float = 1.0,
        costs: CostModel = COSTS,
        make_evaluator: Callable[..., ToyEvaluator] = ToyEvaluator,
    ) -> None:
        self.now = START
        self.slowness = slowness
        self.halt_s = 0.0
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.events: list[EngineEvent] = []
        self.evaluator = make_evaluator(before_pixels=self._judge)
        optimizers = every_optimizer(self.evaluator)
        self.engine = Engine(self.evaluator, optimizers, self._hear, lambda: self.now, costs)

    def _judge(self, num_pixels: int) -> None:
        self.now += self.slowness * S_PER_PIXEL * num_pixels + self.halt_s
        self.halt_s = 0.0

    def _hear(self, event: EngineEvent) -> None:
        self.events.append(event)
        if isinstance(event, Started):
            self.begun[event.job_id] = self.now - START
        if isinstance(event, Finished):
            self.ended[event.job_id] = self.now - START

    def run(self) -> None:
        while self.engine.step():
            pass

    def finished(self, job_id: str = "a") -> Finished:
        return next(event for event in self.events if isinstance(event, Finished) and event.job_id == job_id)

    def progress(self, job_id: str = "a") -> list[Progress]:
        return [event.progress for event in self.events if isinstance(event, Progressed) and event.job_id == job_id]


def job(deadline_s: float, job_id: str = "a", optimizer: str = "adam", size: int = 256, **changes) -> JobSpecification:
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=40, optimizer=optimizer))
    recipe = dataclasses.replace(
        recipe, pyramid=Pyramid(smallest_side=64, growth=2.0, last_share=0.22, adds_detail=True)
    )
    return JobSpecification(
        job_id, plain_image(0.2, size, size), (plain_style(0.6),), recipe, START + deadline_s, **changes
    )
