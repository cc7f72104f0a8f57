"""The model of costs is fitted to what clock and allocator say of the toy evaluator's steps."""

import dataclasses
import itertools
from types import SimpleNamespace

import pytest

from styleserve.optimizers.lbfgsb import Lbfgsb
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import PRESETS
from styleserve.recipes import OPTIMIZERS
from styleserve.workers.fitting import fit_costs
from support.toy import ToyEvaluator, plain_image


class MeteredEvaluator(ToyEvaluator):
    """Takes, as its allocator tells, 1000 bytes and 50 a pixel of the canvas, in tiles 30 a pixel."""

    in_use, peak = 7000, 0

    def objective(self, content, styles, recipe, tile_side=None):
        pixels = content.shape[0] * content.shape[1]
        self.peak = self.in_use + 1000 + pixels * (50 if tile_side is None else 30)
        return super().objective(content, styles, recipe, tile_side)

    def halo(self, recipe):
        return 48

    def target_bytes_per_pixel(self, recipe):
        return 5.0

    def restart(self):
        return self.in_use

    def peak_bytes(self):
        return self.peak

    def settle(self):
        return 123


class TimedEvaluator(MeteredEvaluator):
    """Takes 1 microsecond a pixel to judge a canvas, 2 to look at a content, 5 to see a style that it does not know."""

    def __init__(self):
        super().__init__(before_pixels=lambda num_pixels: self.take(1e-6 * num_pixels))
        self.now, self.known = 0.0, set()

    def take(self, seconds):
        self.now += seconds

    def objective(self, content, styles, recipe, tile_side=None):
        unknown = {style.key for style in styles} - self.known
        self.known |= unknown
        self.take((2e-6 + 5e-6 * len(unknown)) * content.shape[0] * content.shape[1])
        return super().objective(content, styles, recipe, tile_side)


class ShapesKeepingEvaluator(MeteredEvaluator):
    """Keeps 1000 bytes for each shape of a design's canvases that it meets, and 400 for each design."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def objective(self, content, styles, recipe, tile_side=None):
        self.shapes |= {(recipe.loss, content.shape)}
        return super().objective(content, styles, recipe, tile_side)

    def settle(self):
        return 123 + 1000 * len(self.shapes) + 400 * len({loss for loss, _ in self.shapes})


def fit(evaluator):
    return fit_costs(
        evaluator,
        every_optimizer(evaluator),
        lambda side: plain_image(0.2, side, side),
        evaluator,
        budget_bytes=10**9,
    )


@pytest.fixture(scope="module")
def costs():
    return fit(MeteredEvaluator())


def test_bytes_are_those_of_the_allocator_with_a_share_for_its_pool(costs):
    cost = costs.cost(PRESETS["standard"])
    assert (costs.budget_bytes, costs.base_bytes) == (10**9, 123)
    assert cost.working_bytes.at(10**6) == pytest.approx(1.2 * (1000 + 50e6))
    assert cost.tile_bytes.at(10**6) == pytest.approx(1.2 * (1000 + 30e6))


def test_what_stays_for_a_shape_is_told_apart_from_what_stays_for_a_design():
    costs = fit(ShapesKeepingEvaluator())
    for recipe, cost in costs.costs:
        assert cost.shape_bytes == 1000, (recipe.preset, recipe.optimizer)


def test_seconds_of_content_and_style_are_told_apart(monkeypatch):
    evaluator = TimedEvaluator()
    monkeypatch.setattr("styleserve.workers.fitting.time", SimpleNamespace(perf_counter=lambda: evaluator.now))
    cost = fit(evaluator).cost(PRESETS["standard"])
    assert cost.seconds.at(10**6) == pytest.approx(1.0)
    assert cost.content_seconds.at(10**6) == pytest.approx(2.0)
    assert cost.style_seconds.at(10**6) == pytest.approx(5.0)


class UnevenEvaluator(MeteredEvaluator):
    """Takes 4 microseconds a pixel to judge what is smaller than 256 x 256, and 3 what is not; all `times` as much."""

    def __init__(self, times):
        super().__init__(before_pixels=self.take)
        self.now, self.times, self.judged = 0.0, times, set()

    def take(self, num_pixels):
        self.judged.add(num_pixels)
        self.now += self.times * 1e-6 * num_pixels * (3 if num_pixels >= 256 * 256 else 4)


def fit_uneven(monkeypatch, times):
    evaluator = UnevenEvaluator(times)
    monkeypatch.setattr("styleserve.workers.fitting.time", SimpleNamespace(perf_counter=lambda: evaluator.now))
    return evaluator, fit(evaluator).cost(PRESETS["classic"])


def test_a_fast_machine_is_measured_at_the_size_where_a_pixel_costs_what_it_does_of_large_canvases(monkeypatch):
    evaluator, cost = fit_uneven(monkeypatch, times=1)
    assert max(evaluator.judged) == 256 * 256
    assert cost.seconds.at(1024 * 1024) == pytest.approx(3e-6 * 1024 * 1024, rel=0.05)


def test_a_slow_machine_does_not_lengthen_its_start_by_the_largest_size(monkeypatch):
    evaluator, cost = fit_uneven(monkeypatch, times=3)
    assert max(evaluator.judged) == 160 * 160
    assert cost.seconds.at(1024 * 1024) == pytest.approx(12e-6 * 1024 * 1024, rel=0.05)


def test_a_step_takes_what_most_do_that_were_measured(monkeypatch):
    evaluator, times = TimedEvaluator(), itertools.cycle((1, 2, 2))
    evaluator.before_pixels = lambda num_pixels: evaluator.take(1e-6 * num_pixels * next(times))
    monkeypatch.setattr("styleserve.workers.fitting.time", SimpleNamespace(perf_counter=lambda: evaluator.now))
    assert fit(evaluator).cost(PRESETS["classic"]).seconds.at(10**6) == pytest.approx(2.0)


class ShapesLearningEvaluator(TimedEvaluator):
    """Takes 0.1 s more for the first look at a canvas's shape."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def objective(self, content, styles, recipe, tile_side=None):
        self.take(0.0 if (recipe.loss, content.shape) in self.shapes else 0.1)
        self.shapes |= {(recipe.loss, content.shape)}
        return super().objective(content, styles, recipe, tile_side)


def test_what_the_first_look_at_a_size_takes_more_is_not_counted_for_every_tile_of_a_style(monkeypatch):
    evaluator = ShapesLearningEvaluator()
    monkeypatch.setattr("styleserve.workers.fitting.time", SimpleNamespace(perf_counter=lambda: evaluator.now))
    cost = fit(evaluator).cost(PRESETS["standard"])
    assert cost.first_look_seconds == pytest.approx(0.1)
    assert cost.style_seconds.at(10**6) == pytest.approx(5.0)


def test_a_tile_costs_the_pixels_that_the_network_sees_of_it_whatever_the_design(monkeypatch):
    """The toy's time goes by the canvas's pixels; `standard` has those seen at two sizes, `classic` at one."""
    evaluator = TimedEvaluator()
    monkeypatch.setattr("styleserve.workers.fitting.time", SimpleNamespace(perf_counter=lambda: evaluator.now))
    costs = fit(evaluator)
    standard, classic = (costs.cost(PRESETS[name]).tile_seconds for name in ("standard", "classic"))
    assert standard.at(1.25e6) == pytest.approx(1.0)
    assert classic.at(1e6) == pytest.approx(1.0)


class TileWatchingEvaluator(TimedEvaluator):
    """Counts the canvases in tiles, and the styles that were not known before one of these."""

    def __init__(self):
        super().__init__()
        self.tiled, self.unknown = 0, 0

    def objective(self, content, styles, recipe, tile_side=None):
        self.tiled += tile_side is not None
        self.unknown += tile_side is not None and styles[0].key not in self.known
        return super().objective(content, styles, recipe, tile_side)


def test_a_start_spends_no_time_on_styles_of_canvases_in_tiles():
    evaluator = TileWatchingEvaluator()
    fit(evaluator)
    num_precisions = len({recipe.needs_float32 for recipe in PRESETS.values()})
    assert (evaluator.tiled, evaluator.unknown) == (3 * num_precisions, 0)


def test_optimizers_and_evaluator_say_what_they_keep(costs):
    assert costs.upkeep["adam"].bytes(100, iterations=9, is_tiled=False) == 4 * 1200
    assert costs.upkeep["lbfgsb"] == Lbfgsb.upkeep
    assert costs.cost(PRESETS["standard"]).target_bytes_per_pixel == 5
    assert costs.cost(PRESETS["standard"]).halo == 48


def test_every_preset_is_measured_by_its_own_design_and_optimizer_and_the_rest_is_inferred(costs):
    known = {(recipe.loss, recipe.optimizer): cost for recipe, cost in costs.costs}
    losses = {recipe.loss for recipe in PRESETS.values()}
    assert known.keys() == {(loss, optimizer) for loss in losses for optimizer in OPTIMIZERS}
    assert all(cost.seconds.at(10**6) > 0 and cost.tile_seconds.at(10**6) > 0 for cost in known.values())
    traced = {key for key, cost in known.items() if cost.traced_seconds == cost.traced_bytes == 0}
    assert traced == {(recipe.loss, recipe.optimizer) for recipe in PRESETS.values()}


class DesigningEvaluator(MeteredEvaluator):
    """Takes twice the memory where float32 is needed, twice where style is compared at two sizes, and so its halo."""

    def objective(self, content, styles, recipe, tile_side=None):
        objective = super().objective(content, styles, recipe, tile_side)
        self.peak = self.in_use + (self.peak - self.in_use) * (1 + recipe.needs_float32) * recipe.loss.style_sizes
        return objective

    def halo(self, recipe):
        return 48 * recipe.loss.style_sizes

    def target_bytes_per_pixel(self, recipe):
        return 5.0 * (1 + recipe.needs_float32)


def test_a_design_under_another_optimizer_costs_what_it_does_in_the_precision_that_this_needs():
    costs = fit(DesigningEvaluator())
    standard = PRESETS["standard"]
    known, inferred = (costs.cost(dataclasses.replace(standard, optimizer=name)) for name in ("lbfgs", "lbfgsb"))
    assert (inferred.halo, known.halo) == (96, 96)
    assert inferred.target_bytes_per_pixel == 2 * known.target_bytes_per_pixel
    assert inferred.working_bytes.at(10**6) == pytest.approx(2 * known.working_bytes.at(10**6))
    assert inferred.tile_bytes.at(10**6) == pytest.approx(2 * known.tile_bytes.at(10**6))
    assert inferred.traced_bytes > 0


class KeepingEvaluator(MeteredEvaluator):
    """Keeps 50 MB for every design that it saw, and 200 MB for one in float32."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def objective(self, content, styles, recipe, tile_side=None):
        self.kept[recipe.loss] = 200_000_000 if recipe.needs_float32 else 50_000_000
        return super().objective(content, styles, recipe, tile_side)

    def settle(self):
        return sum(self.kept.values())


def test_a_step_that_is_traced_later_keeps_what_those_did_that_were_traced_in_its_precision():
    costs, standard = fit(KeepingEvaluator()), PRESETS["standard"]
    adam, lbfgsb = (costs.cost(dataclasses.replace(standard, optimizer=name)) for name in ("adam", "lbfgsb"))
    assert (adam.traced_bytes, lbfgsb.traced_bytes) == (50_000_000, 200_000_000)
