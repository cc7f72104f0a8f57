"""L-BFGS-B: SciPy's optimizer, turned inside out so that the engine can batch and cancel its evaluations.

SciPy calls its objective; the engine wants to be asked. So each run keeps SciPy on a private thread, which waits while
the engine evaluates. The points are those that SciPy alone would visit, bit for bit.

Departs from Gatys et al. 2016: the pixels are bounded to [0, 1], so that the picture judged is the picture delivered.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from queue import SimpleQueue
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.optimize

from styleserve import images
from styleserve.costs import Canvases, Upkeep
from styleserve.evaluation import Evaluation, Evaluator, Losses, Objective, Pixels
from styleserve.events import StopReason
from styleserve.optimizers import MOST_COUNTED, Snapshot
from styleserve.recipes import Recipe

#: A canvas as SciPy wants it, float64 [H * W * 3].
Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]

#: Stops when an iteration gains less than this share of the loss.
RELATIVE_GAIN = 1e-9
#: Pairs of steps and gradient changes kept; Byrd et al. 1995, section 3: "m".
HISTORY = 10


class PointEvaluator:
    """Answers SciPy's separate questions for the loss and the gradient of a point with one judgement a point.

    The answer is cached by the point itself, not by the order of the calls: passes of the network = distinct points.
    """

    def __init__(self, judge: Callable[[Pixels], Evaluation], shape: tuple[int, ...]) -> None:
        self._judge = judge
        self._shape = shape
        self._known: tuple[Vector, Evaluation] | None = None

    def loss(self, point: Vector) -> float:
        """The total loss of a canvas given as a flat vector of H * W * 3 values."""
        return self.at(point).losses.total

    def gradient(self, point: Vector) -> Vector:
        """The gradient of the total loss at the same vector."""
        return self.at(point).gradient.ravel().astype(np.float64)

    def at(self, point: Vector) -> Evaluation:
        """The whole judgement of the point."""
        if self._known is None or not np.array_equal(point, self._known[0]):
            self._known = point.copy(), self._judge(point.reshape(self._shape).astype(np.float32))
        return self._known[1]


class LbfgsbRun:
    """One call of SciPy's minimizer, for so many iterations, held between two evaluations.

    `iteration` and `evaluations` count on from where they are. What SciPy raises is the `failure`, or, before its first
    question, raised here.
    """

    def __init__(
        self, canvas: Pixels, objective: Objective, iterations: int, iteration: int = 0, evaluations: int = 0
    ) -> None:
        self.iteration = iteration
        self.evaluations = evaluations
        self.losses: Losses | None = None
        self.ended: StopReason | None = None
        self.failure: BaseException | None = None
        self.objective = objective
        self._canvas = canvas
        self._iterations = iterations
        self._points = PointEvaluator(self._ask, canvas.shape)
        self._questions: SimpleQueue[Pixels | None] = SimpleQueue()
        self._answers: SimpleQueue[Evaluation | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._minimize, name="l-bfgs-b", daemon=True)
        self._thread.start()
        self.question = self._questions.get()
        if self.failure is not None:
            raise self.failure

    @property
    def batch_key(self) -> Hashable:
        """Runs whose objectives may be evaluated together."""
        return self.objective.batch_key

    def answer(self, evaluation: Evaluation) -> None:
        """Give SciPy the judgement of `question` and wait for its next question, its end or its failure."""
        self.evaluations += 1
        if self.losses is None:
            self.losses = evaluation.losses
        self._answers.put(evaluation)
        self.question = self._questions.get()

    def result(self) -> Pixels:
        """The last point that SciPy accepted."""
        return self._canvas

    def preview(self, max_side: int) -> npt.NDArray[np.uint8]:
        """The last accepted point, small."""
        return images.to_uint8(images.fit(self._canvas, max_side))

    def close(self) -> None:
        """End SciPy's thread; no evaluation follows."""
        if self._thread.is_alive():
            self._answers.put(None)
            self._thread.join()

    def _ask(self, canvas: Pixels) -> Evaluation:
        self._questions.put(canvas)
        evaluation = self._answers.get()
        if evaluation is None:
            raise _ClosedError
        return evaluation

    def _minimize(self) -> None:
        try:
            self.ended = self._search()
        except _ClosedError:
            pass
        except BaseException as failure:
            self.failure = failure
        finally:
            self._questions.put(None)

    def _search(self) -> StopReason:
        start = self._canvas.ravel().astype(np.float64)
        if self._iterations == 0:
            self._points.at(start)
            return "completed"
        # `minimize` would keep a pair of Python's numbers for every value, as much again as half of all the rest.
        _, _, found = scipy.optimize.fmin_l_bfgs_b(
            self._points.loss,
            start,
            fprime=self._points.gradient,
            bounds=[(0.0, 1.0)] * start.size,
            m=min(HISTORY, self._iterations),
            factr=RELATIVE_GAIN / np.finfo(np.float64).eps,
            pgtol=0.0,
            maxiter=self._iterations,
            maxfun=np.iinfo(np.int32).max,
            callback=self._accept,
        )
        return "completed" if found["nit"] >= self._iterations else "converged"

    def _accept(self, xk: Vector) -> None:
        """Take note of the point that ends an iteration, which SciPy judged last; the name `xk` is SciPy's.

        SciPy searches on from losses that are no numbers, and may accept them; the point before is kept.
        """
        self.iteration += 1
        losses = self._points.at(xk).losses
        if losses.is_finite:
            self.losses = losses
            self._canvas = xk.reshape(self._canvas.shape).astype(np.float32)


class Lbfgsb:
    """The optimizer `lbfgsb`."""

    #: SciPy's work is (2 m + 5) float64 a value, beside point, gradient, bounds and their copies. It judges the start,
    #: the first line search tries up to three lengths, and later ones seldom more than one: 32 scales of 40 iterations,
    #: four photographs by four presets, each took one to four canvases more, and four of 150 iterations four to eight.
    upkeep = Upkeep(Canvases(2 * 5 + 42, 2 * 2, HISTORY), extra_evaluations=3, snapshot_canvases=1)

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def start(self, canvas: Pixels, objective: Objective, recipe: Recipe, iterations: int) -> LbfgsbRun:  # noqa: ARG002
        """Begin at `canvas`; the recipe's Adam settings do not apply."""
        return LbfgsbRun(canvas, objective, iterations)

    def step(self, runs: Sequence[LbfgsbRun]) -> None:
        """Evaluate what each run asks and hand each its answer."""
        canvases = [run.question for run in runs]
        evaluations = self._evaluator.evaluate(
            [canvas for canvas in canvases if canvas is not None], [run.objective for run in runs]
        )
        for run, evaluation in zip(runs, evaluations, strict=True):
            if evaluation is not None:
                run.answer(evaluation)

    def snapshot(self, run: LbfgsbRun) -> Snapshot:
        """The last accepted canvas; SciPy keeps its curvature to itself."""
        numbers = {"iteration": run.iteration, "evaluations": run.evaluations, "has_ended": run.ended is not None}
        return Snapshot({"canvas": run.result()}, numbers)

    def resume(self, snapshot: Snapshot, objective: Objective, recipe: Recipe, iterations: int) -> LbfgsbRun:  # noqa: ARG002
        """Begin at the canvas with the iterations that are left."""
        canvas = snapshot.array("canvas", 0.0, 1.0)
        iteration = snapshot.count("iteration", iterations)
        evaluations = snapshot.count("evaluations", MOST_COUNTED)
        left = 0 if snapshot.count("has_ended", 1) else iterations - iteration
        return LbfgsbRun(canvas, objective, left, iteration, evaluations)


class _ClosedError(Exception):
    """The run was closed while SciPy waited for an answer."""
