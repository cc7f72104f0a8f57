"""The table of optimizers: a new one is a file beside this and a line here.

Its name is one that `recipes` and the contract know. TensorFlow and SciPy come with it, so it is imported where an
engine is built.
"""

from typing import Protocol

from styleserve.evaluation import Evaluator
from styleserve.optimizers import AnyOptimizer
from styleserve.optimizers.adam import Adam
from styleserve.optimizers.lbfgs import Lbfgs
from styleserve.optimizers.lbfgsb import Lbfgsb
from styleserve.optimizers.tensors import TensorEvaluator
from styleserve.recipes import OptimizerName


class AnyEvaluator(Evaluator, TensorEvaluator, Protocol):
    """An evaluator that every optimizer can ask."""


def every_optimizer(evaluator: AnyEvaluator) -> dict[OptimizerName, AnyOptimizer]:
    """All optimizers by the names that recipes give them, asking one evaluator."""
    return {"adam": Adam(evaluator), "lbfgs": Lbfgs(evaluator), "lbfgsb": Lbfgsb(evaluator)}
