"""Both clients against a real server and the toy engine: one table of behaviours, run by each."""

import asyncio
import functools
import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

import styleserve_client
from styleserve import images
from styleserve.rpc import uploads
from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve_client import (
    AlreadyExistsError,
    AsyncClient,
    CancelledError,
    CatalogInvalidError,
    Client,
    DeadlineError,
    InvalidRequestError,
    JobChanged,
    NotFoundError,
    Previewed,
    Previews,
    Progressed,
    ResultReady,
    RetryLaterError,
    Style,
    StyleReadOnlyError,
    UnavailableError,
    raise_for,
)
from support import carried
from support.relay import Relay
from support.service import GREY, png, running

CONTENT = png(0.2)
QUICK = {"preset": "classic", "iterations": 3}
WATCH = Path(__file__).resolve().parents[2] / "clients" / "python" / "examples" / "watch.py"
SLOWLY = functools.partial(time.sleep, 0.02)


class Blocking:
    """`Client` with the surface of `AsyncClient`, so that one test runs both."""

    def __init__(self, address: str) -> None:
        self.client = Client(address)

    async def __aenter__(self) -> "Blocking":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()

    def __getattr__(self, name: str):
        method = getattr(self.client, name)
        if name in ("stream", "attach", "jobs", "styles"):
            return functools.partial(self._iterate, method)
        return functools.partial(asyncio.to_thread, method)

    async def _iterate(self, method, *args, **options):
        iterator = await asyncio.to_thread(method, *args, **options)
        try:
            while (item := await asyncio.to_thread(next, iterator, None)) is not None:
                yield item
        finally:
            await asyncio.to_thread(iterator.close)


@pytest.fixture(params=[Blocking, AsyncClient])
def kind(request):
    return request.param


@pytest.fixture
async def client(kind, tmp_path):
    async with running(tmp_path) as service, kind(service.address) as client:
        yield client


@pytest.fixture
async def slow(kind, tmp_path):
    async with running(tmp_path, SLOWLY, max_running=1, max_queue=1) as service, kind(service.address) as client:
        yield client


@pytest.mark.parametrize("form", ["path", "text", "bytes", "pil"])
async def test_contents_and_styles_come_as_paths_bytes_and_pil_images(client, tmp_path, form):
    path = tmp_path / "content.png"
    path.write_bytes(CONTENT)
    content = {"path": path, "text": str(path), "bytes": CONTENT, "pil": Image.open(io.BytesIO(CONTENT))}[form]
    style = content if form != "text" else GREY
    picture = await client.stylize(content, style, **QUICK)
    assert picture.to_pil().size == (32, 24)
    assert picture.job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert picture.save(tmp_path / "out.png").read_bytes() == picture.data


async def test_a_style_is_named_with_or_without_its_collection(client):
    short = await client.stylize(CONTENT, "plain-grey", **QUICK)
    long = await client.stylize(CONTENT, GREY, **QUICK)
    assert short.data == long.data


async def test_a_blend_has_its_weights(client):
    styles = [Style(png(0.0), weight=1), Style(png(1.0), weight=3)]
    picture = await client.stylize(CONTENT, styles, preset="classic", optimizer="lbfgsb", iterations=100)
    np.testing.assert_allclose(np.asarray(picture.to_pil()) / 255, 0.75, atol=0.01)


async def test_every_option_reaches_the_server(client):
    picture = await client.stylize(
        CONTENT,
        GREY,
        preset="classic",
        optimizer="lbfgsb",
        iterations=2,
        content_weight=5.0,
        style_weight=0.5,
        total_variation_weight=0.25,
        init="noise",
        color="content_luminance",
        seed=9,
        max_side=24,
        image_format="jpeg",
        quality=50,
        omit_provenance=True,
        job_id="every-option",
        priority=3,
        labels={"a": "b"},
        queue_timeout_s=30,
        run_timeout_s=30,
        fails_at_deadline=True,
        outlives_caller=True,
    )
    recipe = picture.job.provenance.recipe_json
    for part in ('"lbfgsb"', '"iterations": 2', '"content_weight": 5.0', '"noise"', '"content_luminance"', '"seed": 9'):
        assert part in recipe
    assert (picture.width, picture.mime_type, picture.job.name) == (24, "image/jpeg", "jobs/every-option")
    assert picture.job.labels == {"a": "b"}
    assert carried.metadata(picture.data) is None


async def test_an_option_that_does_not_exist_says_what_does(client):
    with pytest.raises(ValueError, match="allowed: adam, lbfgsb"):
        await client.stylize(CONTENT, GREY, optimizer="sgd")


async def test_a_duration_that_is_no_number_says_what_is_allowed(client):
    with pytest.raises(ValueError, match="got nan; allowed: a finite number"):
        await client.stylize(CONTENT, GREY, run_timeout_s=float("nan"))


async def test_a_stream_tells_typed_events_and_the_picture(client):
    events = [event async for event in client.stream(CONTENT, GREY, **QUICK)]
    assert isinstance(events[0], JobChanged)
    assert isinstance(events[-1], JobChanged)
    assert events[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert any(isinstance(event, Progressed) for event in events)
    assert isinstance(events[-2], ResultReady)
    assert events[-2].picture.to_pil().size == (32, 24)


async def test_every_picture_has_the_job_as_it_ended(slow):
    streamed = [event async for event in slow.stream(CONTENT, GREY, preset="classic", iterations=20)]
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=20)
    attached = [event async for event in slow.attach(job)]
    waited_for = await slow.result(await slow.submit(CONTENT, GREY, preset="classic", iterations=20))
    fetched = await slow.result(job)
    for picture in (streamed[-2].picture, attached[-2].picture, waited_for, fetched):
        assert picture.job.state == job_pb2.JOB_STATE_SUCCEEDED
        assert '"iterations": 20' in picture.job.provenance.recipe_json
        assert picture.job.HasField("end_time")


async def test_previews_come_when_wanted(slow):
    wanted = Previews(max_side=16, interval_s=0.5)
    events = [event async for event in slow.stream(CONTENT, GREY, previews=wanted, preset="classic", iterations=60)]
    previews = [event for event in events if isinstance(event, Previewed)]
    assert previews
    assert previews[0].to_pil().size == (16, 12)


async def test_leaving_a_stream_cancels_its_job(slow):
    events = slow.stream(CONTENT, GREY, preset="classic", iterations=5000, job_id="left-alone")
    async for event in events:
        if isinstance(event, Progressed):
            break
    await events.aclose()
    deadline = time.monotonic() + 10
    while (await slow.job("left-alone")).state != job_pb2.JOB_STATE_CANCELLED:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_stream_whose_connection_breaks_still_brings_the_picture(kind, tmp_path):
    async with running(tmp_path, SLOWLY) as service, Relay(service.address) as relay, kind(relay.address) as client:
        events = []
        async for event in client.stream(CONTENT, GREY, preset="classic", iterations=40):
            events.append(event)
            if len(events) == 10:
                relay.cut()
        assert isinstance(events[-2], ResultReady)
        assert events[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
        states = [job.state async for job in client.jobs()]
        assert sorted(states) == [job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_CANCELLED]


async def test_what_ended_a_job_is_raised_of_its_last_event(slow):
    failing = {"preset": "classic", "iterations": 5000, "run_timeout_s": 0.5, "fails_at_deadline": True}
    events = [event async for event in slow.stream(CONTENT, GREY, **failing)]
    with pytest.raises(DeadlineError) as caught:
        raise_for(events[-1].job)
    assert caught.value.reason == "RUN_TIMEOUT"
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=5000)
    await slow.cancel(job)
    events = [event async for event in slow.attach(job)]
    with pytest.raises(CancelledError):
        raise_for(events[-1].job)
    painted = [event async for event in slow.stream(CONTENT, GREY, **QUICK)]
    for event in painted:
        if isinstance(event, JobChanged):
            raise_for(event.job)


async def test_the_example_that_watches_fails_with_its_job(tmp_path):
    (tmp_path / "photo.png").write_bytes(CONTENT)
    async with running(tmp_path, SLOWLY) as service:
        watching = await asyncio.create_subprocess_exec(
            *(sys.executable, WATCH, "photo.png", "--style", "plain-grey", "--server", service.address),
            cwd=tmp_path,
            env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        (job,) = await service.admitted(1)
        await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=job.name))
        _, said = await watching.communicate()
    assert watching.returncode == 1
    assert f"{job.name} was cancelled" in said.decode()


async def test_a_submitted_job_is_attached_to_and_its_result_fetched(slow):
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=20)
    events = [event async for event in slow.attach(job.name)]
    assert events[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
    picture = await slow.result(job.name)
    assert picture.data == next(event for event in events if isinstance(event, ResultReady)).picture.data


async def test_a_result_is_waited_for_and_a_cancelled_one_raised(slow):
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=20)
    assert (await slow.result(job.name)).data
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=5000)
    await slow.cancel(job.name)
    with pytest.raises(CancelledError):
        await slow.result(job.name)


async def test_a_job_is_given_as_it_came_or_by_its_name(slow):
    job = await slow.submit(CONTENT, GREY, preset="classic", iterations=20)
    for given in (job, job.name, job.name.removeprefix("jobs/")):
        events = [event async for event in slow.attach(given)]
        assert events[-1].job.state == job_pb2.JOB_STATE_SUCCEEDED
        assert (await slow.result(given)).job.name == job.name
        assert (await slow.job(given)).state == job_pb2.JOB_STATE_SUCCEEDED
        assert [line.text for line in await slow.job_log(given)][-1] == "succeeded"
        assert (await slow.cancel(given)).name == job.name


async def test_who_has_a_result_watches_its_job_no_more(tmp_path):
    has_left = False

    class Watching(AsyncClient):
        async def attach(self, job, **options):
            nonlocal has_left
            try:
                async for event in super().attach(job, **options):
                    yield event
            finally:
                has_left = True

    async with running(tmp_path, SLOWLY) as service, Watching(service.address) as client:
        job = await client.submit(CONTENT, GREY, preset="classic", iterations=20)
        assert (await client.result(job.name)).data
        assert has_left, "and not only when the garbage is collected"


async def test_large_images_go_up_and_down_in_chunks_by_themselves(client):
    large = images.encode(images.Picture(images.noise(1000, 1200, seed=1)), "png").data
    assert len(large) > 3_400_000
    picture = await client.stylize(large, GREY, preset="classic", iterations=0)
    assert len(picture.data) > 2_500_000
    assert images.decode(picture.data, images.ImageLimits()).pixels.shape == (853, 1024, 3)
    name = await client.upload(large)
    assert await client.download(name) == large
    assert await client.upload(large) == name


async def test_an_upload_as_slow_as_the_server_takes_one_arrives(kind, tmp_path, monkeypatch):
    hurry = 50
    monkeypatch.setattr(uploads, "IDLE_S", uploads.IDLE_S / hurry)
    monkeypatch.setattr(uploads, "LEAST_BYTES_PER_S", uploads.LEAST_BYTES_PER_S * hurry)
    bytes_per_s = 2 * uploads.LEAST_BYTES_PER_S
    image = CONTENT.ljust(1_200_000, b"\0")
    assert len(image) / bytes_per_s > uploads.IDLE_S
    async with (
        running(tmp_path) as service,
        Relay(service.address, bytes_per_s=bytes_per_s) as relay,
        kind(relay.address) as client,
    ):
        assert await client.download(await client.upload(image)) == image


async def test_catalogue_jobs_and_abilities_are_read(client):
    assert (await client.style("mosaic")).title == "Mosaic"
    assert GREY in [style.name async for style in client.styles()]
    await client.stylize(CONTENT, GREY, job_id="only-one", **QUICK)
    assert [job.name async for job in client.jobs()] == ["jobs/only-one"]
    assert (await client.job("only-one")).state == job_pb2.JOB_STATE_SUCCEEDED
    assert [line.text for line in await client.job_log("only-one")][-1] == "succeeded"
    assert (await client.info()).weights_trained


async def test_styles_are_created_deleted_and_reloaded(client, tmp_path):
    facts = {"artist": "Me", "license": "CC0-1.0", "tags": ["own"], "preset": "classic", "iterations": 2}
    made = await client.create_style("own", png(0.9), title="My own", **facts)
    assert (made.name, made.title, made.artist, list(made.tags)) == ("styles/own", "My own", "Me", ["own"])
    assert (await client.style("own")).recipe.iterations == 2
    large = images.encode(images.Picture(images.noise(1000, 1200, seed=1)), "png").data
    assert (await client.create_style("large", large, title="Large")).version != made.version
    with pytest.raises(AlreadyExistsError) as caught:
        await client.create_style("own", png(0.5), title="Another")
    assert caught.value.reason == "STYLE_EXISTS"
    with pytest.raises(TypeError, match="did you mean 'license'"):
        await client.create_style("other", png(0.5), title="Other", licence="CC0-1.0")
    await client.delete_style("own")
    with pytest.raises(StyleReadOnlyError):
        await client.delete_style("mosaic")
    (tmp_path / "styles" / "new.yaml").write_text("title: New\nimage: grey.png\n")
    assert (await client.reload_catalog(validate_only=True)).added == ["styles/new"]
    assert (await client.reload_catalog()).added == ["styles/new"]
    (tmp_path / "styles" / "new.yaml").write_text("title: New\n")
    with pytest.raises(CatalogInvalidError) as invalid:
        await client.reload_catalog()
    assert invalid.value.problems[0].startswith("styles/new.yaml: image: got None")


async def test_errors_are_the_clients_own_and_carry_reason_and_details(client):
    with pytest.raises(InvalidRequestError) as caught:
        await client.stylize(b"no image", GREY, iterations=-1)
    assert caught.value.reason == "INVALID_REQUEST"
    assert {violation.field for violation in caught.value.violations} == {"content", "recipe.iterations"}
    with pytest.raises(NotFoundError) as caught:
        await client.stylize(CONTENT, "mosiac")
    assert caught.value.nearest[0] == "styles/mosaic"
    with pytest.raises(DeadlineError) as caught:
        await client.stylize(CONTENT, GREY, run_timeout_s=1e-6)
    assert caught.value.reason == "DEADLINE_UNATTAINABLE"
    await client.stylize(CONTENT, GREY, job_id="taken", **QUICK)
    with pytest.raises(AlreadyExistsError):
        await client.stylize(CONTENT, GREY, job_id="taken", preset="classic", iterations=1)


async def test_a_style_whose_image_cannot_be_fetched_is_told_at_once(client, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UnavailableError) as caught:
        await client.stylize(CONTENT, "far-away", **QUICK)
    assert caught.value.reason == "STYLE_IMAGE_UNAVAILABLE"
    assert "--style-images" in str(caught.value)


async def test_a_full_queue_is_waited_for_within_the_time_given(slow):
    for _ in range(2):
        await slow.submit(CONTENT, GREY, preset="classic", iterations=30)
    with pytest.raises(RetryLaterError) as caught:
        await slow.stylize(CONTENT, GREY, timeout_s=0.5, **QUICK)
    assert caught.value.retry_after_s >= 1
    assert (await slow.stylize(CONTENT, GREY, timeout_s=20, **QUICK)).data


async def test_the_timeout_brings_the_best_canvas_back(slow):
    picture = await slow.stylize(CONTENT, GREY, timeout_s=1.5, preset="classic", iterations=5000)
    assert picture.job.stop_reason == job_pb2.STOP_REASON_DEADLINE


async def test_a_server_that_comes_late_is_waited_for(kind, tmp_path):
    async with running(tmp_path) as service:
        address = service.address

    async def come_late() -> None:
        await asyncio.sleep(1)
        async with running(tmp_path, listen=address):
            await asyncio.sleep(6)

    late = asyncio.create_task(come_late())
    async with kind(address) as client:
        assert (await client.stylize(CONTENT, GREY, **QUICK)).data
    late.cancel()


async def test_a_server_that_never_comes_is_told(kind, monkeypatch):
    monkeypatch.setattr(styleserve_client.flows, "MAX_ATTEMPTS", 2)
    async with kind("127.0.0.1:9") as client:
        with pytest.raises(UnavailableError) as caught:
            await client.info()
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_importing_the_client_loads_neither_tensorflow_nor_the_server():
    script = (
        "import sys, styleserve_client; heavy = {'tensorflow', 'scipy', 'numpy', 'styleserve.rpc', 'styleserve.jobs'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_client_is_safe_to_be_used_from_several_threads(tmp_path):
    async with running(tmp_path) as service:

        def paint(client: Client, pictures: list) -> None:
            pictures.append(client.stylize(CONTENT, GREY, **QUICK).data)

        def paint_in_threads() -> list:
            pictures: list = []
            with Client(service.address) as client:
                threads = [threading.Thread(target=paint, args=(client, pictures)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            return pictures

        pictures = await asyncio.to_thread(paint_in_threads)
    assert len(pictures) == 4
    assert len(set(pictures)) == 1
