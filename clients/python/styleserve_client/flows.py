"""Flows: what the client does, step by step, without doing any of it.

A flow is a generator: it yields an operation, and is sent the reply or thrown the error. `Client` performs operations
by waiting, `AsyncClient` by awaiting; everything else about them is here, once.
"""

import hashlib
import random
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from styleserve.v1 import image_pb2, job_pb2, style_catalog_pb2, style_transfer_pb2
from styleserve_client import requests
from styleserve_client.errors import (
    DeadlineError,
    InvalidRequestError,
    RetryLaterError,
    StyleServeError,
    UnavailableError,
)
from styleserve_client.events import JobChanged, Previewed, Progressed, ResultReady
from styleserve_client.picture import Picture

MAX_ATTEMPTS = 6
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_TRANSFER_TIMEOUT_S = 300.0
#: Below this many bytes a second a server gives an upload up, which is for it to say and not for the call's timeout.
_LEAST_BYTES_PER_S = 10_000
#: Before it answers, a server fetches images of styles that it has never seen, which is a transfer too.
_SUBMIT_TIMEOUT_S = _TRANSFER_TIMEOUT_S + 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """Call `method` of `service` with one message, and reply with its response."""

    service: str
    method: str
    request: Any
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Upload:
    """Send the header of an image of `num_bytes` and then `data` in chunks, and reply with the response."""

    data: bytes
    num_bytes: int
    sha256: str
    deadline: float | None = None

    @property
    def timeout_s(self) -> float:
        """Seconds that it has, if it begins now."""
        longest_s = _TRANSFER_TIMEOUT_S + len(self.data) / _LEAST_BYTES_PER_S
        remaining_s = _remaining_s(self.deadline)
        return longest_s if remaining_s is None else min(longest_s, remaining_s)


@dataclass(frozen=True, slots=True)
class Download:
    """Append the chunks of an image, from the length of `received` on, to `received`."""

    image: str
    received: bytearray = field(default_factory=bytearray)
    timeout_s: float = _TRANSFER_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


Operation: TypeAlias = Call | Upload | Download | Sleep
Flow: TypeAlias = Generator[Operation, Any, Any]


def call(service: str, method: str, request: Any, timeout_s: float | None) -> Flow:
    """One call that changes nothing, or the same thing twice: tried again while the server is unavailable."""
    return (yield from _retry(Call(service, method, request, timeout_s)))


def call_once(service: str, method: str, request: Any, timeout_s: float | None) -> Flow:
    """One call that would not do the same thing twice: what became of it is for the caller to find out."""
    return (yield Call(service, method, request, timeout_s))


def create_style(request: style_catalog_pb2.CreateStyleRequest, timeout_s: float | None) -> Flow:
    """Create a style, its image sent before when it is large; returns the style."""
    yield from send_large_images(request)
    response = yield from call_once("admin", "CreateStyle", request, timeout_s)
    return response.style


def upload(data: bytes, deadline: float | None = None) -> Flow:
    """Upload an image until the deadline; returns `images/{sha256}`. Sending it twice stores it once.

    The header goes first and alone: a server that has the image answers with its name, and one that would refuse it
    says so, before any chunk is sent.
    """
    digest = hashlib.sha256(data).hexdigest()
    try:
        response = yield from _retry(Upload(b"", len(data), digest, deadline), deadline)
    except InvalidRequestError as error:
        if all(violation.reason != "TRUNCATED" for violation in error.violations):
            raise
        response = yield from _retry(Upload(data, len(data), digest, deadline), deadline)
    return response.image


def download(image: str) -> Flow:
    """Download an image; returns its bytes.

    A lost connection goes on where it broke, and a call whose time was up where it stood, if it brought anything.
    """
    operation = Download(image)
    while True:
        num_before = len(operation.received)
        try:
            yield from _retry(operation)
        except DeadlineError:
            if len(operation.received) == num_before:
                raise
        else:
            return bytes(operation.received)


def send_large_images(
    request: style_transfer_pb2.StylizeRequest | style_catalog_pb2.CreateStyleRequest, deadline: float | None = None
) -> Flow:
    """Upload what is too large to travel in the request, until the deadline, and name it there."""
    for source in requests.large_images(request):
        source.image = yield from upload(source.inline, deadline)


def stylize(request: style_transfer_pb2.StylizeRequest, timeout_s: float | None) -> Flow:
    """Make a picture; returns it.

    The request ID makes it safe to ask again: it finds the job, or has it made anew when it was cancelled because the
    connection broke and nobody waited for it any more.
    """
    deadline = _deadline(timeout_s)
    yield from send_large_images(request, deadline)
    for attempt in range(MAX_ATTEMPTS):
        try:
            response = yield Call("transfer", "Stylize", request, _remaining_s(deadline))
        except RetryLaterError as error:
            delay_s = _delay(error, attempt, deadline)
            if delay_s is None:
                raise
            yield Sleep(delay_s)
        else:
            return (yield from finish(response.result, response.job))
    raise AssertionError("the last attempt returns or raises")


def submit(request: style_transfer_pb2.StylizeRequest) -> Flow:
    """Start a job that runs on its own; returns it."""
    request.detached = True
    yield from send_large_images(request)
    response = yield from call("transfer", "Stylize", request, _SUBMIT_TIMEOUT_S)
    return response.job


def finish(result: image_pb2.ImageResult, job: job_pb2.Job) -> Flow:
    """The picture of a result, downloaded when it did not come along."""
    data = result.inline or (yield from download(result.image))
    return Picture(data, result.mime_type, result.width, result.height, job)


class Watch:
    """One job being watched, across lost connections; it knows where to go on, and for how long yet.

    A stream that starts a job is opened again by the same request, as of `stylize`. The `timeout_s` seconds begin now,
    and all streams have them together.
    """

    def __init__(self, request: style_transfer_pb2.StreamProgressRequest, timeout_s: float | None = None) -> None:
        self._request = request
        self._request.include_result = True
        self._deadline = _deadline(timeout_s)
        self._num_failures = 0
        self._result: style_transfer_pb2.StreamProgressResponse | None = None

    def prepare(self) -> Flow:
        """Upload what is too large to travel in the request that starts the job."""
        yield from send_large_images(self._request.start, self._deadline)

    @property
    def request(self) -> style_transfer_pb2.StreamProgressRequest:
        """What to ask for next: what came after the last event."""
        return self._request

    @property
    def timeout_s(self) -> float | None:
        """Seconds that the next stream has; None for as many as it takes."""
        return _remaining_s(self._deadline)

    def receive(self, message: style_transfer_pb2.StreamProgressResponse) -> Flow:
        """The events of a message: a picture waits for the job after it, which tells how it was made.

        A stream that breaks between the two is to tell both again.
        """
        kind = message.WhichOneof("event")
        if kind == "result":
            self._result = message
            return ()
        self._num_failures = 0
        self._request.after_sequence = message.sequence
        match kind:
            case "progress":
                return (Progressed(message.sequence, message.progress),)
            case "preview":
                preview = message.preview
                return (Previewed(message.sequence, preview.inline, preview.width, preview.height),)
            case _:
                changed = JobChanged(message.sequence, message.job)
                if self._result is None:
                    return (changed,)
                picture = yield from finish(self._result.result, message.job)
                return ResultReady(self._result.sequence, picture), changed

    def recover(self, error: StyleServeError) -> float:
        """Seconds to wait before the stream is opened again; raises the error when that would not help."""
        delay_s = _delay(error, self._num_failures, self._deadline)
        self._num_failures += 1
        self._result = None
        if delay_s is None:
            raise error
        return delay_s


def _retry(operation: Operation, deadline: float | None = None) -> Flow:
    for attempt in range(MAX_ATTEMPTS):
        try:
            return (yield operation)
        except RetryLaterError as error:
            delay_s = _delay(error, attempt, deadline)
            if delay_s is None:
                raise
            yield Sleep(delay_s)
    raise AssertionError("the last attempt returns or raises")


def _deadline(timeout_s: float | None) -> float | None:
    """When so many seconds from now are over, as a reading of `time.monotonic()`; None for never."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def _remaining_s(deadline: float | None) -> float | None:
    """Seconds until then, and a moment where it is over, since a call needs some; None for as many as it takes."""
    return None if deadline is None else max(0.001, deadline - time.monotonic())


def _delay(error: StyleServeError, attempt: int, deadline: float | None = None) -> float | None:
    """Seconds until the next attempt: what the server said, else twice as long each time; None to give up.

    A wait longer than half a minute is for the caller to decide upon, and none goes beyond the deadline.
    """
    if not isinstance(error, RetryLaterError) or attempt + 1 >= MAX_ATTEMPTS:
        return None
    if (error.retry_after_s or 0.0) > _LONGEST_DELAY_S:
        return None
    if error.retry_after_s is None and not isinstance(error, UnavailableError):
        return None
    backoff_s = min(_FIRST_DELAY_S * 2**attempt, _LONGEST_DELAY_S)
    delay_s = (error.retry_after_s or backoff_s) * random.uniform(1.0, 1.2)  # noqa: S311 (spreads clients, hides nothing)
    return None if deadline is not None and time.monotonic() + delay_s > deadline else delay_s
