"""The model of costs: lines, tiles, what fits a budget; numbers that fit on a napkin."""

import dataclasses

import pytest

from styleserve.costs import Canvases, CostModel, EvaluationCost, Line, Upkeep, fit_line
from styleserve.presets import PRESETS
from styleserve.recipes import OPTIMIZERS, Scale, plan_scales

CLASSIC = PRESETS["classic"]
PAPER = PRESETS["paper"]
#: 1000 bytes a pixel whole and 500 a pixel of a tile; 40 bytes a pixel are kept: 28 and a canvas.
COST = EvaluationCost(
    seconds=Line(0.5, 1e-6),
    working_bytes=Line(0.0, 1000.0),
    tile_seconds=Line(0.25, 2e-6),
    tile_bytes=Line(1000.0, 500.0),
    first_seconds=Line(3.0, 0.0),
    content_seconds=Line(0.0, 4e-8),
    style_seconds=Line(0.0, 2.4e-7),
    halo=16,
    target_bytes_per_pixel=28.0,
    first_look_seconds=0.2,
)
UPKEEP = dict.fromkeys(OPTIMIZERS, Upkeep(Canvases(1)))
MEGAPIXEL = Scale(1000, 1000, iterations=9)


def model(budget_bytes: float, base_bytes: int = 10**6) -> CostModel:
    return CostModel(int(budget_bytes), base_bytes, ((CLASSIC, COST),), UPKEEP)


def test_a_line_goes_through_what_was_measured():
    line = fit_line((100, 3.0), (300, 7.0))
    assert (line.fixed, line.per_pixel) == (1.0, 0.02)
    assert line.at(50) == 2.0


@pytest.mark.parametrize("measured", [((100, 1.0), (300, 9.0)), ((100, 9.0), (300, 9.0)), ((100, 9.5), (300, 9.0))])
def test_noise_makes_neither_a_negative_fixed_part_nor_a_gain_of_size(measured):
    line = fit_line(*measured)
    assert line.fixed == 0
    assert line.at(300) == pytest.approx(9.0)


def test_a_whole_canvas_costs_its_pixels():
    costs = model(2e9)
    assert costs.evaluation_s(CLASSIC, MEGAPIXEL, None) == pytest.approx(0.5 + 1.0)
    # Targets of 0.04 s for the content and 0.015 s for the style, 0.2 s more for the first look and 3 s for the first
    # step, 9 iterations and the judgement of the last one's result.
    assert costs.scale_s(CLASSIC, MEGAPIXEL, None, [0.25]) == pytest.approx(0.255 + 3.0 + 10 * 1.5)
    footprint = costs.footprint(CLASSIC, MEGAPIXEL, None, result_pixels=10**6)
    assert footprint.kept_bytes == pytest.approx((12 + 40) * 1e6)
    assert costs.peak_bytes([footprint]) == pytest.approx(1e6 + 52e6 + 1e9)


@pytest.mark.parametrize(
    ("style_scales", "tile_side", "expected"),
    [
        ([0.25], None, 250**2),
        ([0.25, 0.125, 0.25], None, 2 * 250**2 + 125**2),
        # Cores 0-320, 320-640, 640-960 and 960-1000, with halos 336, 352, 352 and 56 long, whatever the canvas's tiles.
        ([1.0], None, (336 + 352 + 352 + 56) ** 2),
        ([1.0], 256, (336 + 352 + 352 + 56) ** 2),
        # No style is seen at more than 4096 pixels: thirteen cores, and 24 halos between them.
        ([10.0], None, (4096 + 24 * 16) ** 2),
    ],
)
def test_each_style_costs_the_pixels_that_it_is_seen_at(style_scales, tile_side, expected):
    costs = model(2e9)
    content_s = costs.content_s(CLASSIC, MEGAPIXEL, tile_side)
    styles_s = costs.targets_s(CLASSIC, MEGAPIXEL, tile_side, style_scales) - content_s
    assert styles_s == pytest.approx(0.2 + 2.4e-7 * expected)  # once what the first look takes more


def test_a_line_search_judges_more_often_than_it_moves():
    searching = CostModel(10**10, 0, ((CLASSIC, COST),), {"adam": Upkeep(Canvases(1), extra_evaluations=4)})
    still = dataclasses.replace(MEGAPIXEL, iterations=0)
    assert searching.scale_s(CLASSIC, MEGAPIXEL, None, [0.25]) == pytest.approx(0.255 + 3.0 + 13 * 1.5)
    assert searching.scale_s(CLASSIC, still, None, [0.25]) == pytest.approx(0.255 + 3.0 + 1.5)


def test_tiles_cost_the_time_of_all_and_the_memory_of_the_largest():
    costs, scale = model(1e9), Scale(600, 256, 0)
    # Rows of cores 0-256, 256-512, 512-600, with halos 272, 288 and 104 high; one column, 256 wide.
    assert costs.evaluation_s(CLASSIC, scale, 256) == pytest.approx(3 * 0.25 + 2e-6 * (272 + 288 + 104) * 256)
    footprint = costs.footprint(CLASSIC, scale, 256, result_pixels=600 * 256)
    assert footprint.working_bytes == pytest.approx(1000 + 500 * 288 * 256)
    whole = costs.footprint(CLASSIC, scale, None, result_pixels=600 * 256)
    gradient_bytes = 12 * 600 * 256
    assert footprint.kept_bytes == pytest.approx(whole.kept_bytes + gradient_bytes)


def test_tiles_of_the_smaller_size_at_which_style_is_compared_take_time_and_no_more_memory():
    costs, scale, standard = model(1e9), Scale(600, 256, 0), PRESETS["standard"]
    # Of 300 x 128 pixels the rows are 0-256 and 256-300, with halos 272 and 60 high.
    half_s = 2 * 0.25 + 2e-6 * (272 + 60) * 128
    own_s = costs.evaluation_s(CLASSIC, scale, 256)
    assert costs.evaluation_s(standard, scale, 256) == pytest.approx(own_s + half_s)
    footprint, own = (costs.footprint(recipe, scale, 256, result_pixels=600 * 256) for recipe in (standard, CLASSIC))
    assert footprint.working_bytes == own.working_bytes


def test_kernels_stay_for_each_shape_of_a_canvas_or_of_a_tile():
    scale, pixels = Scale(600, 256, 0), 600 * 256
    plain = model(1e9)
    costs = dataclasses.replace(plain, costs=((CLASSIC, dataclasses.replace(COST, shape_bytes=1e6)),))
    # Tiles are 272, 288 and 104 high.
    for tile_side, num_shapes in ((None, 1), (256, 3)):
        kept, without = (each.footprint(CLASSIC, scale, tile_side, pixels).kept_bytes for each in (costs, plain))
        assert kept - without == pytest.approx(num_shapes * 1e6)
    recipe = PRESETS["standard"]
    num_scales = len(plan_scales(recipe, 512, 512))
    assert num_scales > 1
    kept, without = (each.job_footprint(recipe, 512, 512, [1.0]).kept_bytes for each in (costs, plain))
    assert kept - without == pytest.approx(num_scales * 1e6)


def test_a_canvas_is_judged_whole_when_it_fits_and_else_in_the_largest_tiles_that_do():
    scale, pixels = Scale(1000, 1000, 1), 10**6
    assert model(1.2e9).tile_side(CLASSIC, scale, pixels) is None
    # Beside 65 MB, tiles of 768 + 2 * 16 pixels at most take 500 * 784^2 = 307 MB, those of 640 500 * 656^2 = 215 MB.
    assert model(0.44e9).tile_side(CLASSIC, scale, pixels) == 768
    assert model(0.40e9).tile_side(CLASSIC, scale, pixels) == 640
    assert model(0.01e9).tile_side(CLASSIC, scale, pixels) == 128


def test_the_estimate_is_the_sum_of_the_scales_and_the_peak_of_the_worst():
    recipe = dataclasses.replace(PRESETS["standard"], iterations=20)
    scales = plan_scales(recipe, 512, 400)
    assert len(scales) > 1
    costs = model(0.15e9)
    estimate = costs.estimate(recipe, scales, 512, 400, [1.0, 2.0])
    sides = [costs.tile_side(recipe, scale, 512 * 400) for scale in scales]
    assert sides[0] is None
    assert estimate.tile_side == sides[-1] is not None
    assert estimate.seconds == pytest.approx(
        sum(costs.scale_s(recipe, scale, side, [1.0, 2.0]) for scale, side in zip(scales, sides, strict=True))
    )
    assert estimate.peak_bytes <= 0.9 * 0.15e9


def test_the_largest_side_is_feasible_and_one_more_is_not():
    costs = model(0.1e9)
    side = costs.largest_side(CLASSIC, 3000, 6000, [1.0])
    assert 128 < side < 6000
    assert costs.is_feasible(CLASSIC, round(side / 2), side, [1.0])
    assert not costs.is_feasible(CLASSIC, round((side + 4) / 2), side + 4, [1.0])
    assert model(1e12).largest_side(CLASSIC, 3000, 6000, [1.0]) == 6000
    assert model(1e6).largest_side(CLASSIC, 3000, 6000, [1.0]) == 0


def test_whole_canvases_may_meet_in_a_batch_and_tiled_ones_take_turns():
    costs = model(2e9, base_bytes=0)
    whole = costs.footprint(CLASSIC, MEGAPIXEL, None, 10**6)
    tiled = costs.footprint(CLASSIC, MEGAPIXEL, 256, 10**6)
    assert costs.peak_bytes([whole, whole]) == pytest.approx(2 * (52e6 + 1e9))
    # Each keeps its gradient, 12 MB, from tile to tile.
    assert costs.peak_bytes([tiled, tiled]) == pytest.approx(2 * (52e6 + 12e6) + tiled.working_bytes)
    assert costs.have_room([whole, tiled])
    assert not costs.have_room([whole, whole])


def test_an_optimizer_may_keep_less_of_a_canvas_in_tiles():
    upkeep = Upkeep(Canvases(25), tiled_canvases=Canvases(6))
    assert [upkeep.bytes(10**6, 9, is_tiled) for is_tiled in (False, True)] == [12e6 * 25, 12e6 * 6]
    assert [Upkeep(Canvases(4)).bytes(10**6, 9, is_tiled) for is_tiled in (False, True)] == [48e6, 48e6]


@pytest.mark.parametrize(("iterations", "canvases"), [(0, 4), (1, 6), (9, 22), (10, 24), (500, 24)])
def test_an_optimizer_remembers_no_more_iterations_than_a_job_has(iterations, canvases):
    remembering = CostModel(10**10, 0, ((CLASSIC, COST),), {"adam": Upkeep(Canvases(4, 2, history=10))})
    recipe = dataclasses.replace(CLASSIC, iterations=iterations)
    kept_bytes = remembering.footprint(recipe, MEGAPIXEL, None, result_pixels=10**6).kept_bytes
    assert kept_bytes == pytest.approx((12 + 28 + 12 * canvases) * 1e6)


def test_what_was_not_measured_costs_what_is_most_like_it_in_precision_then_loss():
    dear, standard = (dataclasses.replace(COST, seconds=Line(fixed, 0.0)) for fixed in (9.0, 1.0))
    known = ((CLASSIC, COST), (PAPER, dear), (PRESETS["standard"], standard))
    costs = CostModel(10**9, 0, known, UPKEEP)
    assert costs.cost(CLASSIC) is COST
    assert costs.cost(dataclasses.replace(CLASSIC, optimizer="lbfgsb")) is dear
    assert costs.cost(dataclasses.replace(PRESETS["standard"], optimizer="adam")) is standard


def test_a_step_that_is_not_traced_yet_costs_more_until_a_job_of_it_has_begun():
    by_lbfgsb = dataclasses.replace(CLASSIC, optimizer="lbfgsb")
    cost = dataclasses.replace(COST, traced_seconds=2.0, traced_bytes=3e8)
    costs = CostModel(2 * 10**9, 10**6, ((CLASSIC, COST), (by_lbfgsb, cost)), UPKEEP)
    footprint = costs.footprint(by_lbfgsb, MEGAPIXEL, None, 10**6)
    assert footprint.kept_bytes == costs.footprint(CLASSIC, MEGAPIXEL, None, 10**6).kept_bytes + 3e8
    assert costs.first_s(by_lbfgsb, MEGAPIXEL, None) == costs.first_s(CLASSIC, MEGAPIXEL, None) + 2.0
    assert costs.after(CLASSIC) is costs
    after = costs.after(by_lbfgsb)
    assert after.base_bytes == 10**6 + 3 * 10**8
    assert after.cost(by_lbfgsb) == COST
    assert after.after(by_lbfgsb) is after
    # What was the job's is the process's now: the same peak.
    assert after.peak_bytes([after.footprint(by_lbfgsb, MEGAPIXEL, None, 10**6)]) == costs.peak_bytes([footprint])


def test_a_job_that_is_written_down_is_copied_and_no_other_at_the_same_time():
    copying = CostModel(
        10**10, 0, ((CLASSIC, COST),), dict.fromkeys(OPTIMIZERS, Upkeep(Canvases(1), snapshot_canvases=2))
    )
    footprint = copying.footprint(CLASSIC, MEGAPIXEL, None, 10**6)
    assert copying.peak_bytes([footprint]) == pytest.approx(52e6 + 1e9 + 2 * 12e6)
    assert copying.peak_bytes([footprint, footprint]) == pytest.approx(2 * (52e6 + 1e9) + 2 * 12e6)
    # What is larger than 32 MiB is written as it is.
    assert copying.footprint(CLASSIC, Scale(1200, 1200, 1), None, 1440000).copied_bytes == 0


def test_a_style_that_is_seen_larger_than_the_canvas_takes_its_own_memory():
    costs = model(1e9, base_bytes=0)
    plain = costs.job_footprint(CLASSIC, 400, 400, [0.5, 1.0])
    assert plain.working_bytes == pytest.approx(1000 * 400**2)
    # Decoded and resized, at ten times the canvas's side: 4000 pixels.
    detailed = costs.job_footprint(CLASSIC, 400, 400, [0.5, 10.0])
    assert (detailed.kept_bytes, detailed.working_bytes) == (plain.kept_bytes, 2 * 12 * 4000**2)
    still = [Scale(400, 400, 0)]
    assert costs.estimate(CLASSIC, still, 400, 400, [10.0]).peak_bytes == costs.peak_bytes([detailed])
    assert costs.is_feasible(CLASSIC, 400, 400, [1.0])
    assert not model(0.4e9).is_feasible(CLASSIC, 400, 400, [10.0])


def test_a_style_is_seen_before_tiles_have_a_gradient_to_put_together():
    tiled = model(0.1e9, base_bytes=0)
    steps = tiled.footprint(CLASSIC, Scale(400, 400, 100), 128, 400 * 400)
    seen = tiled.job_footprint(CLASSIC, 400, 400, [5.0])
    assert tiled.tile_side(CLASSIC, Scale(400, 400, 100), 400 * 400) is not None
    assert seen.kept_bytes == steps.kept_bytes
    assert seen.working_bytes == 2 * 12 * 2000**2 - 12 * 400**2


def test_the_least_budget_has_room_for_a_small_picture_and_less_has_not():
    least = round(model(1.0).least_budget_bytes(CLASSIC))
    assert model(least + 1).is_feasible(CLASSIC, 256, 256, [1.0])
    assert not model(least - 1000).is_feasible(CLASSIC, 256, 256, [1.0])
