"""Whoever stops a job, and however: at most the evaluation that was under way is finished, whatever the optimizer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf import duration_pb2

from styleserve.engine.specification import Cancel
from styleserve.v1 import job_pb2, recipe_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from support.gate import LONGEST_WAIT_S, Gate
from support.service import Service, request, running
from support.toy import ToyEngineFactory

ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
OPTIMIZERS = {
    "adam": recipe_pb2.OPTIMIZER_ADAM,
    "lbfgs": recipe_pb2.OPTIMIZER_LBFGS,
    "lbfgsb": recipe_pb2.OPTIMIZER_LBFGSB,
}
#: From the call until its deadline; by then the first evaluation has begun.
DEADLINE_S = 2.0
JOB = "jobs/stop-me"


class ListeningWorker(ThreadWorker):
    """Knows when the engine is told to stop a job."""

    def __init__(self, factory: ToyEngineFactory) -> None:
        super().__init__(factory)
        self.told_to_stop = asyncio.Event()

    def send(self, command) -> None:
        super().send(command)
        if isinstance(command, Cancel):
            self.told_to_stop.set()


@dataclass
class Stopping:
    """A server whose next evaluation is held at the gate, and the recipe to ask it with."""

    service: Service
    gate: Gate
    worker: ListeningWorker
    optimizer: int

    def asked(self, **fields: object) -> style_transfer_pb2.StylizeRequest:
        made = request(5000, job_id=JOB.removeprefix("jobs/"), **fields)
        made.recipe.optimizer = self.optimizer
        return made

    async def until_told(self) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            await self.worker.told_to_stop.wait()

    async def cancel_job(self) -> None:
        await self.service.transfer.Stylize(self.asked(detached=True))
        await self.gate.until_reached()
        await self.service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=JOB))

    async def hang_up_on_a_picture(self) -> None:
        call = self.service.transfer.Stylize(self.asked())
        await self.gate.until_reached()
        call.cancel()
        await self.until_told()

    async def hang_up_on_progress(self) -> None:
        call = self.service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(start=self.asked()))
        await call.read()
        await self.gate.until_reached()
        call.cancel()
        await self.until_told()

    async def let_the_calls_deadline_pass(self) -> None:
        call = self.service.transfer.Stylize(self.asked(), timeout=DEADLINE_S)
        await self.gate.until_reached()
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    async def let_the_jobs_deadline_pass(self) -> None:
        allowed = duration_pb2.Duration(nanos=round(DEADLINE_S * 1e9))
        deadline = time.monotonic() + DEADLINE_S
        await self.service.transfer.Stylize(self.asked(detached=True, run_timeout=allowed))
        await self.gate.until_reached()
        await asyncio.sleep(deadline - time.monotonic())


@contextlib.asynccontextmanager
async def stopping(folder, optimizer: int) -> AsyncIterator[Stopping]:
    gate = Gate()
    worker = ListeningWorker(ToyEngineFactory(gate))
    async with running(folder, worker=worker) as service:
        try:
            yield Stopping(service, gate, worker, optimizer)
        finally:
            gate.opened.set()


WAYS = {
    "CancelJob": Stopping.cancel_job,
    "Stylize is hung up": Stopping.hang_up_on_a_picture,
    "StreamProgress is hung up": Stopping.hang_up_on_progress,
    "the call's deadline": Stopping.let_the_calls_deadline_pass,
    "the job's deadline": Stopping.let_the_jobs_deadline_pass,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("way", WAYS)
async def test_no_evaluation_begins_once_a_job_is_to_stop(tmp_path, optimizer, way):
    async with stopping(tmp_path, OPTIMIZERS[optimizer]) as server:
        other = request(1)
        other.recipe.optimizer = server.optimizer
        await server.service.transfer.Stylize(other)
        num_of_other = server.gate.num_evaluations
        server.gate.shut()
        await WAYS[way](server)
        server.gate.opened.set()
        job = await server.service.wait_for(JOB, *ENDED)
        await server.service.transfer.Stylize(other)  # whatever was still done of the first came before this one's
    assert server.gate.num_evaluations == 1 + num_of_other, "but for the one that was under way"
    assert job.state != job_pb2.JOB_STATE_SUCCEEDED or job.stop_reason == job_pb2.STOP_REASON_DEADLINE
