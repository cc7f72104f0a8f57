"""Errors as gRPC statuses: the code of each of our errors, and the details that it carries.

Details stay below 4 KiB, since they travel in trailing metadata, which clients limit to 8 KiB.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from styleserve.errors import (
    AlreadyExistsError,
    CatalogInvalidError,
    DeadlineUnattainableError,
    DivergedError,
    DrainingError,
    EngineError,
    ImageNotFoundError,
    ImageTooLargeForDeviceError,
    InvalidRequestError,
    JobCancelledError,
    JobIdTakenError,
    JobNotFoundError,
    NotFoundError,
    PermissionDeniedError,
    QueueFullError,
    QueueTimeoutError,
    QuotaExceededError,
    RequestError,
    RequestIdReusedError,
    RequestLateError,
    RetryLaterError,
    RunTimeoutError,
    StorageError,
    StyleExistsError,
    StyleImageUnavailableError,
    StyleNotFoundError,
    StyleReadOnlyError,
    UnauthenticatedError,
    UploadIdleError,
    WarmingUpError,
)

DOMAIN = "styleserve"
#: What clients' retry policies obey, beside RetryInfo, which people read.
PUSHBACK_KEY = "grpc-retry-pushback-ms"

_MAX_VIOLATIONS_BYTES = 3000
#: In bytes, since the texts of one error travel twice, and a character takes up to four, or twelve as gRPC writes it.
_MAX_TEXT_BYTES = 300

CODES: Mapping[type[RequestError], grpc.StatusCode] = MappingProxyType(
    {
        InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
        StyleNotFoundError: grpc.StatusCode.NOT_FOUND,
        JobNotFoundError: grpc.StatusCode.NOT_FOUND,
        ImageNotFoundError: grpc.StatusCode.NOT_FOUND,
        RequestIdReusedError: grpc.StatusCode.ALREADY_EXISTS,
        JobIdTakenError: grpc.StatusCode.ALREADY_EXISTS,
        StyleExistsError: grpc.StatusCode.ALREADY_EXISTS,
        QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        QuotaExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        WarmingUpError: grpc.StatusCode.UNAVAILABLE,
        DrainingError: grpc.StatusCode.UNAVAILABLE,
        StyleImageUnavailableError: grpc.StatusCode.UNAVAILABLE,
        StorageError: grpc.StatusCode.UNAVAILABLE,
        RequestLateError: grpc.StatusCode.UNAVAILABLE,
        ImageTooLargeForDeviceError: grpc.StatusCode.RESOURCE_EXHAUSTED,
        DeadlineUnattainableError: grpc.StatusCode.FAILED_PRECONDITION,
        StyleReadOnlyError: grpc.StatusCode.FAILED_PRECONDITION,
        CatalogInvalidError: grpc.StatusCode.FAILED_PRECONDITION,
        RunTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
        QueueTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
        UploadIdleError: grpc.StatusCode.DEADLINE_EXCEEDED,
        UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
        PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
        JobCancelledError: grpc.StatusCode.CANCELLED,
        DivergedError: grpc.StatusCode.INTERNAL,
        EngineError: grpc.StatusCode.INTERNAL,
    }
)

_RESOURCES: Mapping[type[RequestError], str] = MappingProxyType(
    {
        StyleNotFoundError: "styleserve.v1.Style",
        JobNotFoundError: "styleserve.v1.Job",
        ImageNotFoundError: "styleserve.v1.Image",
        RequestIdReusedError: "styleserve.v1.StylizeRequest",
        JobIdTakenError: "styleserve.v1.Job",
        StyleExistsError: "styleserve.v1.Style",
        StyleReadOnlyError: "styleserve.v1.Style",
    }
)

Trailing: TypeAlias = tuple[tuple[str, str | bytes], ...]


class RichStatus(grpc.Status):
    """A status with its trailing metadata, as `abort_with_status` takes it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: Trailing) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def to_message(error: RequestError) -> status_pb2.Status:
    """The error as `google.rpc.Status`, with its details."""
    code: int = CODES[type(error)].value[0]
    return status_pb2.Status(code=code, message=_shorten(str(error)), details=[_pack(part) for part in _details(error)])


def to_status(error: RequestError) -> RichStatus:
    """The error as a status to end a call with; one that may be tried again says when in its metadata too.

    The pushback is put here because metadata set on the context before an abort is dropped.
    """
    plain = rpc_status.to_status(to_message(error))
    trailing: Trailing = tuple(plain.trailing_metadata or ())
    if isinstance(error, RetryLaterError):
        trailing += ((PUSHBACK_KEY, str(math.ceil(error.retry_after_s * 1000))),)
    return RichStatus(plain.code, plain.details, trailing)


def _details(error: RequestError) -> list[Message]:
    metadata: dict[str, str] = {}
    details: list[Message] = []
    match error:
        case InvalidRequestError():
            details.append(_bad_request(error))
        case NotFoundError():
            metadata = {"nearest": ", ".join(error.nearest)} if error.nearest else {}
            details.append(_resource(error, error.name))
        case AlreadyExistsError():
            details.append(_resource(error, error.name))
        case StyleReadOnlyError():
            metadata = {"origin": error.origin}
            details.append(_resource(error, error.name))
        case CatalogInvalidError():
            details.append(_precondition_failure(error))
        case RetryLaterError():
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
            if isinstance(error, QuotaExceededError):
                details.append(_quota_failure(error))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        case ImageTooLargeForDeviceError():
            metadata = {"largest_side": str(error.largest_side)}
        case DeadlineUnattainableError():
            seconds = {"available_s": error.available_s, "needed_s": error.needed_s, "busy_s": error.busy_s}
            metadata = {name: f"{value:.3f}" for name, value in seconds.items()}
        case PermissionDeniedError():
            metadata = {"scope": error.scope}
        case EngineError() if error.incident:
            details.append(error_details_pb2.RequestInfo(request_id=error.incident))
        case DivergedError():
            metadata = {"iteration": str(error.iteration), "recipe": error.recipe_json}
        case _:
            pass
    return [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata), *details]


def _bad_request(error: InvalidRequestError) -> error_details_pb2.BadRequest:
    """As many of the violations as fit; the last place says how many did not."""
    request = error_details_pb2.BadRequest()
    for index, violation in enumerate(error.violations):
        request.field_violations.add(
            field=_shorten(violation.field), description=_shorten(violation.description), reason=violation.reason
        )
        if request.ByteSize() > _MAX_VIOLATIONS_BYTES:
            del request.field_violations[-1]
            left_out = len(error.violations) - index
            request.field_violations.add(description=f"and {left_out} more violations", reason="MORE_VIOLATIONS")
            break
    return request


def _quota_failure(error: QuotaExceededError) -> error_details_pb2.QuotaFailure:
    failure = error_details_pb2.QuotaFailure()
    subject = "all callers" if error.caller is None else f"caller:{error.caller}"
    failure.violations.add(subject=subject, description=f"{error.limit} {error.subject}")
    return failure


def _precondition_failure(error: CatalogInvalidError) -> error_details_pb2.PreconditionFailure:
    """As many of the problems as fit, with the places of their files; the last place says how many did not."""
    failure = error_details_pb2.PreconditionFailure()
    for index, problem in enumerate(error.problems):
        failure.violations.add(
            type="STYLE_FILE", subject=_shorten(problem.place), description=_shorten(problem.description)
        )
        if failure.ByteSize() > _MAX_VIOLATIONS_BYTES:
            del failure.violations[-1]
            left_out = len(error.problems) - index
            failure.violations.add(type="MORE_PROBLEMS", description=f"and {left_out} more problems")
            break
    return failure


def _resource(error: RequestError, name: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=_RESOURCES[type(error)], resource_name=_shorten(name), description=_shorten(str(error))
    )


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _shorten(text: str) -> str:
    data = text[:_MAX_TEXT_BYTES].encode(errors="replace")
    if len(data) <= _MAX_TEXT_BYTES and len(text) <= _MAX_TEXT_BYTES:
        return text
    return data[: _MAX_TEXT_BYTES - len("…".encode())].decode(errors="ignore") + "…"
