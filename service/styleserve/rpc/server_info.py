"""ServerInfoService: limits and abilities, so that clients need not guess."""

from styleserve.config import Config
from styleserve.images import ImageLimits
from styleserve.jobs.jobs import Jobs
from styleserve.presets import PRESETS
from styleserve.rpc import responses
from styleserve.rpc.handlers import Context
from styleserve.v1 import recipe_pb2, server_info_pb2, server_info_pb2_grpc
from styleserve.version import version


class ServerInfoServicer(server_info_pb2_grpc.ServerInfoServiceServicer):
    """Answers from the configuration and what the engine runs on; its fields are empty until the engine is ready."""

    def __init__(self, config: Config, jobs: Jobs, limits: ImageLimits) -> None:
        self._config = config
        self._jobs = jobs
        self._limits = limits

    async def GetServerInfo(
        self, request: server_info_pb2.GetServerInfoRequest, context: Context
    ) -> server_info_pb2.GetServerInfoResponse:
        """Read the server's limits and abilities."""
        engine = self._jobs.engine
        return server_info_pb2.GetServerInfoResponse(
            version=version(),
            weights=engine.weights if engine else "",
            weights_trained=engine.weights_trained if engine else False,
            devices=[engine.device] if engine else [],
            precision=engine.precision if engine else "",
            presets=list(PRESETS),
            optimizers=[name for name, number in recipe_pb2.Optimizer.items() if number],
            max_image_bytes=self._limits.max_bytes,
            max_image_pixels=self._limits.max_pixels,
            max_output_side=self._config.max_side,
            max_iterations=self._config.max_iterations,
            max_queue=self._config.max_queue,
            queued=self._jobs.num_queued,
            running=self._jobs.num_running,
            job_retention=responses.duration(self._config.retention_s),
        )
