"""L-BFGS on the device: against the dense BFGS matrix, at its bounds, on the toy, after a rise, and across scales."""

import numpy as np
import pytest
import tensorflow as tf

from styleserve.evaluation import Losses
from styleserve.optimizers import lbfgs
from styleserve.optimizers.lbfgs import Lbfgs, LbfgsRun
from styleserve.presets import PRESETS
from support.toy import ToyEvaluator, ToyObjective

RANDOM = np.random.default_rng(3)
SHAPE = (1, 2, 2, 3)
START = RANDOM.random((6, 5, 3)).astype(np.float32)
TARGET = RANDOM.random((6, 5, 3)).astype(np.float32)
RECIPE = PRESETS["standard"]


def judged(canvas: np.ndarray, gradient: np.ndarray, total: float = 1.0) -> lbfgs._Judged:
    return lbfgs._Judged(
        tf.constant(canvas, tf.float32), tf.constant(gradient, tf.float32), Losses(total, 0.0, total, 0.0)
    )


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


def test_the_recursion_is_the_dense_bfgs_matrix_times_the_gradient():
    curvature = np.diag(RANDOM.uniform(0.5, 2.0, 12))
    steps = [RANDOM.normal(size=12) for _ in range(4)]
    dense = [(step, curvature @ step) for step in steps]
    pairs = [
        lbfgs._Pair(
            *(tf.constant(x.reshape(SHAPE), tf.float32) for x in pair), tf.constant(pair[0] @ pair[1], tf.float32)
        )
        for pair in dense
    ]
    gradient = RANDOM.normal(size=12)
    computed = lbfgs._two_loops(tf.constant(-gradient.reshape(SHAPE), tf.float32), pairs)
    np.testing.assert_allclose(computed.numpy().ravel(), dense_bfgs_direction(gradient, dense), rtol=1e-4, atol=1e-5)


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


def test_values_at_a_bound_that_would_leave_it_are_held_there_and_others_move():
    canvas = np.full(SHAPE, 0.5)
    canvas[..., 0], canvas[..., 1] = 0.0, 1.0
    gradient = np.ones(SHAPE)
    moved = lbfgs._move(tf.constant(canvas, tf.float32), tf.constant(gradient, tf.float32), [], lbfgs.FIRST_MOVE)
    np.testing.assert_array_equal(moved[..., 0], 0.0)
    assert (moved[..., 1:].numpy() < canvas[..., 1:]).all()


def test_runs_of_a_batch_move_as_they_do_alone():
    optimizer = Lbfgs(ToyEvaluator())
    targets = [TARGET, TARGET[::-1].copy()]
    together = [optimizer.start(START, ToyObjective(target), RECIPE, 4) for target in targets]
    while together[0].ended is None:
        optimizer.step(together)
    for run, target in zip(together, targets, strict=True):
        alone = run_to_end(optimizer, optimizer.start(START, ToyObjective(target), RECIPE, 4))
        np.testing.assert_array_equal(run.result(), alone.result())


def test_a_loss_that_rose_too_far_sends_the_canvas_back_to_the_best_and_forgets_the_curvature():
    run = LbfgsRun(tf.zeros(SHAPE), ToyObjective(TARGET), planned=9)
    run.take(judged(np.full(SHAPE, 0.5), np.full(SHAPE, 0.1), total=1.0))
    run.take(judged(np.full(SHAPE, 0.4), np.full(SHAPE, 0.05), total=0.9))
    assert len(run.pairs) == 1
    run.take(judged(np.full(SHAPE, 0.1), np.full(SHAPE, 1.0), total=0.9 * lbfgs.WORST_RISE + 0.1))
    assert run.pairs == []
    np.testing.assert_allclose(run.result(), 0.4)
    np.testing.assert_allclose(run.canvas, 0.4 - lbfgs.FIRST_MOVE / 2, rtol=1e-4)


def test_a_first_move_that_is_too_long_is_not_made_again_and_again():
    class Ravine(ToyEvaluator):
        def judge(self, form, canvases, targets):
            losses, gradients = super().judge(form, canvases, targets)
            return losses * 1e6, gradients * 1e6

    optimizer = Lbfgs(Ravine())
    near = np.clip(TARGET + 0.001, 0, 1).astype(np.float32)
    run = run_to_end(optimizer, optimizer.start(near, ToyObjective(TARGET), RECIPE, 12))
    assert np.abs(run.result() - TARGET).mean() < 1e-4


def test_a_loss_that_is_no_number_is_told_and_moves_nothing():
    run = LbfgsRun(tf.zeros(SHAPE), ToyObjective(TARGET), planned=9)
    run.take(judged(np.zeros(SHAPE), np.zeros(SHAPE), total=float("nan")))
    assert not run.losses.is_finite
    np.testing.assert_array_equal(run.canvas, 0.0)


def test_a_canvas_keeps_fewer_pairs_where_they_would_fill_the_memory():
    kept = {side: lbfgs._history(tf.zeros([1, side, 64, 3])) for side in (64, 16384, 65536, 262144)}
    assert kept == {64: 10, 16384: 10, 65536: 2, 262144: 2}


def test_the_next_scale_begins_at_the_best_canvas_enlarged():
    optimizer = Lbfgs(ToyEvaluator())
    run = run_to_end(optimizer, optimizer.start(START, ToyObjective(TARGET), RECIPE, 12))
    grown = optimizer.grow(run, ToyObjective(np.zeros((12, 10, 3), np.float32)), (12, 10), RECIPE, 3)
    assert (grown.result().shape, grown.pairs, grown.losses) == ((12, 10, 3), [], None)
    assert abs(grown.result().mean() - TARGET.mean()) < 0.02


def test_in_tiles_it_makes_the_same_moves():
    optimizer = Lbfgs(ToyEvaluator())
    whole, tiled = (
        run_to_end(optimizer, optimizer.start(START, ToyObjective(TARGET, tile_side=side), RECIPE, 3))
        for side in (None, 16)
    )
    np.testing.assert_allclose(tiled.result(), whole.result(), atol=1e-6)
    assert (tiled.evaluations, tiled.ended) == (whole.evaluations, whole.ended)
