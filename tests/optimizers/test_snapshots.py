"""Snapshots: a run that was carried elsewhere goes on; Adam's moves are the same to the bit."""

import dataclasses

import numpy as np
import pytest

from styleserve.evaluation import Evaluation, Losses
from styleserve.optimizers import Snapshot, SnapshotError, adam_tiles
from styleserve.optimizers.adam import Adam
from styleserve.optimizers.lbfgs import FIRST_MOVE, Lbfgs
from styleserve.optimizers.lbfgsb import Lbfgsb
from styleserve.presets import PRESETS
from styleserve.recipes import AdamSettings
from support.toy import ToyEvaluator, ToyObjective

RANDOM = np.random.default_rng(7)
START, TARGET = (RANDOM.random((6, 5, 3)).astype(np.float32) for _ in range(2))
SLOPES = np.geomspace(1, 100, START.size).reshape(START.shape).astype(np.float32)
RECIPE = dataclasses.replace(PRESETS["standard"], adam=AdamSettings(0.05, 0.9, 0.99, 1e-8, average_decay=0.9))
ITERATIONS = 14


class Valley(ToyEvaluator):
    """1/2 sum w (x - t)^2, steep in some directions and flat in others, so that nothing is found at once."""

    def _evaluate(self, canvas, objective):
        difference = canvas - objective.target
        loss = 0.5 * float(np.sum(SLOPES * np.square(difference, dtype=np.float64)))
        return Evaluation(Losses(loss, 0.0, loss, 0.0), SLOPES * difference)


OPTIMIZERS = {
    "adam": Adam(ToyEvaluator()),
    "lbfgs": Lbfgs(Valley()),
    "lbfgsb": Lbfgsb(Valley()),
}


def carried(snapshot: Snapshot) -> Snapshot:
    """The snapshot as it comes out of a file."""
    arrays = {name: np.array(array) for name, array in snapshot.arrays.items()}
    return Snapshot(arrays, {name: float(number) for name, number in snapshot.numbers.items()})


def finish(optimizer, run):
    canvases = []
    while run.ended is None:
        optimizer.step([run])
        canvases.append(run.result().copy())
    return canvases


def stepped(optimizer, steps, iterations=ITERATIONS, tile_side=None):
    run = optimizer.start(START, ToyObjective(TARGET, tile_side=tile_side), RECIPE, iterations)
    for _ in range(steps):
        optimizer.step([run])
    return run


@pytest.mark.parametrize("tile_side", [None, 16])
@pytest.mark.parametrize("steps", [0, 1, 6, ITERATIONS, ITERATIONS + 1])
def test_adam_resumed_visits_the_canvases_of_the_undisturbed_run_to_the_bit(monkeypatch, steps, tile_side):
    monkeypatch.setattr(adam_tiles, "_BAND_PIXELS", 10)
    adam = OPTIMIZERS["adam"]
    run = stepped(adam, steps, tile_side=tile_side)
    resumed = adam.resume(carried(adam.snapshot(run)), run.objective, RECIPE, ITERATIONS)
    np.testing.assert_array_equal(resumed.result(), run.result())
    assert (resumed.iteration, resumed.evaluations) == (run.iteration, run.evaluations)
    if run.ended is not None:
        return
    canvases, undisturbed = finish(adam, resumed), finish(adam, run)
    np.testing.assert_array_equal(canvases, undisturbed)
    assert resumed.losses == run.losses
    assert (resumed.iteration, resumed.evaluations) == (ITERATIONS, ITERATIONS + 1)


def test_adam_of_a_whole_canvas_may_be_resumed_in_tiles():
    adam = OPTIMIZERS["adam"]
    run = stepped(adam, 6)
    resumed = adam.resume(carried(adam.snapshot(run)), ToyObjective(TARGET, tile_side=16), RECIPE, ITERATIONS)
    finish(adam, resumed)
    finish(adam, run)
    np.testing.assert_allclose(resumed.result(), run.result(), atol=1e-6)


def test_a_snapshot_of_adam_in_tiles_copies_nothing():
    run = stepped(adam := OPTIMIZERS["adam"], 2, tile_side=16)
    assert all(array is getattr(run.state, name) for name, array in adam.snapshot(run).arrays.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 7, 15])
def test_a_resumed_run_makes_the_moves_that_are_left_and_is_worth_ten_less_at_most(name, steps):
    optimizer, iterations = OPTIMIZERS[name], 30
    run, shorter = stepped(optimizer, steps, iterations), stepped(optimizer, 0, iterations - 10)
    resumed = optimizer.resume(carried(optimizer.snapshot(run)), run.objective, RECIPE, iterations)
    assert (resumed.iteration, resumed.evaluations, resumed.ended) == (run.iteration, run.evaluations, None)
    np.testing.assert_array_equal(resumed.result(), run.result())
    for each in (run, resumed, shorter):
        finish(optimizer, each)
    assert (resumed.ended, resumed.iteration) == ("completed", iterations) == (run.ended, run.iteration)
    assert resumed.losses.total < shorter.losses.total


@pytest.mark.parametrize("name", ["lbfgs", "lbfgsb"])
def test_what_is_lost_with_the_curvature_is_found_again(name):
    optimizer = OPTIMIZERS[name]
    run = stepped(optimizer, 12, iterations=60)
    resumed = optimizer.resume(carried(optimizer.snapshot(run)), run.objective, RECIPE, 60)
    finish(optimizer, resumed)
    np.testing.assert_allclose(resumed.result(), TARGET, atol=2e-3)


@pytest.mark.parametrize("iterations", [0, 3, 200])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_ended_run_judges_its_canvas_once_more_and_ends(name, iterations):
    optimizer = OPTIMIZERS[name]
    run = stepped(optimizer, 0, iterations)
    finish(optimizer, run)
    resumed = optimizer.resume(carried(optimizer.snapshot(run)), run.objective, RECIPE, iterations)
    assert len(finish(optimizer, resumed)) == 1
    assert (resumed.iteration, resumed.evaluations) == (run.iteration, run.evaluations + 1)
    assert resumed.losses.total == pytest.approx(run.losses.total, rel=1e-5)
    np.testing.assert_array_equal(resumed.result(), run.result())


def test_lbfgs_remembers_that_its_first_move_was_too_long():
    optimizer = OPTIMIZERS["lbfgs"]
    run = stepped(optimizer, 1)
    run.first_move = FIRST_MOVE / 4
    assert optimizer.resume(carried(optimizer.snapshot(run)), run.objective, RECIPE, 9).first_move == FIRST_MOVE / 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_snapshot_that_lacks_something_is_refused(name):
    optimizer = OPTIMIZERS[name]
    run = stepped(optimizer, 3)
    whole = carried(optimizer.snapshot(run))
    for part in ("arrays", "numbers"):
        for missing in getattr(whole, part):
            rest = {key: value for key, value in getattr(whole, part).items() if key != missing}
            with pytest.raises(SnapshotError, match=missing):
                optimizer.resume(dataclasses.replace(whole, **{part: rest}), run.objective, RECIPE, ITERATIONS)
    run.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_canvas_that_is_no_picture_is_refused(name, value):
    optimizer = OPTIMIZERS[name]
    run = stepped(optimizer, 3)
    snapshot = carried(optimizer.snapshot(run))
    snapshot.arrays["canvas"][2, 3, 1] = value
    with pytest.raises(SnapshotError, match="canvas"):
        optimizer.resume(snapshot, run.objective, RECIPE, ITERATIONS)
    run.close()


@pytest.mark.parametrize(("name", "number"), [("adam", "moves"), ("lbfgsb", "iteration")])
def test_a_run_that_made_more_moves_than_planned_is_refused(name, number):
    optimizer = OPTIMIZERS[name]
    run = stepped(optimizer, 5)
    with pytest.raises(SnapshotError, match=number):
        optimizer.resume(carried(optimizer.snapshot(run)), run.objective, RECIPE, 2)
    run.close()
