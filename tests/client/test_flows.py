"""What the client does step by step, driven by hand: no server, no waiting."""

from types import SimpleNamespace

import grpc
import pytest

from styleserve.catalog import style_images
from styleserve.rpc import uploads
from styleserve.v1 import image_pb2, job_pb2, style_transfer_pb2
from styleserve_client import (
    DeadlineError,
    InvalidRequestError,
    RetryLaterError,
    UnavailableError,
    Violation,
    flows,
    requests,
)
from styleserve_client.client import channel_options
from styleserve_client.errors import from_call
from styleserve_client.flows import Call, Download, Sleep, Upload

CUT_OFF = UnavailableError("connection lost", grpc.StatusCode.UNAVAILABLE)
TIME_UP = DeadlineError("Deadline Exceeded", grpc.StatusCode.DEADLINE_EXCEEDED)
TRUNCATED = InvalidRequestError("got 0 bytes", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
TRUNCATED.violations = (Violation("chunk", "got 0 bytes", "TRUNCATED"),)
RUNNING = job_pb2.Job(name="jobs/a", state=job_pb2.JOB_STATE_RUNNING)
DONE = style_transfer_pb2.StylizeResponse(
    result=image_pb2.ImageResult(inline=b"picture"),
    job=job_pb2.Job(name="jobs/a", state=job_pb2.JOB_STATE_SUCCEEDED),
)


def later(seconds: float | None) -> RetryLaterError:
    error = RetryLaterError("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    error.retry_after_s = seconds
    return error


@pytest.fixture
def request_made():
    return requests.build(b"content", "mosaic", {})


@pytest.fixture
def watch():
    return flows.Watch(style_transfer_pb2.StreamProgressRequest(job="jobs/a"))


def tell(watch: flows.Watch, sequence: int, **event) -> tuple:
    """The events of a message whose picture, if it has one, came along."""
    with pytest.raises(StopIteration) as end:
        next(watch.receive(style_transfer_pb2.StreamProgressResponse(sequence=sequence, **event)))
    return end.value.value


def finish(flow, reply) -> object:
    with pytest.raises(StopIteration) as end:
        flow.send(reply)
    return end.value.value


def test_a_lost_connection_is_tried_again_with_the_same_request(request_made):
    request_id = request_made.request_id
    flow = flows.stylize(request_made, None)
    assert isinstance(next(flow), Call)
    assert isinstance(flow.throw(CUT_OFF), Sleep)
    again = flow.send(None)
    assert again.request.request_id == request_id
    assert finish(flow, DONE).data == b"picture"


def test_the_server_says_how_long_to_wait_and_a_long_wait_is_the_callers(request_made):
    flow = flows.stylize(request_made, None)
    next(flow)
    assert 7 <= flow.throw(later(7)).seconds <= 8.4
    flow.send(None)
    with pytest.raises(RetryLaterError):
        flow.throw(later(60))


def test_no_wait_goes_beyond_the_timeout(request_made):
    flow = flows.stylize(request_made, timeout_s=5)
    next(flow)
    with pytest.raises(RetryLaterError):
        flow.throw(later(7))


def test_trying_again_ends_sometime(request_made):
    flow = flows.stylize(request_made, None)
    next(flow)
    for _ in range(flows.MAX_ATTEMPTS - 1):
        assert isinstance(flow.throw(CUT_OFF), Sleep)
        flow.send(None)
    with pytest.raises(UnavailableError):
        flow.throw(CUT_OFF)


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "painter.example:50051"])
def test_a_channel_looks_for_its_server_more_often_than_calls_are_given_up(request_made, address):
    flow = flows.stylize(request_made, None)
    next(flow)
    waited_s = 0.0
    for _ in range(flows.MAX_ATTEMPTS - 1):
        waited_s += flow.throw(CUT_OFF).seconds
        flow.send(None)
    jitter = 1.2  # https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md
    assert jitter * dict(channel_options(address))["grpc.max_reconnect_backoff_ms"] / 1000 < waited_s


def test_a_job_of_its_own_is_waited_for_while_the_server_fetches_the_image_of_a_style(request_made):
    flow = flows.submit(request_made)
    operation = next(flow)
    assert operation.request.detached
    assert operation.timeout_s > style_images._FETCH_TIMEOUT_S + 10
    assert finish(flow, DONE).name == "jobs/a"


def test_a_stream_is_opened_again_by_the_same_request_after_the_last_event(request_made):
    request_id = request_made.request_id
    watch = flows.Watch(style_transfer_pb2.StreamProgressRequest(start=request_made))
    tell(watch, 4, job=DONE.job)
    watch.recover(CUT_OFF)
    assert watch.request.start.request_id == request_id
    assert watch.request.after_sequence == 4


def test_a_picture_has_the_job_that_follows_it(watch):
    assert tell(watch, 4, job=RUNNING)[0].job == RUNNING
    assert tell(watch, 5, result=DONE.result) == ()
    ready, changed = tell(watch, 6, job=DONE.job)
    assert (ready.sequence, ready.picture.data, ready.picture.job) == (5, b"picture", DONE.job)
    assert (changed.sequence, changed.job) == (6, DONE.job)


def test_a_stream_that_breaks_between_a_picture_and_its_job_tells_both_again(watch):
    tell(watch, 4, job=RUNNING)
    tell(watch, 5, result=DONE.result)
    watch.recover(CUT_OFF)
    assert watch.request.after_sequence == 4
    assert [event.sequence for event in tell(watch, 4, job=DONE.job)] == [4]
    tell(watch, 5, result=DONE.result)
    assert [event.sequence for event in tell(watch, 6, job=DONE.job)] == [5, 6]


def test_a_stream_that_always_breaks_after_the_picture_is_given_up_sometime(watch):
    for _ in range(flows.MAX_ATTEMPTS - 1):
        tell(watch, 5, result=DONE.result)
        watch.recover(CUT_OFF)
    tell(watch, 5, result=DONE.result)
    with pytest.raises(UnavailableError):
        watch.recover(CUT_OFF)


def test_all_streams_of_one_watch_have_its_timeout_together(request_made, monkeypatch):
    now = 100.0
    monkeypatch.setattr(flows, "time", SimpleNamespace(monotonic=lambda: now))
    watch = flows.Watch(style_transfer_pb2.StreamProgressRequest(start=request_made), timeout_s=10)
    assert watch.timeout_s == 10
    now = 107.0
    assert watch.recover(CUT_OFF) < 1
    assert watch.timeout_s == 3
    with pytest.raises(RetryLaterError):
        watch.recover(later(3))
    assert flows.Watch(style_transfer_pb2.StreamProgressRequest(start=request_made)).timeout_s is None


def test_a_download_goes_on_where_it_broke():
    flow = flows.download("images/a")
    operation = next(flow)
    assert isinstance(operation, Download)
    operation.received.extend(b"half")
    flow.throw(CUT_OFF)
    again = flow.send(None)
    assert len(again.received) == 4
    again.received.extend(b" and half")
    assert finish(flow, None) == b"half and half"


def test_a_download_whose_time_was_up_goes_on_for_as_long_as_something_comes():
    flow = flows.download("images/a")
    operation = next(flow)
    for part in (b"slow", b" but", b" steady"):
        operation.received.extend(part)
        operation = flow.throw(TIME_UP)
        assert isinstance(operation, Download)
    assert bytes(operation.received) == b"slow but steady"
    with pytest.raises(DeadlineError):
        flow.throw(TIME_UP)


def test_uploads_have_what_is_left_of_the_time_of_the_call(monkeypatch):
    now = 100.0
    monkeypatch.setattr(flows, "time", SimpleNamespace(monotonic=lambda: now))
    large = bytes(requests.MAX_INLINE_BYTES + 1)
    watch = flows.Watch(style_transfer_pb2.StreamProgressRequest(start=requests.build(large, large, {})), timeout_s=10)
    for flow in (flows.stylize(requests.build(large, large, {}), 10), watch.prepare()):
        now = 100.0
        header = next(flow)
        assert isinstance(header, Upload)
        assert header.timeout_s == 10
        now = 107.0
        assert header.timeout_s == 3
        with pytest.raises(RetryLaterError):
            flow.throw(later(7))
    assert next(flows.upload(large)).timeout_s == 300


def test_an_upload_may_take_as_long_as_the_server_lets_it():
    flow = flows.upload(bytes(60_000_000))
    next(flow)
    whole = flow.throw(TRUNCATED)
    assert len(whole.data) == whole.num_bytes
    assert whole.timeout_s > uploads.IDLE_S + whole.num_bytes / uploads.LEAST_BYTES_PER_S


def test_only_large_images_are_uploaded_and_the_header_goes_first():
    large = bytes(requests.MAX_INLINE_BYTES + 1)
    made = requests.build(large, b"small", {})
    flow = flows.send_large_images(made)
    header = next(flow)
    assert isinstance(header, Upload)
    assert (header.data, header.num_bytes) == (b"", len(large))
    finish(flow, style_transfer_pb2.UploadImageResponse(image="images/a"))
    assert made.content.image == "images/a"
    assert made.styles[0].image.inline == b"small"


def test_an_upload_that_broke_while_it_was_written_is_tried_again():
    cut_off = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core"
    )
    flow = flows.upload(b"image")
    first = next(flow)
    assert isinstance(flow.throw(from_call(cut_off)), Sleep)
    assert next(flow) == first
