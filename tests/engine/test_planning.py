"""Plans for a time: arithmetic alone. A scale's iterations cost 1, 4 and 16 seconds each, and nothing before the first.

The recipe of 20, 20 and 10 iterations costs 20 + 80 + 160 = 260 seconds.
"""

import pytest

from styleserve.engine.planning import LEAST_ITERATIONS, Plan, Price, fit, whole
from styleserve.recipes import Scale

SCALES = (Scale(64, 64, 20), Scale(128, 128, 20), Scale(256, 256, 10))
PRICES = (Price(0.0, 1.0), Price(0.0, 4.0), Price(0.0, 16.0))
FULL_S = 260.0
#: 5 iterations of each.
LEAST_S = 105.0


def iterations(plan: Plan) -> list[int]:
    return [scale.iterations for scale in plan.scales]


def cost_s(plan: Plan) -> float:
    return sum(price.of(scale.iterations) for scale, price in zip(plan.scales, PRICES, strict=False))


def test_a_recipe_that_fits_is_done_whole():
    plan = fit(SCALES, PRICES, FULL_S)
    assert plan.scales == SCALES == whole(SCALES).scales
    assert plan.next_iterations == 20


def test_slack_is_shared_so_that_no_scale_is_cut_for_no_need():
    assert fit(SCALES, PRICES, 2 * FULL_S).next_s == pytest.approx(2 * 20.0)
    assert whole(SCALES).next_s is None


def test_what_does_not_fit_keeps_the_proportions_of_the_recipe():
    assert iterations(fit(SCALES, PRICES, 0.75 * FULL_S)) == [15, 15, 7]
    assert iterations(fit(SCALES, PRICES, 0.5 * FULL_S)) == [10, 10, 5]


def test_what_comes_before_the_first_iteration_is_paid_too():
    prices = [Price(10.0, price.iteration_s) for price in PRICES]
    assert iterations(fit(SCALES, prices, 0.5 * FULL_S + 30.0)) == [10, 10, 5]


def test_the_last_scale_keeps_a_few_iterations_and_the_coarse_ones_pay_for_them():
    assert iterations(fit(SCALES, PRICES, 120.0)) == [8, 8, 5]
    assert iterations(fit(SCALES, PRICES, LEAST_S)) == [5, 5, 5]


def test_the_largest_scale_is_left_out_only_when_its_least_does_not_fit():
    plan = fit(SCALES, PRICES, LEAST_S - 1)
    assert iterations(plan) == [20, 20]
    assert iterations(fit(SCALES, PRICES, 24.0)) == [20]


def test_something_is_planned_even_when_nothing_fits():
    plan = fit(SCALES, PRICES, 1.0)
    assert iterations(plan) == [LEAST_ITERATIONS]
    assert not plan.fits
    assert fit(SCALES, PRICES, 5.0).fits
    assert not fit(SCALES, PRICES, -1.0).fits


def test_a_recipe_of_few_iterations_asks_for_no_more():
    few = (Scale(64, 64, 1), Scale(128, 128, 2))
    assert iterations(fit(few, PRICES, 9.0)) == [1, 2]
    assert iterations(fit(few, PRICES, 8.0)) == [1]


def test_the_last_scale_may_use_what_the_recipe_has_and_the_scales_before_did_not():
    plan = fit(SCALES[2:], PRICES[2:], 90.0, owed=20)
    assert iterations(plan) == [5]
    assert (plan.next_iterations, plan.next_s) == (30, None)


def test_a_coarse_scale_gets_its_share_of_the_time():
    plan = fit(SCALES, PRICES, 0.5 * FULL_S)
    assert plan.next_s == pytest.approx(10.0)
    assert plan.next_iterations == 10


def test_more_time_never_means_less_work():
    plans = [fit(SCALES, PRICES, float(seconds)) for seconds in range(5, 300)]
    sizes = [len(plan.scales) for plan in plans]
    assert sizes == sorted(sizes)
    for num_scales in set(sizes):
        alike = [iterations(plan) for plan in plans if len(plan.scales) == num_scales]
        for column in zip(*alike, strict=True):
            assert list(column) == sorted(column)


def test_a_plan_that_fits_costs_no_more_than_there_is():
    assert all(cost_s(fit(SCALES, PRICES, seconds / 3)) <= seconds / 3 for seconds in range(15, 900))
