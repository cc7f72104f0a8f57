"""Fits the model of costs on this machine: judges small canvases, whole and in tiles, and reads clock and allocator.

A canvas of one tile has no halo, so that its pixels are the tile's; each smaller size at which style is compared is one
more tile. Two sizes give the line of each quantity. A start waits for it, so it is short: the larger size is less large
where the machine is slow, every loss design is measured under one optimizer, the one that its presets have, and tiles
with one design in each precision; the rest is inferred from these.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Protocol

from styleserve import images
from styleserve.costs import CostModel, EvaluationCost, Line, fit_line
from styleserve.evaluation import Evaluator, Objective, Pixels, StyleImage
from styleserve.optimizers import AnyOptimizer, Run
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.recipes import OPTIMIZERS, OptimizerName, Recipe

#: Sides of the canvases, all multiples of what a tile may be: one to trace by, two to measure by, and one in place of
#: the second where a step of that takes no longer than this. Deep layers see so little of a small canvas that a pixel
#: of a large one costs less: drawn out to 1024, a line is 6 to 20 % too high by the second and within 10 % by the
#: largest, on two cores of a Xeon with AMX.
_TRACED_SIDE = 32
_SMALL_SIDE, _MIDDLE_SIDE, _LARGE_SIDE = 64, 160, 256
_LARGE_BELOW_S = 0.2
#: Steps at each side, of which the first counts apart; more of those that are short, whose seconds vary more.
_STEPS = {_TRACED_SIDE: 1, _SMALL_SIDE: 9, _MIDDLE_SIDE: 4, _LARGE_SIDE: 4}
#: How much more memory the allocator takes than is in use at once: its free pieces do not fit every canvas, and the
#: operations of a step run in an order that changes.
_POOL_SHARE = 1.2
#: What a step that is not traced at the start takes when it is: seconds, 0.6 to 2.1 on two cores of a Zen 4; and bytes
#: that stay, up to 40 MB where kernels are not laid out once for each function, and, where they are, what the most
#: costly of those that were traced in the same precision kept.
_TRACED_S = 2.5
_LEAST_TRACED_BYTES = 40e6


class TiledEvaluator(Evaluator, Protocol):
    """An evaluator that can say what judging in tiles takes."""

    def halo(self, recipe: Recipe) -> int:
        """How many pixels around its core a tile needs."""
        ...

    def target_bytes_per_pixel(self, recipe: Recipe) -> float:
        """Bytes of the targets of a canvas, by its pixels."""
        ...


class Meter(Protocol):
    """Tells the bytes that the device's allocator has handed out."""

    def restart(self) -> int:
        """Forget the peak; returns the bytes in use."""
        ...

    def peak_bytes(self) -> int:
        """The most that was in use since."""
        ...

    def settle(self) -> int:
        """Give back what is free; returns the bytes taken while nothing is evaluated."""
        ...


@dataclass(frozen=True, slots=True)
class _Steps:
    """What a canvas took: a step's seconds and bytes, and how much longer the first step took."""

    side: int
    step_s: float
    first_s: float
    working_bytes: float


@dataclass(frozen=True, slots=True)
class _Looks:
    """Seconds of a canvas's targets: the content's features, and a style's that is as large.

    The first look at both took `first_look_s` longer.
    """

    side: int
    first_look_s: float
    content_s: float
    style_s: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A loss design under its optimizer, tried on canvases of a few sides."""

    evaluator: TiledEvaluator
    optimizer: AnyOptimizer
    recipe: Recipe
    paint: Callable[[int], Pixels]
    meter: Meter

    def looks(self, side: int) -> _Looks:
        """Look at a content and a style for the first time, at another style, and at the content alone."""
        canvas = self.paint(side)
        _, first_s = self._look(canvas, "first")
        _, targets_s = self._look(canvas, "second")
        _, content_s = self._look(canvas, "second")
        return _Looks(
            side=side,
            first_look_s=max(0.0, first_s - targets_s),
            content_s=content_s,
            style_s=max(0.0, targets_s - content_s),
        )

    def steps(self, side: int, is_tiled: bool = False) -> _Steps:
        """Step on a canvas, judged whole or as one tile."""
        canvas, num_steps = self.paint(side), _STEPS[side]
        objective, _ = self._look(canvas, "second", side if is_tiled else None)
        run = self.optimizer.start(canvas, objective, self.recipe, num_steps)
        in_use = self.meter.restart()
        times_s: list[float] = []
        while run.ended is None and len(times_s) < num_steps:
            times_s.append(_timed(lambda: _judge(self.optimizer, run)))
        run.close()
        first_s, step_s = times_s[0], median(times_s[1:] or times_s)
        return _Steps(
            side=side,
            step_s=step_s,
            first_s=max(0.0, first_s - step_s),
            working_bytes=_POOL_SHARE * (self.meter.peak_bytes() - in_use),
        )

    def _look(self, canvas: Pixels, style: str, tile_side: int | None = None) -> tuple[Objective, float]:
        """The targets of a canvas and of itself as a style of that name, which takes no time when that is known."""
        data = images.encode(images.Picture(canvas, None), "png").data
        key = f"fitting-{self.recipe.preset}-{self.recipe.optimizer}-{style}-{len(canvas)}"
        begun = time.perf_counter()
        objective = self.evaluator.objective(canvas, [StyleImage(key, data)], self.recipe, tile_side)
        while not objective.is_ready:
            objective.look()
        return objective, time.perf_counter() - begun


def fit_costs(
    evaluator: TiledEvaluator,
    optimizers: Mapping[OptimizerName, AnyOptimizer],
    paint: Callable[[int], Pixels],
    meter: Meter,
    budget_bytes: int,
) -> CostModel:
    """Trace and measure every preset's loss design under its optimizer; infer the rest."""
    kinds = {(recipe.loss, recipe.optimizer): recipe for recipe in PRESETS.values()}
    costs: list[tuple[Recipe, EvaluationCost]] = []
    known: dict[bool, tuple[Recipe, EvaluationCost]] = {}
    traced_bytes = {recipe.needs_float32: _LEAST_TRACED_BYTES for recipe in kinds.values()}
    for recipe in sorted(kinds.values(), key=lambda recipe: recipe.loss != PRESETS[DEFAULT_PRESET].loss):
        alike = known.get(recipe.needs_float32)
        before = meter.settle()
        cost = _fit(_Trial(evaluator, optimizers[recipe.optimizer], recipe, paint, meter), alike)
        kept = meter.settle() - before
        traced_bytes[recipe.needs_float32] = max(traced_bytes[recipe.needs_float32], kept)
        known.setdefault(recipe.needs_float32, (recipe, cost))
        costs.append((recipe, cost))
    upkeep = {name: optimizers[name].upkeep for name in OPTIMIZERS}
    measured = CostModel(budget_bytes, meter.settle(), tuple(costs), upkeep)
    others = [
        dataclasses.replace(recipe, optimizer=optimizer)
        for recipe, _ in costs
        for optimizer in OPTIMIZERS
        if (recipe.loss, optimizer) not in kinds
    ]
    inferred = tuple((recipe, _infer(evaluator, recipe, measured, traced_bytes)) for recipe in others)
    return dataclasses.replace(measured, costs=measured.costs + inferred)


def _infer(
    evaluator: TiledEvaluator, recipe: Recipe, measured: CostModel, traced_bytes: Mapping[bool, float]
) -> EvaluationCost:
    """What a design costs under an optimizer that it was not measured under.

    What it does under another, by what the other precision costs where that changes; its memory of targets and its
    halo are its own. `traced_bytes` are those that a traced step keeps, by whether it needs float32.
    """
    own, cost = next(known for known in measured.costs if known[0].loss == recipe.loss)
    from_cost, to_cost = (
        measured.cost(PRESETS["paper" if needs_float32 else "classic"])
        for needs_float32 in (own.needs_float32, recipe.needs_float32)
    )
    slower = _factor(from_cost.seconds, to_cost.seconds)
    larger = _factor(from_cost.working_bytes, to_cost.working_bytes)
    return dataclasses.replace(
        cost,
        seconds=cost.seconds.times(slower),
        tile_seconds=cost.tile_seconds.times(slower),
        content_seconds=cost.content_seconds.times(slower),
        style_seconds=cost.style_seconds.times(slower),
        working_bytes=cost.working_bytes.times(larger),
        tile_bytes=cost.tile_bytes.times(larger),
        halo=evaluator.halo(recipe),
        target_bytes_per_pixel=evaluator.target_bytes_per_pixel(recipe),
        traced_seconds=_TRACED_S,
        traced_bytes=traced_bytes[recipe.needs_float32],
    )


def _fit(trial: _Trial, alike: tuple[Recipe, EvaluationCost] | None) -> EvaluationCost:
    """Measure a design; its tiles only when those of no design are known in its precision.

    Of `alike`, a design whose tiles are known, they are taken to differ as whole canvases do, pixel by pixel that the
    network sees.
    """
    trial.looks(_TRACED_SIDE)
    trial.steps(_TRACED_SIDE)
    traced_bytes = trial.meter.settle()
    looks, whole = _try_whole(trial)
    shape_bytes = max(0, trial.meter.settle() - traced_bytes) / len(whole)
    seconds, working_bytes = _fit_line(whole, "step_s"), _fit_line(whole, "working_bytes")
    loss = trial.recipe.loss
    if alike is None:
        tiles = _try_tiles(trial, (whole[0].side, whole[-1].side))
        all_sizes, tile_bytes = _fit_line(tiles, "step_s"), _fit_line(tiles, "working_bytes")
        tile_seconds = Line(all_sizes.fixed / len(loss.shrinks), all_sizes.per_pixel / loss.seen_pixels)
    else:
        other, known = alike
        more_seen = other.loss.seen_pixels / loss.seen_pixels
        tile_seconds = known.tile_seconds.times(more_seen * _factor(known.seconds, seconds))
        tile_bytes = known.tile_bytes.times(more_seen * _factor(known.working_bytes, working_bytes))
    return EvaluationCost(
        seconds=seconds,
        working_bytes=working_bytes,
        tile_seconds=tile_seconds,
        tile_bytes=tile_bytes,
        first_seconds=_fit_line(whole, "first_s"),
        content_seconds=_fit_line(looks, "content_s"),
        style_seconds=_fit_line(looks, "style_s"),
        first_look_seconds=mean(found.first_look_s for found in looks),
        halo=trial.evaluator.halo(trial.recipe),
        target_bytes_per_pixel=trial.evaluator.target_bytes_per_pixel(trial.recipe),
        shape_bytes=shape_bytes,
    )


def _try_whole(trial: _Trial) -> tuple[list[_Looks], list[_Steps]]:
    """Looks and steps of canvases that are judged whole, of the largest side where the middle one takes little time."""
    looks: list[_Looks] = []
    steps: list[_Steps] = []
    for side in (_SMALL_SIDE, _MIDDLE_SIDE, _LARGE_SIDE):
        if side < _LARGE_SIDE or steps[-1].step_s <= _LARGE_BELOW_S:
            looks.append(trial.looks(side))
            steps.append(trial.steps(side))
    return looks, steps


def _try_tiles(trial: _Trial, sides: Iterable[int]) -> list[_Steps]:
    """Steps of canvases that are judged as one tile; their targets cost what they do of a whole one."""
    trial.steps(_TRACED_SIDE, is_tiled=True)
    return [trial.steps(side, is_tiled=True) for side in sides]


def _fit_line(measured: Sequence[_Steps] | Sequence[_Looks], name: str) -> Line:
    """The line of a quantity through the smallest and the largest of the canvases."""
    small, large = ((found.side**2, getattr(found, name)) for found in (measured[0], measured[-1]))
    return fit_line(small, large)


def _factor(line: Line, other: Line) -> float:
    """How many times as much the other line is on a canvas that was measured by both."""
    pixels = _MIDDLE_SIDE**2
    return other.at(pixels) / line.at(pixels)


def _judge(optimizer: AnyOptimizer, run: Run) -> None:
    """Step until the canvas is judged, in however many pieces."""
    evaluations = run.evaluations
    while run.evaluations == evaluations:
        optimizer.step([run])


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
