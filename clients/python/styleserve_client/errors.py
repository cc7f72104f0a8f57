"""What can go wrong, as the client's own exceptions; each carries the server's reason and details.

StyleServeError
+-- InvalidRequestError   the request breaks rules; `violations` has all of them
+-- NotFoundError         a style, job or image does not exist; `nearest` has similar names
+-- AlreadyExistsError    a request ID, job ID or style ID is in use
+-- StyleReadOnlyError    the style was not created by a caller, so no caller deletes it
+-- CatalogInvalidError   the server's files of styles have problems, all of them in `problems`; its catalogue stays
+-- RetryLaterError       the queue is full or a quota used up; `retry_after_s` says when to come back
|   +-- UnavailableError  the server starts, stops or cannot be reached
+-- ImageTooLargeError    the server's memory is too small; `largest_side` says what fits
+-- AccessError           the server does not know who calls, or does not allow it
+-- DeadlineError         the time was too short
+-- CancelledError        the job was cancelled
+-- JobFailedError        the job diverged
+-- ServerError           a fault of the server's
"""

from dataclasses import dataclass
from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from styleserve.v1 import job_pb2

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: where, what was got and is allowed, and a stable name for it."""

    field: str
    description: str
    reason: str


class StyleServeError(Exception):
    """The root; `code` is the gRPC status, `reason` the server's stable name for what happened."""

    def __init__(self, message: str, code: grpc.StatusCode, reason: str = "", incident: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        #: What to tell the server's operator, who finds it in the log.
        self.incident = incident


class InvalidRequestError(StyleServeError):
    """The request breaks rules; all of them are in `violations`."""

    violations: tuple[Violation, ...] = ()


class NotFoundError(StyleServeError):
    """A style, job or image does not exist; `nearest` has similar names that do."""

    nearest: tuple[str, ...] = ()


class AlreadyExistsError(StyleServeError):
    """The request ID was used for another request, or the job ID or style ID is taken."""


class StyleReadOnlyError(StyleServeError):
    """The style comes from the server's files and not from a caller, so no caller deletes it."""


class CatalogInvalidError(StyleServeError):
    """The server's files of styles have problems, and its catalogue stays as it was.

    `problems` has one sentence for each, which begins with the folder's and the file's name.
    """

    problems: tuple[str, ...] = ()


class RetryLaterError(StyleServeError):
    """Nothing is wrong with the request; `retry_after_s` says when to come back, None when the server did not say."""

    retry_after_s: float | None = None


class UnavailableError(RetryLaterError):
    """The server is starting, stopping, or cannot be reached."""


class AccessError(StyleServeError):
    """The server does not know who calls (no token, or a wrong one), or the caller may not do this."""


class ImageTooLargeError(StyleServeError):
    """The server's memory is too small for the picture; `largest_side` is the longest side in pixels that fits."""

    largest_side: int = 0


class DeadlineError(StyleServeError):
    """The time was up, or was too short from the beginning."""


class CancelledError(StyleServeError):
    """The job was cancelled."""


class JobFailedError(StyleServeError):
    """The job ended without a picture for a reason of its own, such as DIVERGED."""


class ServerError(StyleServeError):
    """A fault of the server's."""


_CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RetryLaterError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.FAILED_PRECONDITION: DeadlineError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.CANCELLED: CancelledError,
}
_CLASSES_BY_REASON: dict[str, type[StyleServeError]] = {
    "CATALOG_INVALID": CatalogInvalidError,
    "DIVERGED": JobFailedError,
    "IMAGE_TOO_LARGE_FOR_DEVICE": ImageTooLargeError,
    "STYLE_READ_ONLY": StyleReadOnlyError,
}
#: What grpc's asyncio says of a call that ended while it was writing, whatever it ended with:
#: https://github.com/grpc/grpc/issues/36066
_ENDED_WHILE_WRITING = (grpc.StatusCode.INTERNAL, "Internal error from Core")
_CODES_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def from_call(error: grpc.RpcError) -> StyleServeError:
    """The exception of a call that ended with an error."""
    call = cast("grpc.Call", error)  # both of grpc's kinds of error have its methods
    status = rpc_status.from_call(call)
    if status is not None:
        return from_status(status)
    code = call.code()
    if (code, call.details()) == _ENDED_WHILE_WRITING:
        return UnavailableError("the connection broke while something was sent", grpc.StatusCode.UNAVAILABLE)
    return _CLASSES.get(code, ServerError)(call.details() or code.name, code)


def from_status(status: status_pb2.Status) -> StyleServeError:
    """The exception of `google.rpc.Status`, such as a failed job carries."""
    code = _CODES_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    info = _find(status, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo()
    incident = _find(status, error_details_pb2.RequestInfo)
    kind = _CLASSES_BY_REASON.get(info.reason) or _CLASSES.get(code, ServerError)
    error = kind(status.message, code, info.reason, incident.request_id if incident else "")
    if isinstance(error, InvalidRequestError):
        bad = _find(status, error_details_pb2.BadRequest) or error_details_pb2.BadRequest()
        error.violations = tuple(Violation(one.field, one.description, one.reason) for one in bad.field_violations)
    if isinstance(error, CatalogInvalidError):
        failure = _find(status, error_details_pb2.PreconditionFailure) or error_details_pb2.PreconditionFailure()
        error.problems = tuple(
            f"{one.subject}: {one.description}" if one.subject else one.description for one in failure.violations
        )
    if isinstance(error, NotFoundError) and info.metadata.get("nearest"):
        error.nearest = tuple(info.metadata["nearest"].split(", "))
    if isinstance(error, ImageTooLargeError):
        error.largest_side = int(info.metadata.get("largest_side", 0))
    retry = _find(status, error_details_pb2.RetryInfo)
    if isinstance(error, RetryLaterError) and retry is not None:
        error.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return error


def raise_for(job: job_pb2.Job) -> None:
    """Raise what ended the job, as `stylize` would: a failed one's error, CancelledError for one that was cancelled."""
    if job.state == job_pb2.JOB_STATE_FAILED:
        raise from_status(job.error)
    if job.state == job_pb2.JOB_STATE_CANCELLED:
        raise CancelledError(f"{job.name} was cancelled", grpc.StatusCode.CANCELLED, "JOB_CANCELLED")


def _find(status: status_pb2.Status, kind: type[MessageT]) -> MessageT | None:
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None
