"""Everything that can go wrong, as one tree; the gRPC status of a leaf stands beside it.

    StyleServeError
    +-- RequestError                     what a caller is told
    |   +-- InvalidRequestError          INVALID_ARGUMENT     INVALID_REQUEST
    |   +-- NotFoundError
    |   |   +-- StyleNotFoundError       NOT_FOUND            STYLE_NOT_FOUND
    |   |   +-- JobNotFoundError         NOT_FOUND            JOB_NOT_FOUND
    |   |   +-- ImageNotFoundError       NOT_FOUND            IMAGE_NOT_FOUND
    |   +-- AlreadyExistsError
    |   |   +-- RequestIdReusedError     ALREADY_EXISTS       REQUEST_ID_REUSED
    |   |   +-- JobIdTakenError          ALREADY_EXISTS       JOB_ID_TAKEN
    |   |   +-- StyleExistsError         ALREADY_EXISTS       STYLE_EXISTS
    |   +-- RetryLaterError
    |   |   +-- QueueFullError           RESOURCE_EXHAUSTED   QUEUE_FULL
    |   |   +-- QuotaExceededError       RESOURCE_EXHAUSTED   QUOTA_EXCEEDED
    |   |   +-- WarmingUpError           UNAVAILABLE          WARMING_UP
    |   |   +-- DrainingError            UNAVAILABLE          DRAINING
    |   |   +-- StyleImageUnavailableError UNAVAILABLE        STYLE_IMAGE_UNAVAILABLE
    |   |   +-- StorageError             UNAVAILABLE          STORAGE_UNAVAILABLE
    |   |   +-- RequestLateError         UNAVAILABLE          REQUEST_LATE
    |   +-- ImageTooLargeForDeviceError  RESOURCE_EXHAUSTED   IMAGE_TOO_LARGE_FOR_DEVICE
    |   +-- DeadlineUnattainableError    FAILED_PRECONDITION  DEADLINE_UNATTAINABLE
    |   +-- StyleReadOnlyError           FAILED_PRECONDITION  STYLE_READ_ONLY
    |   +-- CatalogInvalidError          FAILED_PRECONDITION  CATALOG_INVALID
    |   +-- RunTimeoutError              DEADLINE_EXCEEDED    RUN_TIMEOUT
    |   +-- QueueTimeoutError            DEADLINE_EXCEEDED    QUEUE_TIMEOUT
    |   +-- UploadIdleError              DEADLINE_EXCEEDED    UPLOAD_IDLE
    |   +-- UnauthenticatedError         UNAUTHENTICATED      UNAUTHENTICATED
    |   +-- PermissionDeniedError        PERMISSION_DENIED    PERMISSION_DENIED
    |   +-- JobCancelledError            CANCELLED            JOB_CANCELLED
    |   +-- DivergedError                INTERNAL             DIVERGED
    |   +-- EngineError                  INTERNAL             ENGINE_ERROR
    +-- DownloadError                    a file that cannot be fetched; becomes one of the others
    +-- InvalidImageError                an image that cannot be used; becomes a violation of a request
    +-- ConfigurationError               what an operator is told at the start; never reaches a client
        +-- CatalogError
        +-- WeightsError

The statuses live in `rpc/status.py`, whose table a test holds to this tree. A leaf's arguments are its data, so that an
error can travel between processes; its text is made from them, says what was got and what is allowed, and never
quotes an unknown exception.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

#: Less time than this is none.
_LEAST_TOLD_S = 0.01


class StyleServeError(Exception):
    """The root of our own exceptions."""


class RequestError(StyleServeError):
    """An error for the caller; `reason` is its stable, machine-readable name."""

    reason: ClassVar[str] = ""

    def afresh(self) -> Self:
        """The same error, raised nowhere yet: one that was keeps all that was at hand there, requests and pixels."""
        return copy.copy(self)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request or a setting.

    `field` is a path such as `recipe.iterations`; `description` says what was got and what is allowed; `reason` is a
    stable name such as `OUT_OF_RANGE`.
    """

    field: str
    description: str
    reason: str


class InvalidRequestError(RequestError):
    """The request breaks rules; all of them at once are in `violations`."""

    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[Violation]) -> None:
        assert violations
        super().__init__(tuple(violations))
        self.violations = tuple(violations)

    def __str__(self) -> str:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in self.violations)


def violation(field: str, description: str, reason: str) -> InvalidRequestError:
    """The error of a request with one thing wrong."""
    return InvalidRequestError([Violation(field, description, reason)])


class NotFoundError(RequestError):
    """A resource does not exist; `nearest` holds similar names that do."""

    kind: ClassVar[str] = ""

    def __init__(self, name: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(name, tuple(nearest))
        self.name = name
        self.nearest = tuple(nearest)

    def __str__(self) -> str:
        hint = f"; the nearest: {', '.join(self.nearest)}" if self.nearest else ""
        return f"there is no {self.kind} {self.name!r}{hint}"


class StyleNotFoundError(NotFoundError):
    """No such style in the catalogue."""

    kind = "style"
    reason = "STYLE_NOT_FOUND"


class JobNotFoundError(NotFoundError):
    """No such job, or it has expired."""

    kind = "job"
    reason = "JOB_NOT_FOUND"


class ImageNotFoundError(NotFoundError):
    """No such image, or it has expired."""

    kind = "image"
    reason = "IMAGE_NOT_FOUND"


class AlreadyExistsError(RequestError):
    """The name that the caller chose is in use; `name` is that of what has it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class RequestIdReusedError(AlreadyExistsError):
    """The request ID came before with another request; `name` is the request ID."""

    reason = "REQUEST_ID_REUSED"

    def __str__(self) -> str:
        return f"request_id {self.name!r} was used for another request; use a fresh UUID for a new request"


class JobIdTakenError(AlreadyExistsError):
    """The job ID that the caller chose belongs to another job; `name` is the job's."""

    reason = "JOB_ID_TAKEN"

    def __str__(self) -> str:
        return f"{self.name!r} is not free; choose another job_id or leave it empty"


class StyleExistsError(AlreadyExistsError):
    """The style ID that the caller chose belongs to another style; `name` is the style's."""

    reason = "STYLE_EXISTS"

    def __str__(self) -> str:
        return f"{self.name!r} exists already; choose another style_id, or delete that style first"


class RetryLaterError(RequestError):
    """Nothing is wrong with the request; trying again after `retry_after_s` seconds may succeed."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class QueueFullError(RetryLaterError):
    """As many jobs wait as may."""

    reason = "QUEUE_FULL"

    def __init__(self, retry_after_s: float, max_queue: int) -> None:
        super().__init__(retry_after_s)
        self.args = (retry_after_s, max_queue)
        self.max_queue = max_queue

    def __str__(self) -> str:
        return f"the queue of {self.max_queue} jobs is full; who comes back in {self.retry_after_s:.0f} s goes first"


class QuotaExceededError(RetryLaterError):
    """The caller has as much as it may, or all callers together, where it is None; `subject` is of what."""

    reason = "QUOTA_EXCEEDED"

    def __init__(self, retry_after_s: float, caller: str | None, subject: str, limit: int) -> None:
        super().__init__(retry_after_s)
        self.args = (retry_after_s, caller, subject, limit)
        self.caller = caller
        self.subject = subject
        self.limit = limit

    def __str__(self) -> str:
        when = f"try again in {self.retry_after_s:.0f} s"
        if self.caller is None:
            return f"all callers together may have {self.limit} {self.subject}, and have them; {when}"
        return (
            f"{self.caller!r} may have {self.limit} {self.subject}, and has them; {when}, or ask the operator for more"
        )


class WarmingUpError(RetryLaterError):
    """The engine is not ready yet."""

    reason = "WARMING_UP"

    def __str__(self) -> str:
        return f"the engine is starting; try again in {self.retry_after_s:.0f} s"


class DrainingError(RetryLaterError):
    """The server takes no new jobs because it is about to stop."""

    reason = "DRAINING"

    def __str__(self) -> str:
        return f"the server is stopping and takes no new jobs; try again in {self.retry_after_s:.0f} s"


class StyleImageUnavailableError(RetryLaterError):
    """The style's image cannot be fetched, or not be used; the log says why."""

    reason = "STYLE_IMAGE_UNAVAILABLE"

    def __init__(self, retry_after_s: float, style: str) -> None:
        super().__init__(retry_after_s)
        self.args = (retry_after_s, style)
        self.style = style

    def __str__(self) -> str:
        return (
            f"the image of style {self.style!r} cannot be fetched or used; choose another style, try again later, or "
            "ask the operator, whose log says why, to put the image into the folder named by --style-images"
        )


class StorageError(RetryLaterError):
    """The server's disk does not take what has to be kept."""

    reason = "STORAGE_UNAVAILABLE"

    def __init__(self, retry_after_s: float = 10.0) -> None:
        super().__init__(retry_after_s)

    def __str__(self) -> str:
        return (
            "the server's disk is full or fails, or too many of its files are open, and nothing is wrong with the "
            f"request; tell the operator, or try again in {self.retry_after_s:.0f} s"
        )


class RequestLateError(RetryLaterError):
    """The request was held up on its way, for longer than `longest_s` seconds."""

    reason = "REQUEST_LATE"

    def __init__(self, retry_after_s: float, longest_s: float) -> None:
        super().__init__(retry_after_s)
        self.args = (retry_after_s, longest_s)
        self.longest_s = longest_s

    def __str__(self) -> str:
        return (
            f"the request did not come whole within {self.longest_s:g} s; send it again; images that take long go up "
            "with UploadImage first"
        )


class ImageTooLargeForDeviceError(RequestError):
    """The memory is too small for the picture, even in tiles; `largest_side` fits in its proportion, 0 if none does."""

    reason = "IMAGE_TOO_LARGE_FOR_DEVICE"

    def __init__(self, width: int, height: int, largest_side: int) -> None:
        super().__init__(width, height, largest_side)
        self.width = width
        self.height = height
        self.largest_side = largest_side

    def __str__(self) -> str:
        allowed = (
            f"an output.max_side of up to {self.largest_side} for this image and recipe"
            if self.largest_side > 0
            else "no size with this recipe; choose another preset or optimizer, or a server with more memory"
        )
        return (
            f"got {self.width} x {self.height} pixels, which this server's memory is too small for; allowed: {allowed}"
        )


class DeadlineUnattainableError(RequestError):
    """Not even one iteration fits into the time that there is, after what the engine has to do for others before."""

    reason = "DEADLINE_UNATTAINABLE"

    def __init__(self, available_s: float, needed_s: float, busy_s: float = 0.0) -> None:
        super().__init__(available_s, needed_s, busy_s)
        self.available_s = available_s
        self.needed_s = needed_s
        self.busy_s = busy_s

    def __str__(self) -> str:
        needs = f"there are {self.available_s:.2f} s; a picture needs at least {self.needed_s:.2f} s"
        if self.busy_s == 0:
            return f"{needs}; allow more time or ask for a smaller picture"
        return f"{needs}, and the engine is busy for {self.busy_s:.1f} s before; allow more time or call later"


class StyleReadOnlyError(RequestError):
    """The style was not created by a caller, so no caller removes it; `origin` is where it comes from."""

    reason = "STYLE_READ_ONLY"

    def __init__(self, name: str, origin: str) -> None:
        super().__init__(name, origin)
        self.name = name
        self.origin = origin

    def __str__(self) -> str:
        return (
            f"{self.name!r} comes from {self.origin!r}; allowed: styles that CreateStyle added; the operator may take "
            "its file away and reload the catalogue"
        )


class CatalogInvalidError(RequestError):
    """The catalogue's files cannot be loaded and the one before stays; every problem is in `problems`."""

    reason = "CATALOG_INVALID"

    def __init__(self, problems: Sequence["StyleProblem"]) -> None:
        assert problems
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return (
            f"the catalogue stays as it was, since its files have problems ({len(self.problems)}); mend them and "
            f"reload it; the first: {self.problems[0].place}: {self.problems[0].description}"
        )


class RunTimeoutError(RequestError):
    """The job's time was up, or the `left_s` seconds of it too few for what came next.

    Its policy was to fail then, or it painted no canvas to return, as `has_canvas` says.
    """

    reason = "RUN_TIMEOUT"

    def __init__(self, has_canvas: bool = True, left_s: float = 0.0) -> None:
        super().__init__(has_canvas, left_s)
        self.has_canvas = has_canvas
        self.left_s = left_s

    def __str__(self) -> str:
        if self.has_canvas:
            return f"{self._ended('next')}; allow more time, or ask for RETURN_BEST to get the best canvas until then"
        return (
            f"{self._ended('first')}, and it has no canvas to return; allow more time, or ask for a smaller picture or "
            "a cheaper preset"
        )

    def _ended(self, which: str) -> str:
        if self.left_s < _LEAST_TOLD_S:
            return "the job's time was up"
        return f"the {self.left_s:.2f} s that were left to the job were too few for its {which} iteration"


class QueueTimeoutError(RequestError):
    """The job waited longer than its queue timeout."""

    reason = "QUEUE_TIMEOUT"

    def __str__(self) -> str:
        return "the job waited for an engine longer than its queue_timeout; allow more time or try again later"


class UploadIdleError(RequestError):
    """So little came of an image, for so long, that nothing more is waited for."""

    reason = "UPLOAD_IDLE"

    def __init__(self, idle_s: float, least_bytes_per_s: int) -> None:
        super().__init__(idle_s, least_bytes_per_s)
        self.idle_s = idle_s
        self.least_bytes_per_s = least_bytes_per_s

    def __str__(self) -> str:
        return (
            f"nothing came for {self.idle_s:.0f} s, or in more time than that fewer than {self.least_bytes_per_s} "
            "bytes a second; send the image again, without such pauses"
        )


class UnauthenticatedError(RequestError):
    """The call does not show who calls, or shows somebody whom the server does not know."""

    reason = "UNAUTHENTICATED"

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation)
        self.explanation = explanation

    def __str__(self) -> str:
        return self.explanation


class PermissionDeniedError(RequestError):
    """The caller is known and may not do this; `scope` is what it lacks."""

    reason = "PERMISSION_DENIED"

    def __init__(self, caller: str, scope: str) -> None:
        super().__init__(caller, scope)
        self.caller = caller
        self.scope = scope

    def __str__(self) -> str:
        return f"{self.caller!r} has not the scope {self.scope!r}, which this call needs; ask the operator for it"


class JobCancelledError(RequestError):
    """Somebody cancelled the job that the caller waits for; `name` is the job's."""

    reason = "JOB_CANCELLED"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name!r} was cancelled"


class DivergedError(RequestError):
    """A loss or gradient stopped being finite."""

    reason = "DIVERGED"

    def __init__(self, iteration: int, recipe_json: str) -> None:
        super().__init__(iteration, recipe_json)
        self.iteration = iteration
        self.recipe_json = recipe_json

    def __str__(self) -> str:
        return f"the loss is not finite any more at iteration {self.iteration}; lower the weights of the losses"


class EngineError(RequestError):
    """A fault of ours; the log knows more, under the name `incident`, and the caller learns only that."""

    reason = "ENGINE_ERROR"

    def __init__(self, incident: str = "") -> None:
        super().__init__(incident)
        self.incident = incident

    def __str__(self) -> str:
        return "the server failed at this; the fault is ours, and the server's log knows more of the incident"


class InvalidImageError(StyleServeError):
    """Bytes that are no image we read, or one beyond a limit; `reason` is a stable name such as `IMAGE_TRUNCATED`."""

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(reason, description)
        self.reason = reason
        self.description = description

    def __str__(self) -> str:
        return self.description


class DownloadError(StyleServeError):
    """A file that cannot be fetched from `url`; it may be put at `place` by hand."""

    def __init__(self, url: str, place: Path, explanation: str) -> None:
        super().__init__(url, place, explanation)
        self.url = url
        self.place = place
        self.explanation = explanation

    def __str__(self) -> str:
        return f"{self.url} could not be fetched: {self.explanation}"


class ConfigurationError(StyleServeError):
    """A setting, file or folder of the operator's that cannot be used."""


@dataclass(frozen=True, slots=True)
class StyleProblem:
    """One thing wrong with a file or folder of styles, in the operator's words and in a caller's.

    `file_name` is that of the file in `folder`, empty when the folder itself is meant; `origin` is as a style's.
    `description` says key, what was got and what is allowed, and names no path of the operator's machine.
    """

    folder: Path
    origin: str
    file_name: str
    description: str

    @property
    def place(self) -> str:
        """Where it is, for callers: `{origin}/{file}`."""
        return f"{self.origin}/{self.file_name}" if self.file_name else self.origin

    def __str__(self) -> str:
        return f"{self.folder / self.file_name}: {self.description}"


class CatalogError(ConfigurationError):
    """Styles that cannot be loaded; every problem is in `problems`, each naming file, key and what is allowed."""

    def __init__(self, problems: Sequence[StyleProblem]) -> None:
        assert problems
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class WeightsError(ConfigurationError):
    """Network weights that cannot be fetched or are not what they should be."""
