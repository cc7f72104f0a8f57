"""Calls: what each kind of request does to a server, and what came of it."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from styleserve import images
from styleserve.cli.load.mix import Action, Kind
from styleserve.model.calibration import natural_image
from styleserve.v1 import (
    job_pb2,
    server_info_pb2,
    server_info_pb2_grpc,
    style_transfer_pb2,
    style_transfer_pb2_grpc,
)
from styleserve_client import RetryLaterError, StyleServeError, StylizeOptions
from styleserve_client.errors import from_call, raise_for
from styleserve_client.requests import build

_Stream: TypeAlias = (
    "grpc.aio.UnaryStreamCall[style_transfer_pb2.StreamProgressRequest, style_transfer_pb2.StreamProgressResponse]"
)


@dataclass(slots=True)
class Outcome:
    """How a call ended: `reason` is None when it went well, else the server's name for what was wrong.

    `is_answered` unless no server was there to say so, or this program failed: `is_fault`, `reason` is the exception.
    `paused_s` are seconds that the caller let pass on purpose, `num_retries` calls that were made again.
    """

    reason: str | None = None
    is_answered: bool = True
    is_fault: bool = False
    paused_s: float = 0.0
    num_retries: int = 0


class Caller:
    """Makes calls over one connection; every picture is asked for with a seed of its own, so that none is kept already.

    `metadata` says who calls. With `is_patient` what the server refuses with a time to come back is asked again then.
    """

    def __init__(
        self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], seed: int, is_patient: bool
    ) -> None:
        self._metadata = metadata
        self._transfer = style_transfer_pb2_grpc.StyleTransferServiceStub(channel)
        self._info = server_info_pb2_grpc.ServerInfoServiceStub(channel)
        self._seed = seed
        self._seeds = itertools.count(seed)
        self._is_patient = is_patient
        self._pictures: dict[int, bytes] = {}
        self._last_job = ""
        self._actions: Mapping[Action, Callable[[Kind, Outcome], Awaitable[None]]] = {
            "paint": self._paint,
            "watch": self._watch,
            "cancel": self._cancel,
            "leave": self._leave,
            "read": self._read,
        }

    def prepare(self, kind: Kind) -> None:
        """Make what the calls of this kind send, before any is timed."""
        if kind.do != "read" and kind.side not in self._pictures:
            picture = images.Picture(natural_image(kind.side, self._seed))
            self._pictures[kind.side] = images.encode(picture, "png").data

    async def call(self, kind: Kind) -> Outcome:
        """Make one call, to its end."""
        outcome = Outcome()
        while True:
            try:
                await self._actions[kind.do](kind, outcome)
            except (grpc.RpcError, StyleServeError) as caught:
                error = from_call(caught) if isinstance(caught, grpc.RpcError) else caught
                retry_after_s = error.retry_after_s if isinstance(error, RetryLaterError) else None
                if self._is_patient and retry_after_s is not None:
                    outcome.num_retries += 1
                    await asyncio.sleep(retry_after_s * random.uniform(1.0, 1.2))  # noqa: S311 (not all at once)
                    continue
                outcome.reason = error.reason or error.code.name
                outcome.is_answered = bool(error.reason) or error.code != grpc.StatusCode.UNAVAILABLE
            except Exception as fault:
                outcome.reason, outcome.is_answered, outcome.is_fault = type(fault).__name__, False, True
            return outcome

    async def _paint(self, kind: Kind, _: Outcome) -> None:
        response = await self._transfer.Stylize(self._request(kind), metadata=self._metadata)
        self._last_job = response.job.name

    async def _watch(self, kind: Kind, _: Outcome) -> None:
        call = self._start(kind)
        await self._begun(call)
        raise_for(await _last_state(call))

    async def _cancel(self, kind: Kind, outcome: Outcome) -> None:
        call = self._start(kind)
        name = await self._begun(call)
        await _pause(kind, outcome)
        await self._transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name), metadata=self._metadata)
        job = await _last_state(call)
        if job.state != job_pb2.JOB_STATE_CANCELLED:  # it was done before, or failed
            raise_for(job)

    async def _leave(self, kind: Kind, outcome: Outcome) -> None:
        call = self._start(kind)
        await self._begun(call)
        await _pause(kind, outcome)
        call.cancel()

    async def _read(self, _: Kind, __: Outcome) -> None:
        if self._last_job:
            await self._transfer.GetJob(style_transfer_pb2.GetJobRequest(name=self._last_job), metadata=self._metadata)
        else:
            await self._info.GetServerInfo(server_info_pb2.GetServerInfoRequest(), metadata=self._metadata)

    def _start(self, kind: Kind) -> _Stream:
        return self._transfer.StreamProgress(
            style_transfer_pb2.StreamProgressRequest(start=self._request(kind), include_result=True),
            metadata=self._metadata,
        )

    async def _begun(
        self,
        call: _Stream,
    ) -> str:
        """The name of the stream's job, which comes first."""
        async for response in call:
            self._last_job = response.job.name
            break
        return self._last_job

    def _request(self, kind: Kind) -> style_transfer_pb2.StylizeRequest:
        options: StylizeOptions = {"max_side": kind.side, "seed": next(self._seeds)}
        if kind.preset is not None:
            options["preset"] = kind.preset
        if kind.optimizer is not None:
            options["optimizer"] = kind.optimizer
        if kind.iterations is not None:
            options["iterations"] = kind.iterations
        return build(self._pictures[kind.side], kind.style, options)


async def _last_state(
    call: _Stream,
) -> job_pb2.Job:
    """The job as the stream tells it last."""
    job = job_pb2.Job()
    async for response in call:
        if response.HasField("job"):
            job = response.job
    return job


async def _pause(kind: Kind, outcome: Outcome) -> None:
    await asyncio.sleep(kind.after_s)
    outcome.paused_s += kind.after_s
