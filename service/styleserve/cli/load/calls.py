"""Calls: what each kind of request does to a server, and what came of it."""

import asyncio
import functools
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from styleserve import images
from styleserve.cli.load.mix import Action, Kind
from styleserve.model.calibration import natural_image
from styleserve.presets import MAX_SEED
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

_Request: TypeAlias = style_transfer_pb2.StylizeRequest
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

    The seeds begin anywhere, so that none is kept of an earlier run either. `metadata` says who calls. With
    `is_patient` what the server refuses with a time to come back is asked again then, by the same request.
    """

    def __init__(
        self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], seed: int, is_patient: bool
    ) -> None:
        self._metadata = metadata
        self._transfer = style_transfer_pb2_grpc.StyleTransferServiceStub(channel)
        self._info = server_info_pb2_grpc.ServerInfoServiceStub(channel)
        self._seed = seed
        self._seeds = itertools.count(random.randrange(MAX_SEED // 2))  # noqa: S311 (no secret)
        self._is_patient = is_patient
        self._pictures: dict[int, bytes] = {}
        self._last_job = ""
        self._painting: Mapping[Action, Callable[[Kind, _Request, Outcome], Awaitable[None]]] = {
            "paint": self._paint,
            "watch": self._watch,
            "cancel": self._cancel,
            "leave": self._leave,
        }

    def prepare(self, kind: Kind) -> None:
        """Make what the calls of this kind send, before any is timed."""
        if kind.do != "read" and kind.side not in self._pictures:
            picture = images.Picture(natural_image(kind.side, self._seed))
            self._pictures[kind.side] = images.encode(picture, "png").data

    async def call(self, kind: Kind) -> Outcome:
        """Make one call, to its end."""
        outcome = Outcome()
        try:
            await self._persist(self._attempt(kind, outcome), outcome)
        except StyleServeError as error:
            outcome.reason = error.reason or error.code.name
            outcome.is_answered = bool(error.reason) or error.code != grpc.StatusCode.UNAVAILABLE
        except Exception as fault:
            outcome.reason, outcome.is_answered, outcome.is_fault = type(fault).__name__, False, True
        return outcome

    def _attempt(self, kind: Kind, outcome: Outcome) -> Callable[[], Awaitable[None]]:
        """What makes the call, however often, with the same request."""
        if kind.do == "read":
            return self._read
        return functools.partial(self._painting[kind.do], kind, self._request(kind), outcome)

    async def _persist(self, attempt: Callable[[], Awaitable[None]], outcome: Outcome) -> None:
        """Call until the answer is no refusal for now; raises StyleServeError."""
        while True:
            try:
                return await attempt()
            except (grpc.RpcError, StyleServeError) as caught:
                error = from_call(caught) if isinstance(caught, grpc.RpcError) else caught
            retry_after_s = error.retry_after_s if isinstance(error, RetryLaterError) else None
            if not self._is_patient or retry_after_s is None:
                raise error
            outcome.num_retries += 1
            await asyncio.sleep(retry_after_s * random.uniform(1.0, 1.2))  # noqa: S311 (not all at once)

    async def _paint(self, _: Kind, request: _Request, __: Outcome) -> None:
        response = await self._transfer.Stylize(request, metadata=self._metadata)
        self._last_job = response.job.name

    async def _watch(self, _: Kind, request: _Request, __: Outcome) -> None:
        call = self._start(request)
        await self._begun(call)
        raise_for(await _last_state(call))

    async def _cancel(self, kind: Kind, request: _Request, outcome: Outcome) -> None:
        call = self._start(request)
        name = await self._begun(call)
        await _pause(kind, outcome)
        await self._transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name), metadata=self._metadata)
        job = await _last_state(call)
        if job.state != job_pb2.JOB_STATE_CANCELLED:  # it was done before, or failed
            raise_for(job)

    async def _leave(self, kind: Kind, request: _Request, outcome: Outcome) -> None:
        call = self._start(request)
        await self._begun(call)
        await _pause(kind, outcome)
        call.cancel()

    async def _read(self) -> None:
        if self._last_job:
            await self._transfer.GetJob(style_transfer_pb2.GetJobRequest(name=self._last_job), metadata=self._metadata)
        else:
            await self._info.GetServerInfo(server_info_pb2.GetServerInfoRequest(), metadata=self._metadata)

    def _start(self, request: _Request) -> _Stream:
        return self._transfer.StreamProgress(
            style_transfer_pb2.StreamProgressRequest(start=request, include_result=True),
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

    def _request(self, kind: Kind) -> _Request:
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
