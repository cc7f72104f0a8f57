"""Stylize over a real server and the toy engine: pictures, idempotence, deadlines, orphans, errors."""

import asyncio
import functools
import hashlib
import itertools
import json
import threading
import time
import uuid
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2

from styleserve import images
from styleserve.engine.pace import KNOWN_MARGIN
from styleserve.engine.specification import JobSpecification
from styleserve.jobs.pictures import Pictures
from styleserve.rpc.requests import RequestReader
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_catalog_pb2, style_transfer_pb2
from styleserve.workers.thread import ThreadWorker
from styleserve_client import flows
from support import carried
from support.gate import Gate
from support.killing import until
from support.rich_errors import details, refused
from support.service import GREY, png, request, running
from support.toy import ToyEngineFactory

SLOWLY = functools.partial(time.sleep, 0.02)
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


class NotingWorker(ThreadWorker):
    """Notes what the engine is told."""

    def __init__(self, factory):
        super().__init__(factory)
        self.told = []

    def send(self, command):
        self.told.append(command)
        super().send(command)


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path) as service:
        yield service


@pytest.fixture
async def slow_service(tmp_path):
    async with running(tmp_path, SLOWLY, max_running=1, max_queue=2) as service:
        yield service


@pytest.fixture
async def held(tmp_path):
    """A server whose first job is held in its first evaluation until the gate is opened, and the gate."""
    gate = Gate()
    gate.shut()
    async with running(tmp_path, gate, max_running=1, max_queue=2) as service:
        yield service, gate
        gate.opened.set()


async def test_the_picture_comes_back_with_its_job(service):
    response = await service.transfer.Stylize(request(iterations=1, recipe=recipe_pb2.Recipe(preset="standard")))
    assert response.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert response.job.stop_reason == job_pb2.STOP_REASON_COMPLETED
    assert (response.result.width, response.result.height, response.result.mime_type) == (32, 24, "image/png")
    pixels = images.decode(response.result.inline, images.ImageLimits()).pixels
    # Adam's first move is its learning rate of 0.02 towards the style's 0.6, from the content's 0.2.
    np.testing.assert_allclose(pixels, 0.22, atol=1 / 255)
    losses = response.job.progress.losses
    assert losses.total == pytest.approx(0.5 * 24 * 32 * 3 * (0.6 - 0.22) ** 2, rel=0.02)


async def test_a_job_says_when_how_and_with_what_it_was_made(service):
    response = await service.transfer.Stylize(request(labels={"customer": "7"}))
    job = response.job
    times = [job.create_time, job.start_time, job.end_time, job.expire_time]
    assert [moment.ToNanoseconds() for moment in times] == sorted(moment.ToNanoseconds() for moment in times)
    assert job.labels == {"customer": "7"}
    assert job.provenance.weights == "toy@sha256:000000000000"
    assert json.loads(job.provenance.recipe_json)["iterations"] == 3
    assert job.provenance.styles[0].startswith(f"{GREY}@")
    assert job.provenance.network_passes > 3
    made = carried.metadata(response.result.inline)
    assert made["recipe"] == job.provenance.recipe_json
    assert made["styles"] == list(job.provenance.styles)


async def test_the_recipe_that_is_told_is_the_calibrated_one_and_finds_its_picture_again(tmp_path):
    worker = ThreadWorker(ToyEngineFactory(content_bound=0.25))
    async with running(tmp_path, worker=worker, no_cache=False) as service:
        first, second = [await service.transfer.Stylize(request()) for _ in range(2)]
    assert json.loads(first.job.provenance.recipe_json)["content_bound"] == 0.25
    assert carried.metadata(first.result.inline)["recipe"] == first.job.provenance.recipe_json
    assert second.job.provenance.reused_from == first.job.name
    assert second.job.provenance.recipe_json == first.job.provenance.recipe_json


async def test_the_result_says_nothing_of_itself_when_told_not_to(service):
    output = image_pb2.OutputOptions(omit_provenance=True)
    response = await service.transfer.Stylize(request(output=output))
    assert carried.metadata(response.result.inline) is None


async def test_the_same_request_gives_the_same_bytes(service):
    first = await service.transfer.Stylize(request())
    second = await service.transfer.Stylize(request())
    assert first.job.name != second.job.name
    assert first.result.inline == second.result.inline


@pytest.mark.parametrize(
    ("image_format", "mime_type"),
    [
        (image_pb2.IMAGE_FORMAT_JPEG, "image/jpeg"),
        (image_pb2.IMAGE_FORMAT_WEBP, "image/webp"),
        (image_pb2.IMAGE_FORMAT_PNG, "image/png"),
    ],
)
async def test_the_result_has_the_format_and_size_asked_for(service, image_format, mime_type):
    output = image_pb2.OutputOptions(format=image_format, max_side=24)
    result = (await service.transfer.Stylize(request(output=output))).result
    assert (result.mime_type, result.width, result.height) == (mime_type, 24, 18)
    assert f"image/{images.sniff(result.inline)}" == mime_type


async def test_a_jpeg_has_the_quality_asked_for(service):
    noise = np.random.default_rng(2).random((64, 64, 3)).astype(np.float32)
    made = request(0, content=image_pb2.ImageSource(inline=images.encode(images.Picture(noise), "png").data))
    made.output.format = image_pb2.IMAGE_FORMAT_JPEG
    files = {}
    for quality in (0, 20, 95):
        made.output.quality = quality
        files[quality] = (await service.transfer.Stylize(made)).result.inline
    assert 2 * len(files[20]) < len(files[0]) < len(files[95])


async def test_strength_zero_is_the_content_itself(service):
    recipe = recipe_pb2.Recipe(preset="standard", strength=0.0)
    response = await service.transfer.Stylize(request(recipe=recipe))
    np.testing.assert_allclose(images.decode(response.result.inline, images.ImageLimits()).pixels, 0.2, atol=1 / 255)


async def test_no_iterations_read_the_losses_and_move_nothing(service):
    response = await service.transfer.Stylize(request(iterations=0))
    assert response.job.progress.evaluations == 1
    assert response.job.progress.losses.total == pytest.approx(0.5 * 24 * 32 * 3 * 0.4**2, rel=0.02)


@pytest.mark.parametrize("preset", ["classic", "standard"])
async def test_no_job_has_more_iterations_than_the_server_allows_whoever_set_them(tmp_path, preset):
    async with running(tmp_path, max_iterations=7) as service:
        (tmp_path / "styles" / "long.yaml").write_text("title: Long\nimage: grey.png\nrecipe: {iterations: 400}\n")
        await service.admin.ReloadCatalog(style_catalog_pb2.ReloadCatalogRequest())
        for style in (GREY, "styles/long"):
            made = request(recipe=recipe_pb2.Recipe(preset=preset), styles=[recipe_pb2.StyleInput(style=style)])
            del made.styles[0]
            made.recipe.ClearField("iterations")
            assert (await service.transfer.Stylize(made)).job.progress.total_iterations == 7
        _, reason, (violations,) = await refused(service.transfer.Stylize(request(iterations=8)))
        assert (reason, violations.field_violations[0].field) == ("INVALID_REQUEST", "recipe.iterations")


async def test_a_style_sets_of_the_recipe_what_the_request_leaves_and_of_a_blend_it_is_the_first(tmp_path):
    styles = tmp_path / "styles"
    styles.mkdir()
    (styles / "own.yaml").write_text("title: Own\nimage: grey.png\nrecipe: {preset: classic, iterations: 2, seed: 7}\n")
    own, grey = recipe_pb2.StyleInput(style="styles/own"), recipe_pb2.StyleInput(style=GREY)
    recipes = []
    async with running(tmp_path) as service:
        for chosen, recipe in (
            ([own], {}),
            ([own], {"iterations": 1}),
            ([own, grey], {"preset": "draft"}),
            ([grey, own], {"iterations": 1}),
        ):
            made = request()
            del made.styles[:]
            made.styles.extend(chosen)
            made.recipe.CopyFrom(recipe_pb2.Recipe(**recipe))
            job = (await service.transfer.Stylize(made)).job
            recipes.append(json.loads(job.provenance.recipe_json))
    found = [(recipe["preset"], recipe["iterations"], recipe["seed"]) for recipe in recipes]
    assert found == [("classic", 2, 7), ("classic", 1, 7), ("draft", 2, 7), ("standard", 1, 0)]


@pytest.mark.parametrize("color", [recipe_pb2.COLOR_MODE_STYLE, recipe_pb2.COLOR_MODE_CONTENT_MATCHED])
async def test_the_engine_is_told_of_each_style_its_share_and_the_size_of_its_texture(tmp_path, color):
    worker = NotingWorker(ToyEngineFactory())
    async with running(tmp_path, worker=worker) as service:
        made = request(recipe=recipe_pb2.Recipe(color=color))
        made.styles[0].scale = 0.5
        made.styles.add(image=image_pb2.ImageSource(inline=png(0.9)), weight=3.0, scale=2.0)
        await service.transfer.Stylize(made)
    (told,) = (command for command in worker.told if isinstance(command, JobSpecification))
    assert [(style.weight, style.scale) for style in told.styles] == [(0.25, 0.5), (0.75, 2.0)]


async def test_a_large_result_is_downloaded(service):
    output = image_pb2.OutputOptions(max_inline_bytes=10)
    response = await service.transfer.Stylize(request(output=output))
    assert response.result.inline == b""
    call = service.transfer.DownloadImage(style_transfer_pb2.DownloadImageRequest(image=response.result.image))
    data = b"".join([part.chunk async for part in call])
    assert len(data) == response.result.size_bytes
    assert images.sniff(data) == "png"


async def test_a_number_that_is_just_too_large_is_told_to_the_last_digit(service):
    output = image_pb2.OutputOptions(max_inline_bytes=33_554_433)
    _, _, (problems,) = await refused(service.transfer.Stylize(request(output=output)))
    assert problems.field_violations[0].description == "got 33554433; allowed: 0 to 33554432"


async def test_a_blend_is_between_its_styles(service):
    styles = [
        recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png(0.0)), weight=1),
        recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png(1.0)), weight=3),
    ]
    made = request(iterations=500)
    del made.styles[:]
    made.styles.extend(styles)
    made.recipe.optimizer = recipe_pb2.OPTIMIZER_LBFGSB
    response = await service.transfer.Stylize(made)
    pixels = images.decode(response.result.inline, images.ImageLimits()).pixels
    np.testing.assert_allclose(pixels, 0.75, atol=2 / 255)


async def test_a_detached_call_returns_at_once_and_the_job_runs_on(held):
    service, gate = held
    response = await service.transfer.Stylize(request(detached=True), timeout=20)
    gate.opened.set()
    assert response.job.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)
    assert not response.HasField("result")
    job = await service.wait_for(response.job.name, *ENDED)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert job.result.size_bytes > 0


async def test_a_job_on_its_way_to_the_engine_has_no_place_in_the_queue(service, monkeypatch):
    specify = Pictures.specify

    def specify_slowly(*arguments):
        time.sleep(0.5)
        return specify(*arguments)

    monkeypatch.setattr(Pictures, "specify", specify_slowly)
    job = (await service.transfer.Stylize(request(detached=True))).job
    assert (job.state, job.queue_position) == (job_pb2.JOB_STATE_QUEUED, 0)


async def test_the_same_request_id_joins_the_job_or_returns_the_ended_one(slow_service):
    same = request(iterations=10, request_id=str(uuid.uuid4()))
    first, second = await asyncio.gather(slow_service.transfer.Stylize(same), slow_service.transfer.Stylize(same))
    third = await slow_service.transfer.Stylize(same)
    assert first.job.name == second.job.name == third.job.name
    assert first.result.inline == third.result.inline
    listed = await slow_service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())
    assert len(listed.jobs) == 1


async def test_a_request_id_in_capital_letters_is_the_same(service):
    request_id = str(uuid.uuid4())
    spellings = request_id, request_id.upper()
    names = {(await service.transfer.Stylize(request(request_id=each))).job.name for each in spellings}
    assert len(names) == 1


@pytest.mark.parametrize("spelling", ["urn:uuid:{}", "{{{}}}", "{}\n"])
async def test_a_request_id_in_another_form_is_refused(service, spelling):
    made = request(request_id=spelling.format(uuid.uuid4()))
    _, reason, (violations,) = await refused(service.transfer.Stylize(made))
    assert reason == "INVALID_REQUEST"
    assert [violation.field for violation in violations.field_violations] == ["request_id"]


async def test_a_request_id_with_another_request_is_refused(service):
    request_id = str(uuid.uuid4())
    await service.transfer.Stylize(request(request_id=request_id))
    code, reason, others = await refused(service.transfer.Stylize(request(iterations=4, request_id=request_id)))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert others[0].resource_name == request_id


async def test_a_chosen_job_id_names_the_job_and_is_taken_from_then_on(service):
    response = await service.transfer.Stylize(request(job_id="my-first-job"))
    assert response.job.name == "jobs/my-first-job"
    code, reason, _ = await refused(service.transfer.Stylize(request(iterations=4, job_id="my-first-job")))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "JOB_ID_TAKEN")


async def test_losing_the_last_caller_cancels_the_job(slow_service):
    call = slow_service.transfer.Stylize(request(iterations=5000, job_id="lonely"))
    await slow_service.admitted(1)
    call.cancel()
    job = await slow_service.wait_for("jobs/lonely", *ENDED)
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert job.stop_reason == job_pb2.STOP_REASON_CANCELLED


async def test_a_request_whose_job_was_cancelled_as_nobody_waited_is_made_anew_when_it_comes_again(slow_service):
    asked = request(iterations=20, request_id=str(uuid.uuid4()))
    call = slow_service.transfer.Stylize(asked)
    (job,) = await slow_service.admitted(1)
    call.cancel()
    await slow_service.wait_for(job.name, job_pb2.JOB_STATE_CANCELLED)
    again = (await slow_service.transfer.Stylize(asked)).job
    assert again.state == job_pb2.JOB_STATE_SUCCEEDED
    assert again.name != job.name
    assert (await slow_service.transfer.Stylize(asked)).job.name == again.name


@pytest.fixture
def encoding(monkeypatch):
    """Held, once it has `begun`, until it is `allowed`."""
    held = SimpleNamespace(begun=threading.Event(), allowed=threading.Event())
    deliver = Pictures.deliver

    def deliver_when_allowed(*arguments):
        held.begun.set()
        assert held.allowed.wait(20)
        return deliver(*arguments)

    monkeypatch.setattr(Pictures, "deliver", deliver_when_allowed)
    yield held
    held.allowed.set()


async def assert_who_comes_back_gets_its_picture(service, asked, name, encoding):
    job = service.server._jobs.find(name, None)
    await until(lambda: job.num_waiting == 0)
    again = asyncio.ensure_future(service.transfer.Stylize(asked))
    await until(lambda: job.num_waiting == 1 or again.done() or service.server._jobs.num_running > 1)
    encoding.allowed.set()
    assert (await again).job.name == name


async def test_a_picture_that_is_encoded_while_its_caller_is_cut_off_is_made_once(service, encoding):
    asked = request(request_id=str(uuid.uuid4()))
    call = service.transfer.Stylize(asked)
    assert await asyncio.to_thread(encoding.begun.wait, 20)
    (job,) = await service.admitted(1)
    call.cancel()
    await assert_who_comes_back_gets_its_picture(service, asked, job.name, encoding)


async def test_so_is_one_that_the_engine_ends_before_it_hears_that_the_caller_was_cut_off(
    slow_service, encoding, monkeypatch
):
    asked = request(iterations=20, request_id=str(uuid.uuid4()))
    call = slow_service.transfer.Stylize(asked)
    (job,) = await slow_service.admitted(1)
    await slow_service.wait_for(job.name, job_pb2.JOB_STATE_RUNNING)
    with monkeypatch.context() as deaf:
        deaf.setattr(slow_service.server._jobs._dispatcher._keeper, "send", lambda command: None)
        call.cancel()
        assert await asyncio.to_thread(encoding.begun.wait, 20)
    await assert_who_comes_back_gets_its_picture(slow_service, asked, job.name, encoding)


async def test_a_cancellation_that_comes_while_the_picture_is_encoded_comes_too_late(service, encoding):
    call = service.transfer.Stylize(request())
    assert await asyncio.to_thread(encoding.begun.wait, 20)
    (job,) = await service.admitted(1)
    await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=job.name))
    encoding.allowed.set()
    assert (await call).result.inline


async def test_a_request_whose_job_somebody_cancelled_stays_cancelled(slow_service):
    asked = request(iterations=5000, request_id=str(uuid.uuid4()))
    name = (await slow_service.transfer.Stylize(request(iterations=5000, detached=True))).job.name
    waiting = asyncio.ensure_future(refused(slow_service.transfer.Stylize(asked)))
    job, _ = await slow_service.admitted(2)
    await slow_service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=job.name))
    assert (await waiting)[1] == "JOB_CANCELLED"
    assert (await refused(slow_service.transfer.Stylize(asked)))[1] == "JOB_CANCELLED"
    await slow_service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=name))


async def test_a_request_whose_job_failed_returns_that_failure_when_it_comes_again(slow_service):
    asked = request(
        iterations=5000,
        request_id=str(uuid.uuid4()),
        run_timeout=duration_pb2.Duration(nanos=400_000_000),
        deadline_policy=style_transfer_pb2.DEADLINE_POLICY_FAIL,
    )
    for _ in range(2):
        assert (await refused(slow_service.transfer.Stylize(asked)))[1] == "RUN_TIMEOUT"
    (job,) = (await slow_service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())).jobs
    assert job.state == job_pb2.JOB_STATE_FAILED


async def test_one_of_two_callers_leaving_cancels_nothing(held):
    service, gate = held
    same = request(request_id=str(uuid.uuid4()), job_id="shared")
    leaving, staying = (asyncio.ensure_future(service.transfer.Stylize(same)) for _ in range(2))
    await service.admitted(1)
    job = service.server._jobs.find("jobs/shared", None)
    await until(lambda: job.num_waiting == 2)
    leaving.cancel()
    await until(lambda: job.num_waiting == 1)
    gate.opened.set()
    assert (await staying).job.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_job_that_is_to_continue_outlives_its_caller(slow_service):
    policy = style_transfer_pb2.ORPHAN_POLICY_CONTINUE
    call = slow_service.transfer.Stylize(request(iterations=20, job_id="independent", orphan_policy=policy))
    await slow_service.admitted(1)
    call.cancel()
    assert (await slow_service.wait_for("jobs/independent", *ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_at_the_calls_deadline_the_best_canvas_comes_in_time(slow_service):
    await slow_service.transfer.Stylize(request(iterations=2))  # what a first job takes to trace is no part of this
    response = await slow_service.transfer.Stylize(request(iterations=5000), timeout=1.5)
    assert response.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert response.job.stop_reason == job_pb2.STOP_REASON_DEADLINE
    assert 5 < response.job.progress.iteration < 100
    assert response.result.inline


async def test_the_time_that_reading_a_request_takes_is_part_of_the_calls(slow_service, monkeypatch):
    read = RequestReader.read

    def read_slowly(*arguments):
        time.sleep(1.0)
        return read(*arguments)

    monkeypatch.setattr(RequestReader, "read", read_slowly)
    response = await slow_service.transfer.Stylize(request(iterations=5000), timeout=2.0)
    assert response.job.stop_reason == job_pb2.STOP_REASON_DEADLINE


async def test_a_picture_is_delivered_without_decoding_the_content_again(slow_service, tmp_path):
    calling = asyncio.ensure_future(slow_service.transfer.Stylize(request(iterations=20, job_id="running")))
    await slow_service.admitted(1)
    await slow_service.wait_for("jobs/running", job_pb2.JOB_STATE_RUNNING)
    (tmp_path / "data" / "images" / "anonymous" / hashlib.sha256(png(0.2)).hexdigest()).unlink()
    assert (await calling).result.inline


async def test_a_run_timeout_ends_the_job_alike(slow_service):
    response = await slow_service.transfer.Stylize(
        request(iterations=5000, run_timeout=duration_pb2.Duration(nanos=400_000_000))
    )
    assert response.job.stop_reason == job_pb2.STOP_REASON_DEADLINE


async def test_a_job_that_is_to_fail_at_its_deadline_fails(slow_service):
    made = request(
        iterations=5000,
        run_timeout=duration_pb2.Duration(nanos=400_000_000),
        deadline_policy=style_transfer_pb2.DEADLINE_POLICY_FAIL,
    )
    code, reason, _ = await refused(slow_service.transfer.Stylize(made))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "RUN_TIMEOUT")


async def test_a_deadline_that_nothing_can_meet_is_refused_at_once_with_what_there_is_and_what_it_takes(service):
    """An evaluation of a megapixel takes the toy engine 10 ms: there is one before an iteration and one after it."""
    made = request(
        content=image_pb2.ImageSource(inline=png(0.2, 1000, 1000)),
        run_timeout=duration_pb2.Duration(nanos=5_000_000),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.transfer.Stylize(made)
    info, _ = details(caught.value)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEADLINE_UNATTAINABLE")
    assert 0 < float(info.metadata["available_s"]) <= 0.005
    # With the margins for a step that takes longer, and for what is left of the time.
    assert float(info.metadata["needed_s"]) == pytest.approx(2 * 0.01 * KNOWN_MARGIN / 0.97, abs=0.001)
    assert info.metadata["busy_s"] == "0.000"


async def test_a_call_that_has_less_time_than_the_step_of_another_has_left_is_refused_at_once(tmp_path):
    async with running(tmp_path, functools.partial(time.sleep, 3.0)) as service:
        large = await service.transfer.Stylize(request(detached=True))
        await service.wait_for(large.job.name, job_pb2.JOB_STATE_RUNNING, iteration=1)
        begun = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.transfer.Stylize(request(), timeout=2.0)
        assert time.monotonic() - begun < 1.0
        info, _ = details(caught.value)
        assert (caught.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DEADLINE_UNATTAINABLE")
        assert 2.0 < float(info.metadata["busy_s"]) <= 3.1
        # What a job may run counts from its beginning, and is long enough.
        timed = await service.transfer.Stylize(request(detached=True, run_timeout=duration_pb2.Duration(seconds=60)))
        assert timed.job.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)


async def test_a_full_queue_refuses_with_the_time_to_retry(held):
    service, _ = held
    for _ in range(3):
        await service.transfer.Stylize(request(detached=True))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.transfer.Stylize(request())
    info, others = details(caught.value)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    retry_ms = int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"])
    assert others[0].retry_delay.ToMilliseconds() == retry_ms >= 1000


async def test_of_many_who_come_back_when_they_are_told_each_gets_through_before_it_would_give_up(tmp_path):
    async with running(tmp_path, functools.partial(time.sleep, 0.01), max_queue=8, max_running=2) as service:

        async def insist(number: int) -> int:
            """How many attempts it takes."""
            for attempt in itertools.count(1):
                try:
                    await service.transfer.Stylize(request(10, labels={"number": str(number)}))
                except grpc.aio.AioRpcError as error:
                    info, (retry,) = details(error)
                    assert info.reason == "QUEUE_FULL"
                    await asyncio.sleep(retry.retry_delay.ToMilliseconds() / 1000)
                else:
                    return attempt
            raise AssertionError

        attempts = await asyncio.gather(*(insist(number) for number in range(50)))
    assert max(attempts) <= flows.MAX_ATTEMPTS


async def test_the_higher_priority_goes_first(held):
    service, gate = held
    await service.transfer.Stylize(request(detached=True))
    low = await service.transfer.Stylize(request(detached=True, priority=-1))
    high = await service.transfer.Stylize(request(detached=True, priority=5))
    assert (low.job.queue_position, high.job.queue_position) == (1, 1)
    waiting = await service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=low.job.name))
    assert waiting.job.queue_position == 2
    gate.opened.set()
    ended = [await service.wait_for(name, *ENDED) for name in (low.job.name, high.job.name)]
    assert ended[0].start_time.ToNanoseconds() > ended[1].start_time.ToNanoseconds()


async def test_a_queue_timeout_ends_the_wait(held):
    service, _ = held
    await service.transfer.Stylize(request(detached=True))
    made = request(queue_timeout=duration_pb2.Duration(nanos=200_000_000))
    code, reason, _ = await refused(service.transfer.Stylize(made))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "QUEUE_TIMEOUT")


@pytest.mark.parametrize("max_running", [1, 2], ids=["in the queue", "at the engine"])
async def test_a_job_whose_deadline_comes_while_it_waits_is_told_that_it_has_no_canvas(tmp_path, max_running):
    """The step of the job before was not expected to take more than moments."""
    async with running(tmp_path, functools.partial(time.sleep, 3.0), max_running=max_running) as service:
        before = await service.transfer.Stylize(request(detached=True))
        await service.wait_for(before.job.name, job_pb2.JOB_STATE_RUNNING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.transfer.Stylize(request(), timeout=1.0)
    assert details(caught.value)[0].reason == "RUN_TIMEOUT"
    assert "no canvas" in caught.value.details()


async def test_a_call_that_would_wait_beyond_its_deadline_for_room_in_the_engine_is_refused_at_once(slow_service):
    before = await slow_service.transfer.Stylize(request(iterations=300, detached=True))
    await slow_service.wait_for(before.job.name, job_pb2.JOB_STATE_RUNNING, iteration=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await slow_service.transfer.Stylize(request(), timeout=2.0)
    info, _ = details(caught.value)
    assert info.reason == "DEADLINE_UNATTAINABLE"
    assert float(info.metadata["busy_s"]) > 3.0
    assert "the engine is busy" in caught.value.details()


async def test_how_slow_the_engine_has_been_and_who_is_there_counts_for_what_a_picture_needs(tmp_path):
    """A step takes 0.2 s, where the toy's model of costs speaks of microseconds."""
    async with running(tmp_path, functools.partial(time.sleep, 0.2)) as service:
        await service.transfer.Stylize(request())
        needed_s = []
        for _ in range(2):
            made = request(run_timeout=duration_pb2.Duration(nanos=10_000_000))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await service.transfer.Stylize(made)
            needed_s.append(float(details(caught.value)[0].metadata["needed_s"]))
            beside = await service.transfer.Stylize(request(iterations=400, detached=True))
            await service.wait_for(beside.job.name, job_pb2.JOB_STATE_RUNNING)
    alone_s = 2 * 0.2 * KNOWN_MARGIN / 0.97
    assert alone_s <= needed_s[0] < 2 * alone_s
    assert needed_s[1] > 1.5 * needed_s[0]


@pytest.mark.parametrize("seconds", [-1, 0, 2**62])
async def test_a_timeout_without_sense_is_refused_and_what_is_allowed_is_said(service, seconds):
    made = request(queue_timeout=duration_pb2.Duration(seconds=seconds))
    _, reason, (violations,) = await refused(service.transfer.Stylize(made))
    assert reason == "INVALID_REQUEST"
    (violation,) = violations.field_violations
    assert violation.field == "queue_timeout"
    assert "more than 0 s, up to 2592000 s" in violation.description


async def test_the_caller_of_a_cancelled_job_is_told(slow_service):
    waiting = asyncio.create_task(refused(slow_service.transfer.Stylize(request(iterations=5000, job_id="stop-me"))))
    await slow_service.admitted(1)
    await slow_service.wait_for("jobs/stop-me", job_pb2.JOB_STATE_RUNNING)
    for _ in range(2):
        await slow_service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name="jobs/stop-me"))
    code, reason, _ = await waiting
    assert (code, reason) == (grpc.StatusCode.CANCELLED, "JOB_CANCELLED")
    await slow_service.wait_for("jobs/stop-me", *ENDED)


async def test_a_waiting_job_is_cancelled_at_once(slow_service):
    await slow_service.transfer.Stylize(request(iterations=200, detached=True))
    waiting = await slow_service.transfer.Stylize(request(detached=True))
    cancelled = await slow_service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=waiting.job.name))
    assert cancelled.job.state == job_pb2.JOB_STATE_CANCELLED


async def test_jobs_are_listed_newest_first_by_page_and_state(service):
    names = [(await service.transfer.Stylize(request(iterations=n))).job.name for n in (1, 2, 3)]
    listed = style_transfer_pb2.ListJobsRequest(page_size=2)
    first = await service.transfer.ListJobs(listed)
    assert [job.name for job in first.jobs] == names[:0:-1]
    listed.page_token = first.next_page_token
    second = await service.transfer.ListJobs(listed)
    assert [job.name for job in second.jobs] == names[:1]
    assert second.next_page_token == ""
    failed = style_transfer_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_FAILED])
    assert not (await service.transfer.ListJobs(failed)).jobs


@pytest.mark.parametrize("token", ["nonsense", "bm9uc2Vuc2U="])
async def test_a_made_up_page_token_is_refused(service, token):
    code, reason, _ = await refused(service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(page_token=token)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_a_loss_that_is_no_number_ends_its_job_as_diverged_and_the_server_lives_on(tmp_path):
    async with running(tmp_path, worker=ThreadWorker(ToyEngineFactory(diverging_colour=1.0))) as service:
        bad = request(iterations=5)
        bad.styles[0].CopyFrom(recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png(1.0))))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.transfer.Stylize(bad)
        info, _ = details(caught.value)
        assert (caught.value.code(), info.reason) == (grpc.StatusCode.INTERNAL, "DIVERGED")
        assert info.metadata["iteration"] == "0"
        assert json.loads(info.metadata["recipe"])["iterations"] == 5
        assert (await service.transfer.Stylize(request())).result.inline


async def test_a_fault_of_the_engine_is_told_without_its_words(tmp_path):
    def break_down() -> None:
        raise RuntimeError("secret words")

    async with running(tmp_path, break_down) as service:
        code, reason, _ = await refused(service.transfer.Stylize(request()))
        assert (code, reason) == (grpc.StatusCode.INTERNAL, "ENGINE_ERROR")
        listed = await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest())
        assert "secret" not in str(listed)


async def test_alpha_comes_back_and_is_flattened_on_white_in_jpeg(service):
    alpha = np.ones((24, 32), np.float32)
    alpha[:, :16] = 0
    source = images.encode(images.Picture(np.full((24, 32, 3), 0.2, np.float32), alpha), "png").data
    content = image_pb2.ImageSource(inline=source)
    made = images.decode((await service.transfer.Stylize(request(content=content))).result.inline, images.ImageLimits())
    np.testing.assert_array_equal(made.alpha, alpha)
    output = image_pb2.OutputOptions(format=image_pb2.IMAGE_FORMAT_JPEG)
    response = await service.transfer.Stylize(request(content=content, output=output))
    flat = images.decode(response.result.inline, images.ImageLimits())
    assert flat.pixels[:, :12].min() > 0.95 > 0.5 > flat.pixels[:, 20:].max()


@pytest.mark.parametrize("color", [recipe_pb2.COLOR_MODE_CONTENT_LUMINANCE, recipe_pb2.COLOR_MODE_CONTENT_MATCHED])
async def test_the_contents_colours_are_kept_when_asked(service, color):
    made = request(iterations=100, content=image_pb2.ImageSource(inline=png((0.5, 0.3, 0.2))))
    made.recipe.color = color
    made.styles[0].CopyFrom(recipe_pb2.StyleInput(image=image_pb2.ImageSource(inline=png((0.1, 0.2, 0.7)))))
    pixels = images.decode((await service.transfer.Stylize(made)).result.inline, images.ImageLimits()).pixels
    red, _, blue = pixels.mean(axis=(0, 1))
    assert red > blue + 0.1
