"""L-BFGS of our own: against the dense BFGS matrix, at its bounds, on the toy, after a rise, and across scales."""

import weakref

import numpy as np
import pytest

from styleserve.evaluation import Evaluation, Losses
from styleserve.optimizers import lbfgs, lbfgs_vectors
from styleserve.optimizers.curvature import Curvature
from styleserve.optimizers.lbfgs import Lbfgs, LbfgsRun
from styleserve.optimizers.lbfgs_vectors import Vectors
from styleserve.presets import PRESETS
from support.toy import ToyEvaluator, ToyObjective, WavyEvaluator

RANDOM = np.random.default_rng(3)
START = RANDOM.random((6, 5, 3)).astype(np.float32)
TARGET = RANDOM.random((6, 5, 3)).astype(np.float32)
RECIPE = PRESETS["standard"]


def losses(total: float) -> Losses:
    return Losses(total, 0.0, total, 0.0)


def values(value: float) -> np.ndarray:
    return np.full_like(START, value)


def run_to_end(optimizer: Lbfgs, run: LbfgsRun) -> LbfgsRun:
    while run.ended is None:
        optimizer.step([run])
    return run


def dense_bfgs_direction(gradient: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """-H g by Nocedal and Wright, eq. 6.17, from H_0 = (s y / y y) I of the newest pair."""
    step, change = pairs[-1]
    inverse = np.eye(gradient.size) * (step @ change) / (change @ change)
    for step, change in pairs:
        rho = 1 / (step @ change)
        left = np.eye(gradient.size) - rho * np.outer(step, change)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    return -inverse @ gradient


def test_the_recursion_is_the_dense_bfgs_matrix_of_the_last_pairs_times_the_gradient():
    hessian = np.diag(RANDOM.uniform(0.5, 2.0, 12))
    pairs = [(step, hessian @ step) for step in RANDOM.normal(size=(6, 12))]
    curvature, rows = Curvature(4), np.zeros((8, 12))
    for pair in pairs:
        slot = curvature.begin_pair()
        rows[list(curvature.rows(slot))] = pair
        curvature.end_pair(slot, rows @ np.transpose(pair))
    gradient = RANDOM.normal(size=12)
    share, weights = curvature.combine(rows @ -gradient)
    expected = dense_bfgs_direction(gradient, pairs[-4:])
    np.testing.assert_allclose(share * -gradient + weights @ rows, expected, rtol=1e-9)


def test_a_pair_along_which_the_gradient_does_not_grow_is_not_learnt():
    curvature, pair = Curvature(2), np.array([[1.0, 0.0], [-0.5, 1.0]])
    rows = np.zeros((4, 2))
    rows[list(curvature.rows(slot := curvature.begin_pair()))] = pair
    curvature.end_pair(slot, rows @ pair.T)
    assert not curvature.is_known


def test_it_finds_the_toys_minimum_in_a_few_evaluations():
    run = run_to_end(optimizer := Lbfgs(ToyEvaluator()), optimizer.start(START, ToyObjective(TARGET), RECIPE, 12))
    np.testing.assert_allclose(run.result(), TARGET, atol=1e-4)
    assert run.evaluations <= 13
    assert run.losses is not None
    assert run.losses.total < 1e-6


def test_an_iteration_is_one_evaluation_and_the_last_losses_are_those_of_the_result():
    evaluator = ToyEvaluator()
    optimizer = Lbfgs(evaluator)
    run = run_to_end(optimizer, optimizer.start(START, ToyObjective(TARGET), RECIPE, 2))
    assert (run.iteration, run.evaluations, sum(evaluator.batches), run.ended) == (2, 3, 3, "completed")
    assert run.losses.total == pytest.approx(0.5 * np.sum((run.result().astype(np.float64) - TARGET) ** 2), rel=1e-5)


def test_without_iterations_the_start_is_judged_and_nothing_moves():
    optimizer = Lbfgs(ToyEvaluator())
    run = run_to_end(optimizer, optimizer.start(START, ToyObjective(TARGET), RECIPE, 0))
    assert (run.iteration, run.evaluations) == (0, 1)
    np.testing.assert_array_equal(run.result(), START)


@pytest.mark.parametrize("halves_rows", [False, True])
def test_values_at_a_bound_that_would_leave_it_are_held_there_and_others_move(halves_rows):
    canvas, gradient = np.full((2, 2, 3), 0.5, np.float32), np.ones((2, 2, 3), np.float32)
    canvas[..., 0], canvas[..., 1] = 0.0, 1.0
    vectors = Vectors(canvas, 2, halves_rows)
    slopes, mean_size = vectors.slopes(gradient)
    assert mean_size == pytest.approx(2 / 3)
    assert vectors.move(gradient, 0.2, np.zeros_like(slopes), row=0) == pytest.approx(0.2)
    np.testing.assert_allclose(np.reshape(vectors.canvas, (4, 3)), [[0.0, 0.8, 0.3]] * 4, rtol=1e-6)


def test_runs_of_a_batch_move_as_they_do_alone():
    optimizer = Lbfgs(ToyEvaluator())
    targets = [TARGET, TARGET[::-1].copy()]
    together = [optimizer.start(START, ToyObjective(target), RECIPE, 4) for target in targets]
    while together[0].ended is None:
        optimizer.step(together)
    for run, target in zip(together, targets, strict=True):
        alone = run_to_end(optimizer, optimizer.start(START, ToyObjective(target), RECIPE, 4))
        np.testing.assert_array_equal(run.result(), alone.result())


def test_a_run_keeps_no_gradients_of_those_that_were_judged_beside_it():
    run = Lbfgs(ToyEvaluator()).start(START, ToyObjective(TARGET), RECIPE, 9)
    gradients = np.full((32, *START.shape), 0.1, np.float32)
    of_all = weakref.ref(gradients)
    run.take(Evaluation(losses(1.0), gradients[7]))
    del gradients
    assert of_all() is None


def test_a_loss_that_rose_too_far_sends_the_canvas_back_to_the_best_and_forgets_the_curvature():
    run = Lbfgs(ToyEvaluator()).start(START * 0 + 0.5, ToyObjective(TARGET), RECIPE, 9)
    run.take(Evaluation(losses(1.0), values(0.1)))
    best = run.vectors.canvas.copy()
    run.take(Evaluation(losses(0.9), values(0.05)))
    assert run.curvature.is_known
    run.take(Evaluation(losses(0.9 * lbfgs.WORST_RISE + 0.1), values(1.0)))
    assert not run.curvature.is_known
    np.testing.assert_array_equal(run.result(), best)
    np.testing.assert_array_equal(run.vectors.canvas, best)
    run.take(Evaluation(losses(0.9), values(0.05)))
    np.testing.assert_allclose(run.vectors.canvas, best - lbfgs.FIRST_MOVE / 2, rtol=1e-4)


def test_a_first_move_that_is_too_long_is_not_made_again_and_again():
    class Ravine(ToyEvaluator):
        def evaluate(self, canvases, objectives):
            judged = super().evaluate(canvases, objectives)
            return [Evaluation(losses(1e6 * own.losses.total), 1e6 * own.gradient) for own in judged]

    optimizer = Lbfgs(Ravine())
    near = np.clip(TARGET + 0.001, 0, 1).astype(np.float32)
    run = run_to_end(optimizer, optimizer.start(near, ToyObjective(TARGET), RECIPE, 12))
    assert np.abs(run.result() - TARGET).mean() < 1e-4


def test_a_first_loss_that_is_no_number_is_told_and_moves_nothing():
    run = Lbfgs(ToyEvaluator()).start(START, ToyObjective(TARGET), RECIPE, 9)
    run.take(Evaluation(losses(float("nan")), values(0.1)))
    assert not run.losses.is_finite
    np.testing.assert_array_equal(run.vectors.canvas, START)


@pytest.mark.parametrize("total", [np.nan, np.inf])
def test_a_later_loss_that_is_no_number_is_a_rise_and_the_losses_told_are_the_best(total):
    run = Lbfgs(ToyEvaluator()).start(START * 0 + 0.5, ToyObjective(TARGET), RECIPE, 9)
    run.take(Evaluation(losses(1.0), values(0.1)))
    run.take(Evaluation(losses(0.9), values(0.05)))
    best = run.result().copy()
    run.take(Evaluation(losses(total), values(np.nan)))
    assert (run.losses, run.ended, run.curvature.is_known) == (losses(0.9), None, False)
    np.testing.assert_array_equal(run.vectors.canvas, best)
    run.take(Evaluation(losses(0.9), values(0.05)))
    np.testing.assert_allclose(run.vectors.canvas, best - lbfgs.FIRST_MOVE / 2, rtol=1e-4)


@pytest.mark.parametrize("iterations", [5, 1000])
def test_when_every_move_leads_to_losses_that_are_no_numbers_the_run_ends_at_the_best_canvas(iterations):
    class Cliff(ToyEvaluator):
        def _evaluate(self, canvas, objective):
            evaluation = super()._evaluate(canvas, objective)
            is_start = np.array_equal(canvas, START)
            return evaluation if is_start else Evaluation(losses(np.nan), values(np.nan))

    optimizer = Lbfgs(Cliff())
    run = optimizer.start(START, ToyObjective(TARGET), RECIPE, iterations)
    while run.ended is None and run.evaluations < 40:
        optimizer.step([run])
    assert run.ended == ("completed" if iterations == 5 else "converged")
    assert run.losses.total == pytest.approx(0.5 * np.sum((START.astype(np.float64) - TARGET) ** 2), rel=1e-5)
    np.testing.assert_array_equal(run.result(), START)


def wavy_run(run_of) -> LbfgsRun:
    """The moves of what `run_of` begins, in a valley whose end so few do not find."""
    return run_to_end(optimizer := Lbfgs(WavyEvaluator()), run_of(optimizer))


def test_in_tiles_it_moves_as_by_the_last_three_pairs_but_for_their_rounding(monkeypatch):
    monkeypatch.setattr(lbfgs_vectors, "_BAND_VALUES", 32)
    whole, tiled = (
        wavy_run(lambda optimizer, side=side: optimizer.start(START, ToyObjective(TARGET, tile_side=side), RECIPE, 8))
        for side in (None, 16)
    )
    of_three = wavy_run(lambda optimizer: LbfgsRun(Vectors(START, 6, False), Curvature(3), ToyObjective(TARGET), 8))
    rounding, forgetting = (np.abs(tiled.result() - other.result()).max() for other in (of_three, whole))
    assert 1e-5 < rounding < 1e-3 < 5e-3 < forgetting
    start = 0.5 * np.sum(WavyEvaluator._strength(START.shape) * (START.astype(np.float64) - TARGET) ** 2)
    assert tiled.losses.total < 1.2 * whole.losses.total < 1e-3 * start
    assert (tiled.evaluations, tiled.ended) == (whole.evaluations, whole.ended) == (9, "completed")


@pytest.mark.parametrize("iterations", [0, 1, 2, 8, 12])
@pytest.mark.parametrize(("tile_side", "beside"), [(None, 1), (16, 0)])
def test_a_run_holds_as_many_canvases_as_its_upkeep_says(tile_side, beside, iterations):
    """That of whole canvases counts the gradient of an evaluation too."""
    objective = ToyObjective(TARGET, tile_side=tile_side)
    run = wavy_run(lambda optimizer: optimizer.start(START, objective, RECIPE, iterations))
    held = sum(array.nbytes for array in vars(run.vectors).values())
    expected = Lbfgs.upkeep.bytes(START[..., 0].size, iterations, is_tiled=tile_side is not None)
    assert held + beside * START.nbytes == expected


def test_in_tiles_it_goes_back_to_the_best():
    optimizer = Lbfgs(ToyEvaluator())
    run = optimizer.start(START, ToyObjective(np.zeros_like(START), tile_side=16), RECIPE, 9)
    run.take(Evaluation(losses(1.0), np.full_like(START, 0.1)))
    best = run.result().copy()
    assert np.abs(run.vectors.canvas - best).max() > 0
    run.take(Evaluation(losses(3.0), np.full_like(START, 0.1)))
    np.testing.assert_array_equal(run.vectors.canvas, best)
