"""L-BFGS-B inside out: the same points as SciPy alone, one pass a point, and no thread left behind."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize

from styleserve.evaluation import Evaluation, Losses
from styleserve.optimizers.lbfgsb import HISTORY, RELATIVE_GAIN, Lbfgsb, PointEvaluator
from styleserve.presets import PRESETS

SHAPE = (3, 4, 3)
TARGET = np.random.default_rng(3).random(SHAPE)


class Bowl:
    """1/4 sum w (x - t)^4 + 1/2 sum (x - t)^2 with steep and flat directions; notes every point it is asked."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.slopes = np.linspace(1, 200, TARGET.size).reshape(SHAPE)

    def judge(self, canvas):
        self.points.append(canvas.copy())
        difference = canvas.astype(np.float64) - TARGET
        loss = float(np.sum(self.slopes * difference**4 / 4 + difference**2 / 2))
        gradient = (self.slopes * difference**3 + difference).astype(np.float32)
        return Evaluation(Losses(loss, 0.0, loss, 0.0), gradient)

    def evaluate(self, canvases, objectives):
        return [self.judge(canvas) for canvas in canvases]


class Point:
    batch_key = "bowl"
    network_passes = 0


def run_alone(iterations: int) -> tuple[list[np.ndarray], scipy.optimize.OptimizeResult]:
    bowl = Bowl()

    def loss_and_gradient(x):
        evaluation = bowl.judge(x.reshape(SHAPE).astype(np.float32))
        return evaluation.losses.total, evaluation.gradient.ravel().astype(np.float64)

    options = {"maxiter": iterations, "maxfun": 10**6, "maxcor": HISTORY, "ftol": RELATIVE_GAIN, "gtol": 0.0}
    found = scipy.optimize.minimize(
        loss_and_gradient,
        np.full(TARGET.size, 0.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 1)] * TARGET.size,
        options=options,
    )
    return bowl.points, found


def test_the_engine_walks_the_points_that_scipy_alone_walks():
    bowl = Bowl()
    optimizer = Lbfgsb(bowl)
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=40)
    while run.ended is None:
        optimizer.step([run])
    points, found = run_alone(40)
    assert len(points) == len(bowl.points) > 10
    for ours, alone in zip(bowl.points, points, strict=True):
        np.testing.assert_array_equal(ours, alone)
    np.testing.assert_array_equal(run.result(), found.x.reshape(SHAPE).astype(np.float32))
    assert (run.iteration, run.evaluations) == (found.nit, found.nfev)
    assert run.losses.total == found.fun


def test_the_loss_falls_with_every_iteration_and_counts_line_searches_as_evaluations():
    optimizer = Lbfgsb(Bowl())
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=15)
    losses = {}
    while run.ended is None:
        optimizer.step([run])
        losses[run.iteration] = run.losses.total
    assert run.iteration == 15
    assert run.evaluations >= 16
    assert list(losses.values()) == sorted(losses.values(), reverse=True)


def test_separate_questions_for_loss_and_gradient_cost_one_judgement_a_point():
    bowl = Bowl()
    points = PointEvaluator(bowl.judge, SHAPE)
    x, y = np.full(TARGET.size, 0.25), np.full(TARGET.size, 0.75)
    assert points.loss(x) == points.loss(x)
    points.gradient(x)
    points.gradient(y)
    points.loss(y)
    x[:] = 0.3
    points.loss(x)
    points.gradient(x)
    assert len(bowl.points) == 3


def test_a_vector_changed_in_place_is_another_point():
    bowl = Bowl()
    points = PointEvaluator(bowl.judge, SHAPE)
    x = np.full(TARGET.size, 0.25)
    before = points.loss(x)
    x += 0.1
    assert points.loss(x) != before


def test_closing_a_run_ends_its_thread_and_asks_nothing_more():
    before = threading.active_count()
    bowl = Bowl()
    optimizer = Lbfgsb(bowl)
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=1000)
    optimizer.step([run])
    run.close()
    run.close()
    assert len(bowl.points) == 1
    assert threading.active_count() == before


class Cliff(Bowl):
    """A bowl whose loss is `beyond` at the points that are judged when `is_beyond` says so of how many were."""

    def __init__(self, beyond: float, is_beyond: Callable[[int], bool], has_slope: bool) -> None:
        super().__init__()
        self._beyond, self._is_beyond, self._has_slope = beyond, is_beyond, has_slope

    def judge(self, canvas):
        judged = super().judge(canvas)
        if not self._is_beyond(len(self.points)):
            return judged
        gradient = judged.gradient if self._has_slope else np.full_like(judged.gradient, np.nan)
        return Evaluation(Losses(self._beyond, 0.0, self._beyond, 0.0), gradient)


@pytest.mark.parametrize("has_slope", [False, True])
@pytest.mark.parametrize("beyond", [np.nan, np.inf])
@pytest.mark.parametrize("first", [2, 3, 6])
def test_where_every_loss_is_no_number_the_last_accepted_point_is_kept(first, beyond, has_slope):
    optimizer = Lbfgsb(Cliff(beyond, lambda number: number >= first, has_slope))
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=40)
    for _ in range(first - 1):
        optimizer.step([run])
    accepted, told = run.result(), run.losses
    while run.ended is None:
        optimizer.step([run])
    assert told.is_finite
    assert run.losses == told == Bowl().judge(accepted).losses
    np.testing.assert_array_equal(run.result(), accepted)


def test_the_search_goes_on_from_a_loss_that_is_no_number():
    optimizer = Lbfgsb(Cliff(np.nan, lambda number: number == 6, has_slope=False))
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=40)
    while run.ended is None:
        optimizer.step([run])
        assert run.losses.is_finite
    np.testing.assert_allclose(run.result(), TARGET, atol=1e-3)


def test_a_start_whose_loss_is_no_number_is_told():
    optimizer = Lbfgsb(Cliff(np.nan, lambda number: True, has_slope=False))
    run = optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=40)
    optimizer.step([run])
    assert not run.losses.is_finite
    run.close()


#: A program that searches with a canvas of 256 x 256 pixels for as many iterations as it is told, and prints how many
#: bytes that took at the most.
SEARCHING = """
import sys
import numpy as np
from styleserve import memory
from styleserve.evaluation import Evaluation, Losses
from styleserve.optimizers.lbfgsb import LbfgsbRun

class Point:
    batch_key = "point"

slopes = np.random.default_rng(0).random((256, 256, 3), np.float32) + np.float32(0.1)
memory.keep_heaps_small({}, 8 * 2**20)
before = memory.resident_bytes()
memory.forget_peak()
iterations = int(sys.argv[1])
run = LbfgsbRun(np.full_like(slopes, 0.5), Point(), iterations)
while run.question is not None:
    gradient = slopes * (run.question - np.float32(0.3))
    loss = float(np.sum(gradient * (run.question - np.float32(0.3)), dtype=np.float64)) / 2
    run.answer(Evaluation(Losses(loss, 0.0, loss, 0.0), gradient))
assert run.iteration >= min(iterations, 12), run.iteration
print(memory.peak_resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("iterations", [2, 13])
def test_a_search_takes_as_much_memory_as_its_upkeep_says(iterations):
    """Beside what the program above takes for itself, four canvases."""
    arguments = [sys.executable, "-c", SEARCHING, str(iterations)]
    program = subprocess.run(arguments, capture_output=True, text=True, check=True)
    predicted = Lbfgsb.upkeep.bytes(256 * 256, iterations, is_tiled=False)
    assert 0.85 * predicted < int(program.stdout) < 1.1 * predicted


def test_a_search_that_fails_before_it_asks_anything_does_not_begin(monkeypatch):
    def fail(*arguments, **named):
        raise MemoryError

    monkeypatch.setattr(scipy.optimize, "fmin_l_bfgs_b", fail)
    with pytest.raises(MemoryError):
        Lbfgsb(Bowl()).start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], iterations=30)


def test_a_search_that_fails_leaves_the_one_beside_it_alone():
    class Crack(Bowl):
        def evaluate(self, canvases, objectives):
            broken, whole = super().evaluate(canvases, objectives)
            return [dataclasses.replace(broken, gradient=None), whole]

    optimizer = Lbfgsb(Crack())
    runs = [optimizer.start(np.full(SHAPE, 0.5, np.float32), Point(), PRESETS["paper"], 30) for _ in range(2)]
    optimizer.step(runs)
    broken, whole = runs
    assert isinstance(broken.failure, AttributeError)
    assert (whole.failure, whole.evaluations) == (None, 1)
    assert whole.question is not None
    whole.close()


def test_the_canvas_stays_within_its_bounds():
    bowl = Bowl()
    optimizer = Lbfgsb(bowl)
    run = optimizer.start(np.full(SHAPE, 0.99, np.float32), Point(), PRESETS["paper"], iterations=30)
    while run.ended is None:
        optimizer.step([run])
    assert min(point.min() for point in bowl.points) >= 0
    assert max(point.max() for point in bowl.points) <= 1
