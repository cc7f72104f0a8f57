"""A whole server on port 0 around the toy engine, in this process's event loop."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc

from styleserve import images
from styleserve.config import Config
from styleserve.observing.observer import SILENCE, Observer
from styleserve.rpc.server import Server
from styleserve.v1 import (
    image_pb2,
    job_pb2,
    recipe_pb2,
    server_info_pb2_grpc,
    style_catalog_pb2_grpc,
    style_transfer_pb2,
    style_transfer_pb2_grpc,
)
from styleserve.workers import Worker
from styleserve.workers.thread import ThreadWorker
from support.toy import ToyEngineFactory, plain_image

#: A style of one colour that the test catalogue holds beside the built-in pack.
GREY = "styles/plain-grey"
#: Odd, so that no two numbers below 2**24 share a colour; of the first 150 any two are 25/255 apart in some channel.
_COLOUR_STEP = 0xB5297B


@dataclasses.dataclass
class Service:
    """A running server and the stubs to call it by."""

    server: Server
    address: str
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.transfer = style_transfer_pb2_grpc.StyleTransferServiceStub(self.channel)
        self.catalog = style_catalog_pb2_grpc.StyleCatalogServiceStub(self.channel)
        self.admin = style_catalog_pb2_grpc.StyleAdminServiceStub(self.channel)
        self.info = server_info_pb2_grpc.ServerInfoServiceStub(self.channel)

    async def admitted(self, count: int) -> list[job_pb2.Job]:
        """All jobs, the newest first, once there are so many."""
        return await self._jobs_once(lambda number: number >= count)

    async def kept(self, count: int) -> list[job_pb2.Job]:
        """All jobs, the newest first, once the others are forgotten."""
        return await self._jobs_once(lambda number: number <= count)

    async def _jobs_once(self, are_so_many: Callable[[int], bool]) -> list[job_pb2.Job]:
        async with asyncio.timeout(20):
            while True:
                jobs = list((await self.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs)
                if are_so_many(len(jobs)):
                    return jobs
                await asyncio.sleep(0.01)

    async def wait_for(self, name: str, *states: int, iteration: int = 0) -> job_pb2.Job:
        """The job, once it is in one of `states` and has come to an iteration."""
        deadline = time.monotonic() + 20
        while True:
            job = (await self.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=name))).job
            if job.state in states and job.progress.iteration >= iteration:
                return job
            assert time.monotonic() < deadline, job
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    before_step: Callable[[], None] = lambda: None,
    worker: Worker | None = None,
    grey: float = 0.6,
    credentials: grpc.ChannelCredentials | None = None,
    observer: Observer = SILENCE,
    **settings: object,
) -> AsyncIterator[Service]:
    """Serve while the context lasts; `before_step` slows the engine down, `settings` are those of Config.

    `grey` is the colour of the style of one colour; `credentials` are those of the channel; `observer` is told what
    goes on.
    """
    styles = folder / "styles"
    styles.mkdir(exist_ok=True)
    (styles / "grey.png").write_bytes(png(grey, 20, 20))
    (styles / "plain-grey.yaml").write_text("title: Grey\nimage: grey.png\n")
    (styles / "far-away.yaml").write_text(
        f"title: Far away\nimage: {{url: 'http://127.0.0.1:9/far.png', sha256: '{'0' * 64}'}}\n"
    )
    config = Config(
        **{
            "listen": "127.0.0.1:0",
            "data_dir": folder / "data",
            "styles": (styles,),
            "cache_dir": folder / "cache",
            "drain_s": 5.0,
            "no_cache": True,
            **settings,
        }
    )
    server = Server(config, worker or ThreadWorker(ToyEngineFactory(before_step)), observer)
    address = await server.start()
    made = grpc.aio.insecure_channel(address) if credentials is None else grpc.aio.secure_channel(address, credentials)
    async with made as channel:
        service = Service(server, address, channel)
        await wait_until_serving(channel)
        try:
            yield service
        finally:
            await server.stop()


async def wait_until_serving(channel: grpc.aio.Channel) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async for response in call:
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            break
    call.cancel()


def png(colour: float | tuple[float, float, float], height: int = 24, width: int = 32) -> bytes:
    """A PNG of one colour."""
    return images.encode(images.Picture(plain_image(colour, height, width)), "png").data


def colour_of(number: int) -> tuple[float, float, float]:
    """A colour of its own for each number below 2**24, far from those of the numbers around it."""
    return tuple(byte / 255 for byte in (number * _COLOUR_STEP % 2**24).to_bytes(3, "big"))


def request(iterations: int = 3, **fields: object) -> style_transfer_pb2.StylizeRequest:
    """A request that the toy engine does quickly: grey on a darker grey, by `classic`'s Adam, whose moves are known."""
    made = style_transfer_pb2.StylizeRequest(
        content=image_pb2.ImageSource(inline=png(0.2)),
        styles=[recipe_pb2.StyleInput(style=GREY)],
        recipe=recipe_pb2.Recipe(preset="classic", iterations=iterations),
    )
    made.MergeFrom(style_transfer_pb2.StylizeRequest(**fields))
    return made
