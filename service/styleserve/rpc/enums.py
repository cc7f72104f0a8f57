"""The contract's enums, and our own names for their values."""

from collections.abc import Mapping
from types import MappingProxyType

from styleserve.images import ImageFormat
from styleserve.jobs.journal import Level
from styleserve.jobs.status import State, StopReason
from styleserve.recipes import CanvasInit, ColorMode, OptimizerName
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2

FORMATS: Mapping[image_pb2.ImageFormat.ValueType, ImageFormat] = MappingProxyType(
    {
        image_pb2.IMAGE_FORMAT_UNSPECIFIED: "png",
        image_pb2.IMAGE_FORMAT_PNG: "png",
        image_pb2.IMAGE_FORMAT_JPEG: "jpeg",
        image_pb2.IMAGE_FORMAT_WEBP: "webp",
    }
)
OPTIMIZERS: Mapping[recipe_pb2.Optimizer.ValueType, OptimizerName | None] = MappingProxyType(
    {
        recipe_pb2.OPTIMIZER_UNSPECIFIED: None,
        recipe_pb2.OPTIMIZER_ADAM: "adam",
        recipe_pb2.OPTIMIZER_LBFGSB: "lbfgsb",
        recipe_pb2.OPTIMIZER_LBFGS: "lbfgs",
    }
)
CANVAS_INITS: Mapping[recipe_pb2.CanvasInit.ValueType, CanvasInit | None] = MappingProxyType(
    {
        recipe_pb2.CANVAS_INIT_UNSPECIFIED: None,
        recipe_pb2.CANVAS_INIT_CONTENT: "content",
        recipe_pb2.CANVAS_INIT_NOISE: "noise",
    }
)
COLOR_MODES: Mapping[recipe_pb2.ColorMode.ValueType, ColorMode | None] = MappingProxyType(
    {
        recipe_pb2.COLOR_MODE_UNSPECIFIED: None,
        recipe_pb2.COLOR_MODE_STYLE: "style",
        recipe_pb2.COLOR_MODE_CONTENT_LUMINANCE: "content_luminance",
        recipe_pb2.COLOR_MODE_CONTENT_MATCHED: "content_matched",
    }
)
STATES: Mapping[State, job_pb2.JobState.ValueType] = MappingProxyType(
    {
        "queued": job_pb2.JOB_STATE_QUEUED,
        "running": job_pb2.JOB_STATE_RUNNING,
        "succeeded": job_pb2.JOB_STATE_SUCCEEDED,
        "failed": job_pb2.JOB_STATE_FAILED,
        "cancelled": job_pb2.JOB_STATE_CANCELLED,
    }
)
LOG_LEVELS: Mapping[Level, job_pb2.LogLevel.ValueType] = MappingProxyType(
    {
        "info": job_pb2.LOG_LEVEL_INFO,
        "warning": job_pb2.LOG_LEVEL_WARNING,
        "error": job_pb2.LOG_LEVEL_ERROR,
    }
)
STOP_REASONS: Mapping[StopReason | None, job_pb2.StopReason.ValueType] = MappingProxyType(
    {
        None: job_pb2.STOP_REASON_UNSPECIFIED,
        "completed": job_pb2.STOP_REASON_COMPLETED,
        "converged": job_pb2.STOP_REASON_CONVERGED,
        "deadline": job_pb2.STOP_REASON_DEADLINE,
        "cancelled": job_pb2.STOP_REASON_CANCELLED,
    }
)
