"""What experiments change: equations written again in NumPy float64, and that each is carried out where it says."""

import dataclasses
import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from styleserve.optimizers import lbfgs
from styleserve.presets import PRESETS
from styleserve.recipes import AdamSettings
from support.network import smooth, style
from support.toy import ToyEvaluator, ToyObjective

ROOT = Path(__file__).resolve().parents[1]
STANDARD = PRESETS["standard"]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """The package can be imported; it sets what is unset of the environment."""
    for name in ("GRPC_VERBOSITY", "TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def experiments(benchmarks):
    return importlib.import_module("benchmarks.experiments")


@pytest.fixture
def painting(benchmarks):
    return importlib.import_module("benchmarks.painting")


@pytest.fixture
def ablation(benchmarks):
    return importlib.import_module("benchmarks.ablation")


def numpy_slowing_adam(canvas: np.ndarray, target: np.ndarray, settings: AdamSettings, moves: int) -> np.ndarray:
    """Kingma and Ba's algorithm with gradient x - t, and a step size that falls to zero in a straight line."""
    x, m, v = canvas.astype(np.float64), 0.0, 0.0
    for t in range(1, moves + 1):
        m = settings.beta_1 * m + (1 - settings.beta_1) * (x - target)
        v = settings.beta_2 * v + (1 - settings.beta_2) * (x - target) ** 2
        rate = settings.learning_rate * (moves - t + 1) / moves
        step = rate * np.sqrt(1 - settings.beta_2**t) / (1 - settings.beta_1**t)
        x = np.clip(x - step * m / (np.sqrt(v) + settings.epsilon), 0, 1)
    return x


def test_the_step_size_falls_to_zero_in_a_straight_line(experiments):
    settings = AdamSettings(0.05, 0.9, 0.99, 1e-8, average_decay=0.0)
    start, target = smooth(1, 8, 8), smooth(2, 8, 8)
    adam = experiments.SlowingAdam(ToyEvaluator())
    run = adam.start(start, ToyObjective(target), dataclasses.replace(STANDARD, adam=settings), 12)
    while run.ended is None:
        adam.step([run])
    np.testing.assert_allclose(run.result(), numpy_slowing_adam(start, target, settings, 12), atol=1e-5)


@pytest.mark.parametrize(("name", "is_carried"), [("SlowingAdam", False), ("SlowingCarryingAdam", True)])
def test_moments_are_reset_at_each_scale_unless_they_are_carried(experiments, painting, name, is_carried):
    began: list[float] = []

    class NotingAdam(getattr(experiments, name)):
        def step(self, runs):
            if not runs[0].moves:
                began.append(float(tf.reduce_max(runs[0].state.second_moment)))
            super().step(runs)

    recipe = dataclasses.replace(STANDARD, optimizer="adam", iterations=6)
    painter = painting.Painter(ToyEvaluator(), experiments.Experiment(adam=NotingAdam))
    painter.paint(smooth(1, 128, 128), style(2), recipe, lambda look: None)
    assert [moment > 0 for moment in began] == [False, is_carried]


def test_sparing_lbfgs_paints_whole_canvases_with_the_history_of_tiles(experiments, painting):
    began = []

    class NotingLbfgs(experiments.SparingLbfgs):
        def step(self, runs):
            began.append(runs[0])
            super().step(runs)

    painter = painting.Painter(ToyEvaluator(), experiments.Experiment(lbfgs=NotingLbfgs))
    painter.paint(smooth(1, 64, 64), style(2), dataclasses.replace(STANDARD, iterations=2), lambda look: None)
    capacities = {run.curvature.capacity for run in began}
    rows = {run.vectors._rows.dtype.itemsize for run in began}
    assert (capacities, rows) == ({lbfgs.TILED_HISTORY}, {2})


def test_every_variant_of_the_ablation_does_the_work_of_standard(ablation):
    recipes = {**ablation.VARIANTS, **{name: recipe for name, (recipe, _) in ablation.EXPERIMENTS.items()}}
    assert len(recipes) == len(ablation.VARIANTS) + len(ablation.EXPERIMENTS)
    goal = ablation.work(STANDARD, 171, 256)
    for name, recipe in recipes.items():
        own = ablation.work(ablation.at_equal_work(recipe, 171, 256), 171, 256)
        assert own == pytest.approx(goal, rel=0.03), name
