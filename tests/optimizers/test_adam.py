"""Adam against the same algorithm written again in NumPy float64, alone and in a batch."""

import dataclasses

import numpy as np
import pytest

from styleserve import images
from styleserve.optimizers import adam_tiles
from styleserve.optimizers.adam import Adam, AdamRun
from styleserve.presets import PRESETS
from styleserve.recipes import AdamSettings, Recipe
from support.toy import ToyEvaluator, ToyObjective, plain_image

RANDOM = np.random.default_rng(5)
START = RANDOM.random((6, 5, 3)).astype(np.float32)
TARGET = RANDOM.random((6, 5, 3)).astype(np.float32)


def recipe(average_decay: float = 0.0, epsilon: float = 1e-8) -> Recipe:
    return dataclasses.replace(PRESETS["standard"], adam=AdamSettings(0.05, 0.9, 0.99, epsilon, average_decay))


def run_to_end(adam: Adam, run: AdamRun) -> AdamRun:
    while run.ended is None:
        adam.step([run])
    return run


def numpy_adam(settings: AdamSettings, moves: int) -> tuple[np.ndarray, np.ndarray]:
    """The canvas and the average after `moves`, by Kingma and Ba's algorithm with gradient x - t."""
    x, m, v, average = START.astype(np.float64), 0.0, 0.0, 0.0
    for t in range(1, moves + 1):
        g = x - TARGET
        m = settings.beta_1 * m + (1 - settings.beta_1) * g
        v = settings.beta_2 * v + (1 - settings.beta_2) * g**2
        step = settings.learning_rate * np.sqrt(1 - settings.beta_2**t) / (1 - settings.beta_1**t)
        x = np.clip(x - step * m / (np.sqrt(v) + settings.epsilon), 0, 1)
        average = settings.average_decay * average + (1 - settings.average_decay) * x
    return x, average / (1 - settings.average_decay**moves)


@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
def test_the_moves_are_those_of_the_algorithm(epsilon):
    adam = Adam(ToyEvaluator())
    run = run_to_end(adam, adam.start(START, ToyObjective(TARGET), recipe(epsilon=epsilon), 12))
    canvas, _ = numpy_adam(recipe(epsilon=epsilon).adam, 12)
    np.testing.assert_allclose(run.result(), canvas, atol=1e-5)


def test_the_result_is_the_average_of_the_iterates_corrected_for_its_start():
    adam = Adam(ToyEvaluator())
    run = run_to_end(adam, adam.start(START, ToyObjective(TARGET), recipe(average_decay=0.9), 12))
    _, average = numpy_adam(recipe(average_decay=0.9).adam, 12)
    np.testing.assert_allclose(run.result(), average, atol=1e-5)


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_the_last_losses_are_those_of_the_result(average_decay):
    adam = Adam(ToyEvaluator())
    run = run_to_end(adam, adam.start(START, ToyObjective(TARGET), recipe(average_decay), 7))
    expected = 0.5 * np.sum((run.result().astype(np.float64) - TARGET) ** 2)
    assert run.losses.total == pytest.approx(expected, rel=1e-5)
    assert (run.iteration, run.evaluations) == (7, 8)


def test_runs_of_one_batch_do_not_see_each_other():
    adam = Adam(ToyEvaluator())
    alone = run_to_end(adam, adam.start(START, ToyObjective(TARGET), recipe(), 5)).result()
    first = adam.start(START, ToyObjective(TARGET), recipe(), 5)
    second = adam.start(plain_image(0.5, 6, 5), ToyObjective(START), recipe(epsilon=0.1), 3)
    while second.ended is None:
        adam.step([first, second])
    run_to_end(adam, first)
    np.testing.assert_array_equal(first.result(), alone)


def test_one_trace_serves_every_size_and_every_batch():
    adam = Adam(ToyEvaluator())
    for size in (4, 5, 9):
        runs = [
            adam.start(plain_image(0.5, size, size), ToyObjective(plain_image(0.1, size, size)), recipe(), 2)
            for _ in range(size - 3)
        ]
        adam.step(runs)
    (train_step,) = adam._train_steps.values()
    assert train_step.experimental_get_tracing_count() == 1


def test_in_tiles_it_makes_the_same_moves(monkeypatch):
    monkeypatch.setattr(adam_tiles, "_BAND_PIXELS", 10)
    adam = Adam(ToyEvaluator())
    start, target = images.resize(START, 11, 9), plain_image(0.3, 11, 9)
    results = []
    for tile_side in (None, 16):
        run = run_to_end(adam, adam.start(start, ToyObjective(target, tile_side=tile_side), recipe(0.9), 6))
        results.append((run.result(), run.losses.total, run.iteration, run.evaluations))
    (whole, whole_loss, *whole_counts), (tiled, tiled_loss, *tiled_counts) = results
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert tiled_loss == pytest.approx(whole_loss, rel=1e-5)
    assert tiled_counts == whole_counts
