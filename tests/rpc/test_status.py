"""Every error of ours has its status and its details, and no details grow too large."""

from pathlib import Path
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2

from styleserve import errors, hints
from styleserve.errors import RequestError, Violation
from styleserve.rpc.status import CODES, to_message, to_status

PROBLEM = errors.StyleProblem(Path("/srv/my-styles"), "my-styles", "dots.yaml", "title: got none")
EXAMPLES: dict[type[RequestError], RequestError] = {
    type(example): example
    for example in (
        errors.violation("content", "got nothing", "REQUIRED"),
        errors.StyleNotFoundError("styles/mosiac", ["styles/mosaic"]),
        errors.JobNotFoundError("jobs/x"),
        errors.ImageNotFoundError("images/x"),
        errors.RequestIdReusedError("9a0b"),
        errors.JobIdTakenError("jobs/x"),
        errors.StyleExistsError("styles/x"),
        errors.StyleReadOnlyError("styles/mosaic", "builtin"),
        errors.CatalogInvalidError([PROBLEM]),
        errors.QueueFullError(12.5, 64),
        errors.QuotaExceededError(3.5, "editor", "waiting jobs", 16),
        errors.WarmingUpError(5),
        errors.DrainingError(10),
        errors.StyleImageUnavailableError(60, "styles/udnie"),
        errors.StorageError(),
        errors.RequestLateError(1.0, 5.0),
        errors.ImageTooLargeForDeviceError(8192, 4096, 2048),
        errors.DeadlineUnattainableError(0.1, 2.0),
        errors.RunTimeoutError(has_canvas=False),
        errors.QueueTimeoutError(),
        errors.UploadIdleError(30, 10_000),
        errors.UnauthenticatedError("got no token"),
        errors.PermissionDeniedError("editor", "admin"),
        errors.JobCancelledError("jobs/x"),
        errors.DivergedError(7, "{}"),
        errors.EngineError("0123456789abcdef"),
    )
}
DETAILS = {
    "INVALID_REQUEST": (error_details_pb2.BadRequest,),
    "STYLE_NOT_FOUND": (error_details_pb2.ResourceInfo,),
    "JOB_NOT_FOUND": (error_details_pb2.ResourceInfo,),
    "IMAGE_NOT_FOUND": (error_details_pb2.ResourceInfo,),
    "REQUEST_ID_REUSED": (error_details_pb2.ResourceInfo,),
    "JOB_ID_TAKEN": (error_details_pb2.ResourceInfo,),
    "QUEUE_FULL": (error_details_pb2.RetryInfo,),
    "QUOTA_EXCEEDED": (error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo),
    "WARMING_UP": (error_details_pb2.RetryInfo,),
    "DRAINING": (error_details_pb2.RetryInfo,),
    "STYLE_IMAGE_UNAVAILABLE": (error_details_pb2.RetryInfo,),
    "STORAGE_UNAVAILABLE": (error_details_pb2.RetryInfo,),
    "REQUEST_LATE": (error_details_pb2.RetryInfo,),
    "ENGINE_ERROR": (error_details_pb2.RequestInfo,),
    "STYLE_EXISTS": (error_details_pb2.ResourceInfo,),
    "STYLE_READ_ONLY": (error_details_pb2.ResourceInfo,),
    "CATALOG_INVALID": (error_details_pb2.PreconditionFailure,),
}


def leaves(kind: type[RequestError]) -> set[type[RequestError]]:
    children = kind.__subclasses__()
    return {kind} if not children else set().union(*(leaves(child) for child in children))


def test_every_leaf_of_the_tree_has_a_status_and_an_example():
    assert set(CODES) == leaves(RequestError) == set(EXAMPLES)


def test_the_drawn_tree_is_the_tree():
    for kind, code in CODES.items():
        line = next(line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)
        assert line.split()[-2:] == [code.name, kind.reason]


def test_reasons_are_unique():
    assert len({kind.reason for kind in CODES}) == len(CODES)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda example: example.reason)
def test_an_error_carries_its_reason_and_the_details_named_for_it(example):
    message = to_message(example)
    assert message.code == CODES[type(example)].value[0]
    assert message.message == str(example)
    info = error_details_pb2.ErrorInfo()
    assert message.details[0].Unpack(info)
    assert (info.reason, info.domain) == (example.reason, "styleserve")
    expected = [kind.DESCRIPTOR.full_name for kind in DETAILS.get(example.reason, ())]
    assert [packed.TypeName() for packed in message.details[1:]] == expected


def test_retrying_is_told_to_machines_too():
    trailing = dict(to_status(errors.QueueFullError(12.5, 64)).trailing_metadata)
    assert trailing["grpc-retry-pushback-ms"] == "12500"
    assert "grpc-retry-pushback-ms" not in dict(to_status(errors.EngineError()).trailing_metadata)


def test_a_thousand_violations_stay_below_four_kibibytes_and_say_how_many_are_left_out():
    many = errors.InvalidRequestError([Violation(f"styles[{i}]" * 50, "wrong " * 200, "BAD") for i in range(1000)])
    status = to_status(many)
    assert sum(len(key) + len(value) for key, value in status.trailing_metadata) < 4096
    bad = error_details_pb2.BadRequest()
    assert to_message(many).details[1].Unpack(bad)
    left_out = 1000 - (len(bad.field_violations) - 1)
    assert str(left_out) in bad.field_violations[-1].description


@pytest.mark.parametrize("character", ["x", "é", "中", "😀", "\0"])
def test_a_long_name_in_whatever_script_leaves_room_in_eight_kibibytes_of_metadata(character):
    name = character * 100_000
    for error in (
        errors.StyleNotFoundError(name),
        errors.RequestIdReusedError(name),
        errors.violation("job_id", f"got {name!r}", "BAD"),
    ):
        status = to_status(error)
        trailing = sum(len(key) + 4 * len(value) / 3 for key, value in status.trailing_metadata)
        assert len(quote(status.details)) + trailing < 4096
        assert status.details.endswith("…")


def test_nothing_is_like_a_name_of_a_million_characters():
    assert hints.nearest("styles/mosiac", ["styles/mosaic"]) == ["styles/mosaic"]
    assert hints.nearest("styles/mosaic" * 100_000, ["styles/mosaic" * 100_000]) == []
