"""Adam against L-BFGS-B on the classic objective, and the engine against a bare TensorFlow loop.

    python -m benchmarks.optimizers [--side 256] [--adam 300] [--lbfgsb 100] [--repeats 5]

Part one, from the same start: loss against evaluations and against seconds of Adam, of L-BFGS-B behind its
PointEvaluator (bounded to [0, 1] as the service runs it, and unbounded), and of L-BFGS-B fed naively, one pass for the
loss and another for the gradient. Part two: seconds per evaluation of the engine and of the shortest loop that
TensorFlow allows, in turn, at 256 and 512 pixels. All in float32.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.optimize
import tensorflow as tf

from benchmarks import report, subjects
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.evaluation import Evaluation, Pixels
from styleserve.model.objective import PerceptualObjective
from styleserve.optimizers.adam import Adam
from styleserve.optimizers.lbfgsb import HISTORY, RELATIVE_GAIN, PointEvaluator, Vector
from styleserve.presets import PRESETS

CLASSIC = PRESETS["classic"]


@dataclasses.dataclass
class Curve:
    """How a method's loss fell: lists of evaluations, seconds and losses of the best canvas until then."""

    evaluations: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)
    passes: int = 0

    def note(self, evaluations: int, seconds: float, loss: float) -> None:
        """Add a point; a line search's worse trials do not count."""
        self.evaluations.append(evaluations)
        self.seconds.append(seconds)
        self.losses.append(min([loss, *self.losses[-1:]]))

    def first_at(self, loss: float) -> tuple[int, float] | None:
        """Evaluations and seconds that it took to come down to `loss`."""
        for evaluations, seconds, reached in zip(self.evaluations, self.seconds, self.losses, strict=True):
            if reached <= loss:
                return evaluations, seconds
        return None


def run_adam(subject: subjects.Subject, content: Pixels, iterations: int) -> Curve:
    """The engine's Adam, whose every step is one evaluation."""
    adam = Adam(subject.evaluator)
    run = adam.start(content, subject.evaluator.objective(content, [subject.style], CLASSIC), CLASSIC, iterations)
    curve = Curve()
    begun = time.perf_counter()
    while run.ended is None:
        adam.step([run])
        assert run.losses is not None
        curve.note(run.evaluations, time.perf_counter() - begun, run.losses.total)
    curve.passes = run.evaluations
    return curve


def run_lbfgsb(subject: subjects.Subject, content: Pixels, iterations: int, is_bounded: bool, is_naive: bool) -> Curve:
    """SciPy's L-BFGS-B; `is_naive` asks the network twice a point, as an interface without a cache does."""
    recipe = dataclasses.replace(CLASSIC, optimizer="lbfgsb")
    objective = subject.evaluator.objective(content, [subject.style], recipe)
    curve = Curve()
    begun = time.perf_counter()

    def judge(canvas: Pixels) -> Evaluation:
        (evaluation,) = subject.evaluator.evaluate([canvas], [objective])
        assert evaluation is not None
        curve.passes += 1
        return evaluation

    points = PointEvaluator(judge, content.shape)
    evaluations = 0

    def loss(point: Vector) -> float:
        nonlocal evaluations
        evaluations += 1
        total = judge(point.reshape(content.shape).astype(np.float32)).losses.total if is_naive else points.loss(point)
        curve.note(evaluations, time.perf_counter() - begun, total)
        return total

    def gradient(point: Vector) -> Vector:
        if is_naive:
            return judge(point.reshape(content.shape).astype(np.float32)).gradient.ravel().astype(np.float64)
        return points.gradient(point)

    scipy.optimize.minimize(
        loss,
        content.ravel().astype(np.float64),
        jac=gradient,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(0.0, 1.0) if is_bounded else None,
        options={"maxiter": iterations, "maxfun": 10**6, "maxcor": HISTORY, "ftol": RELATIVE_GAIN, "gtol": 0.0},
    )
    return curve


def seconds_per_evaluation(subject: subjects.Subject, side: int, steps: int, repeats: int) -> tuple[float, float]:
    """Medians over `repeats` of the engine's and of the bare loop's seconds per evaluation, taken in turn."""
    content = subjects.photograph(side)
    objective = subject.evaluator.objective(content, [subject.style], CLASSIC)
    engine_steps, bare_steps = _engine_loop(subject, content), _bare_loop(subject, content, objective)
    for loop in (engine_steps, bare_steps):
        loop(1)
    engine_s, bare_s = [], []
    for _ in range(repeats):
        engine_s.append(_timed(engine_steps, steps))
        bare_s.append(_timed(bare_steps, steps))
    return statistics.median(engine_s), statistics.median(bare_s)


def _timed(loop: Callable[[int], None], steps: int) -> float:
    begun = time.perf_counter()
    loop(steps)
    return (time.perf_counter() - begun) / steps


def _engine_loop(subject: subjects.Subject, content: Pixels) -> Callable[[int], None]:
    """Steps of the whole engine with one job; the job and its targets are made outside the time."""
    engine = Engine(subject.evaluator, {"adam": Adam(subject.evaluator)}, lambda _: None)
    engine.accept(JobSpecification("bench", content, (subject.style,), CLASSIC))
    engine.step()

    def loop(steps: int) -> None:
        for _ in range(steps):
            engine.step()

    return loop


def _bare_loop(subject: subjects.Subject, content: Pixels, objective: PerceptualObjective) -> Callable[[int], None]:
    """The shortest loop: one traced function of loss, gradient and Adam's update, on a variable of fixed shape."""
    canvas = tf.Variable(content[np.newaxis])
    first, second = tf.Variable(tf.zeros_like(canvas)), tf.Variable(tf.zeros_like(canvas))
    settings = CLASSIC.adam

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> tf.Tensor:
        losses, gradient = subject.evaluator.judge(objective.form, canvas.read_value(), objective.tensors())
        first.assign(settings.beta_1 * first + (1 - settings.beta_1) * gradient)
        second.assign(settings.beta_2 * second + (1 - settings.beta_2) * gradient**2)
        move = settings.learning_rate * first / (tf.sqrt(second) + settings.epsilon)
        canvas.assign(tf.clip_by_value(canvas - move, 0.0, 1.0))
        return losses

    def loop(steps: int) -> None:
        for _ in range(steps):
            step().numpy()

    return loop


def plot(curves: dict[str, Curve], path: Path) -> None:
    """Loss against evaluations and against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for name, curve in curves.items():
        axes[0].plot(curve.evaluations, curve.losses, label=name)
        axes[1].plot(curve.seconds, curve.losses, label=name)
    axes[0].set(xlabel="evaluations", ylabel="total loss (classic objective)", yscale="log")
    axes[1].set(xlabel="seconds")
    for axis in axes:
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run both parts and write docs/benchmarks/optimizers.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="side of the canvas in pixels (default: 256)")
    parser.add_argument("--adam", type=int, default=300, help="iterations of Adam (default: 300)")
    parser.add_argument("--lbfgsb", type=int, default=100, help="iterations of L-BFGS-B (default: 100)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the engine's timing (default: 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject("float32", Path(data_dir))
        curves = _compare_optimizers(subject, arguments.side, arguments.adam, arguments.lbfgsb)
        overheads = {
            side: seconds_per_evaluation(subject, side, 2560 // side, arguments.repeats) for side in (256, 512)
        }
    _print_and_write(subject, curves, overheads)


def _compare_optimizers(subject: subjects.Subject, side: int, adam: int, lbfgsb: int) -> dict[str, Curve]:
    content = subjects.photograph(side)
    run_adam(subject, content, 1)
    run_lbfgsb(subject, content, 1, is_bounded=True, is_naive=False)
    return {
        "Adam": run_adam(subject, content, adam),
        "L-BFGS-B": run_lbfgsb(subject, content, lbfgsb, is_bounded=True, is_naive=False),
        "L-BFGS-B, unbounded": run_lbfgsb(subject, content, lbfgsb, is_bounded=False, is_naive=False),
        "L-BFGS-B, naive": run_lbfgsb(subject, content, lbfgsb, is_bounded=True, is_naive=True),
    }


def _print_and_write(
    subject: subjects.Subject, curves: dict[str, Curve], overheads: dict[int, tuple[float, float]]
) -> None:
    goal = curves["Adam"].losses[-1]
    rows = [
        [
            name,
            len(curve.evaluations),
            curve.passes,
            curve.seconds[-1],
            curve.losses[-1],
            *(curve.first_at(goal) or "--"),
        ]
        for name, curve in curves.items()
    ]
    header = ["method", "evaluations", "passes", "seconds", "last loss", "evaluations to Adam's last", "seconds to it"]
    print(report.table(header, rows), end="\n\n")
    timings = [[f"{side}", engine, bare, engine / bare] for side, (engine, bare) in overheads.items()]
    print(report.table(["side", "engine, s per evaluation", "bare loop", "ratio"], timings))
    path = report.write(
        "optimizers",
        {
            "weights": subject.weights.label,
            "precision": subject.precision,
            "style": subject.style_name,
            "curves": {name: dataclasses.asdict(curve) for name, curve in curves.items()},
            "seconds_per_evaluation": {str(side): list(pair) for side, pair in overheads.items()},
        },
    )
    plot(curves, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
