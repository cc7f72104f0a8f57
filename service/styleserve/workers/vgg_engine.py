"""Builds the engine that the service runs: a network with its weights, the optimizers, warmed up.

Whatever is heavy is imported and made inside the call, in the worker's process, never in the front.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from styleserve.costs import CostModel
from styleserve.engine.checkpoints import CHECKPOINTS, CheckpointFolder, Checkpoints
from styleserve.engine.engine import Engine
from styleserve.engine.scheduler import MAX_BATCH
from styleserve.errors import ConfigurationError
from styleserve.events import EngineInfo
from styleserve.memory import default_limit, peak_resident_bytes, resident_bytes
from styleserve.presets import DEFAULT_PRESET, PRESETS
from styleserve.workers.exactness import is_exact_in_batches
from styleserve.workers.fitting import fit_costs
from styleserve.workers.loop import Report

logger = logging.getLogger(__name__)

PrecisionChoice: TypeAlias = Literal["auto", "float32", "bfloat16"]

#: The least limit is told in steps of so many bytes.
_TOLD_BYTES = 50 * 10**6
#: What an engine may use where the system does not tell what is free.
_UNKNOWN_MEMORY = 4 * 10**9


@dataclass(frozen=True, slots=True)
class VggEngineFactory:
    """What to build: `network`, `weights`, `precision` and `deterministic` as in `Config`.

    `cache_dir` keeps what can be had again, downloads and targets; `data_dir` keeps checkpoints of jobs. `memory_limit`
    is the most bytes that the engine's process may take, or the device's where that is a GPU; None for most of what is
    free.

    On a CPU jobs are judged together only where that changes no bit of the canvases that `exactness` tries. Batches
    gain little there; a GPU lives by them, so that there `deterministic` alone keeps jobs apart.
    """

    network: str
    weights: str
    precision: PrecisionChoice
    cache_dir: Path
    data_dir: Path
    memory_limit: int | None = None
    deterministic: bool = False

    def __call__(self, report: Report) -> tuple[Engine, EngineInfo]:
        """Load the weights, build, trace every preset, and measure its costs; raises ConfigurationError.

        So does an engine that takes more by itself than it may.
        """
        try:
            from styleserve.model import device
            from styleserve.model.acquisition import acquire
            from styleserve.model.calibration import natural_image
            from styleserve.model.perceptual import PerceptualEvaluator
            from styleserve.model.targets import TargetStore
            from styleserve.optimizers.table import every_optimizer
        except ImportError as error:
            raise ConfigurationError(
                f"the engine needs a package that cannot be imported ({error}); in a clone: pip install '.[cpu]', or "
                "'.[gpu]'"
            ) from None

        begun = time.monotonic()
        default_bytes = default_limit()
        host_bytes = self.memory_limit or (_UNKNOWN_MEMORY if default_bytes is None else default_bytes)
        weights = acquire(self.weights, self.cache_dir, self.network)
        hardware = device.configure(self.precision, host_bytes)
        evaluator = PerceptualEvaluator(weights, hardware.precision, TargetStore(self.cache_dir / "targets"))
        optimizers = every_optimizer(evaluator)
        budget_bytes = self.memory_limit or hardware.gpu_bytes or host_bytes
        pool = device.Pool(hardware.is_gpu)
        meter = device.MemoryMeter(hardware.is_gpu, pool)
        costs = fit_costs(evaluator, optimizers, natural_image, meter, budget_bytes)
        _require_room(costs, started_bytes=0 if hardware.is_gpu else peak_resident_bytes())
        info = EngineInfo(weights.label, weights.is_trained, hardware.device, hardware.precision, costs)
        logger.info("the engine is warm after %.1f s: %s", time.monotonic() - begun, info)
        max_batch = self.max_batch(hardware.is_gpu, lambda: is_exact_in_batches(evaluator, natural_image))
        logger.info("jobs of one size are judged %s", "one by one" if max_batch == 1 else "together")
        folder = CheckpointFolder(self.data_dir / CHECKPOINTS)
        checkpoints = Checkpoints(folder, f"{weights.label} {hardware.precision}")
        engine = Engine(
            evaluator,
            optimizers,
            report,
            costs=costs,
            max_batch=max_batch,
            checkpoints=checkpoints,
            resident_bytes=resident_bytes,
            give_back=meter.settle,
        )
        return engine, info

    def max_batch(self, is_gpu: bool, is_exact: Callable[[], bool]) -> int:
        """How many jobs may be judged together; `is_exact` finds out whether that changes no bit of a picture."""
        return MAX_BATCH if not self.deterministic and (is_gpu or is_exact()) else 1


def _require_room(costs: CostModel, started_bytes: int) -> None:
    """Raise ConfigurationError where no picture would fit, or the start alone took more, `started_bytes`, than allowed.

    What is told to suffice is rounded up, since the next start measures a little more or less.
    """
    least_bytes = max(costs.least_budget_bytes(PRESETS[DEFAULT_PRESET]), started_bytes)
    if costs.budget_bytes < least_bytes:
        allowed_bytes = math.ceil(least_bytes / _TOLD_BYTES) * _TOLD_BYTES
        raise ConfigurationError(
            f"the memory limit: got {costs.budget_bytes / 1e6:.0f}MB; allowed: at least {allowed_bytes / 1e6:.0f}MB "
            "with this network"
        )
