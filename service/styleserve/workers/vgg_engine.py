"""Builds the engine that the service runs: VGG19 with its weights, the optimizers, warmed up.

Whatever is heavy is imported and made inside the call, in the worker's process, never in the front.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from styleserve import images
from styleserve.engine.engine import Engine
from styleserve.errors import ConfigurationError
from styleserve.evaluation import Evaluator, Pixels, StyleImage
from styleserve.events import EngineInfo
from styleserve.optimizers import AnyOptimizer
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.workers.loop import Report

logger = logging.getLogger(__name__)

PrecisionChoice: TypeAlias = Literal["auto", "float32", "bfloat16"]

#: Canvases of the warm-up: one small to trace by, one large enough to measure by.
_TRACED_SIDE = 32
_MEASURED_SIDE = 192
_MEASURED_STEPS = 3


@dataclass(frozen=True, slots=True)
class VggEngineFactory:
    """What to build: `weights` and `precision` as in `Config`; `cache_dir` keeps downloads, `data_dir` targets."""

    weights: str
    precision: PrecisionChoice
    cache_dir: Path
    data_dir: Path

    def __call__(self, report: Report) -> tuple[Engine, EngineInfo]:
        """Load the weights, build, trace every preset, and measure; raises ConfigurationError."""
        try:
            from styleserve.model import device
            from styleserve.model.calibration import natural_image
            from styleserve.model.perceptual import PerceptualEvaluator
            from styleserve.model.targets import TargetStore
            from styleserve.model.weights import acquire
            from styleserve.optimizers.adam import Adam
            from styleserve.optimizers.lbfgs import Lbfgs
            from styleserve.optimizers.lbfgsb import Lbfgsb
        except ImportError as error:
            raise ConfigurationError(
                f"the engine needs a package that cannot be imported ({error}); pip install 'styleserve[cpu]', or [gpu]"
            ) from None

        begun = time.monotonic()
        weights = acquire(self.weights, self.cache_dir)
        hardware = device.configure(self.precision)
        evaluator = PerceptualEvaluator(weights, hardware.network_precision, TargetStore(self.data_dir / "targets"))
        optimizers: dict[str, AnyOptimizer] = {
            "adam": Adam(evaluator),
            "lbfgs": Lbfgs(evaluator),
            "lbfgsb": Lbfgsb(evaluator),
        }
        info = EngineInfo(
            weights.label,
            weights.is_trained,
            hardware.device,
            hardware.precision,
            seconds_per_megapixel=_warm_up(evaluator, optimizers, natural_image),
        )
        logger.info("the engine is warm after %.1f s: %s", time.monotonic() - begun, info)
        return Engine(evaluator, optimizers, report), info


def _warm_up(evaluator: Evaluator, optimizers: dict[str, AnyOptimizer], paint: Callable[[int], Pixels]) -> float:
    """Trace what every preset needs, so that no job waits for it; returns seconds per evaluated megapixel."""
    for recipe in PRESETS.values():
        _time_steps(evaluator, optimizers, recipe.preset, paint(_TRACED_SIDE), num_steps=1)
    _time_steps(evaluator, optimizers, DEFAULT_PRESET, paint(_MEASURED_SIDE), num_steps=1)
    seconds = _time_steps(evaluator, optimizers, DEFAULT_PRESET, paint(_MEASURED_SIDE), _MEASURED_STEPS)
    return seconds / _MEASURED_STEPS / (_MEASURED_SIDE**2 / 1e6)


def _time_steps(
    evaluator: Evaluator, optimizers: dict[str, AnyOptimizer], preset: str, canvas: Pixels, num_steps: int
) -> float:
    recipe = PRESETS[preset]
    optimizer = optimizers[recipe.optimizer]
    style = StyleImage(key="warm-up", data=images.encode(images.Picture(canvas, None), "png").data)
    run = optimizer.start(canvas, evaluator.objective(canvas, [style], recipe), recipe, num_steps)
    begun = time.monotonic()
    for _ in range(num_steps):
        optimizer.step([run])
    run.close()
    return time.monotonic() - begun
