"""The catalogue, the server's abilities, health and reflection, as clients find them."""

import asyncio
import functools
import hashlib
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from styleserve import images
from styleserve.rpc.server import SERVICES
from styleserve.v1 import recipe_pb2, server_info_pb2, style_catalog_pb2
from support.rich_errors import refused
from support.service import GREY, request, running

GIF = b"GIF89a" + bytes(64)


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path) as service:
        yield service


async def shown_without_thumbnail(service, name):
    style = (await service.catalog.GetStyle(style_catalog_pb2.GetStyleRequest(name=name))).style
    assert style.name == name
    assert style.title
    assert not style.HasField("thumbnail")


async def test_styles_are_listed_by_name_in_pages(service):
    listed = style_catalog_pb2.ListStylesRequest(page_size=5)
    names = []
    while True:
        response = await service.catalog.ListStyles(listed)
        names += [style.name for style in response.styles]
        listed.page_token = response.next_page_token
        if not listed.page_token:
            break
        assert len(response.styles) == 5
    assert names == sorted(names)
    assert GREY in names
    assert len(names) == 18


async def test_a_style_is_shown_with_what_its_file_says_and_a_thumbnail(service):
    style = (await service.catalog.GetStyle(style_catalog_pb2.GetStyleRequest(name="styles/mosaic"))).style
    assert (style.title, style.artist, style.license, style.origin) == ("Mosaic", "StyleServe", "Apache-2.0", "builtin")
    assert len(style.version) == 12
    assert images.sniff(style.thumbnail.inline) == "jpeg"
    assert max(style.thumbnail.width, style.thumbnail.height) == 256


async def test_a_style_whose_image_is_far_away_is_shown_without_fetching_it(service):
    await shown_without_thumbnail(service, "styles/far-away")


async def test_a_style_whose_image_has_gone_from_beside_its_file_is_shown_without_it(tmp_path, service):
    (tmp_path / "styles" / "grey.png").unlink()
    await shown_without_thumbnail(service, GREY)


async def test_a_style_whose_image_turns_out_to_be_none_is_shown_without_it_and_unavailable_to_jobs(tmp_path):
    (tmp_path / "paintings").mkdir()
    (tmp_path / "paintings" / "dance.gif").write_bytes(GIF)
    (tmp_path / "styles").mkdir()
    digest = hashlib.sha256(GIF).hexdigest()
    (tmp_path / "styles" / "dance.yaml").write_text(
        f"title: Dance\nimage: {{url: 'http://127.0.0.1:9/dance.gif', sha256: '{digest}'}}\n"
    )
    unavailable = grpc.StatusCode.UNAVAILABLE, "STYLE_IMAGE_UNAVAILABLE"
    async with running(tmp_path, style_images=tmp_path / "paintings") as service:
        await shown_without_thumbnail(service, "styles/dance")
        asked = request()
        asked.styles[0].style = "styles/dance"
        assert (await refused(service.transfer.Stylize(asked)))[:2] == unavailable


async def test_targets_become_ready_while_nobody_waits(service):
    deadline = time.monotonic() + 10
    while True:
        style = (await service.catalog.GetStyle(style_catalog_pb2.GetStyleRequest(name=GREY))).style
        if style.targets_ready:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_an_unknown_style_gets_the_nearest(service):
    code, reason, others = await refused(
        service.catalog.GetStyle(style_catalog_pb2.GetStyleRequest(name="styles/mosiac"))
    )
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "STYLE_NOT_FOUND")
    assert "styles/mosaic" in others[0].description


async def test_the_server_tells_its_limits_and_abilities(service):
    info = await service.info.GetServerInfo(server_info_pb2.GetServerInfoRequest())
    assert info.weights == "toy@sha256:000000000000"
    assert info.weights_trained
    assert set(info.presets) == {"classic", "paper", "draft", "standard", "fine"}
    assert list(info.optimizers) == recipe_pb2.Optimizer.keys()[1:]
    assert (info.max_output_side, info.max_queue, info.queued, info.running) == (1024, 64, 0, 0)
    assert info.job_retention.seconds == 86_400


async def test_health_is_told_for_every_service_by_check_list_and_watch(service):
    health = health_pb2_grpc.HealthStub(service.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", *SERVICES):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == serving
    listed = await health.List(health_pb2.HealthListRequest())
    assert {name: response.status for name, response in listed.statuses.items()} == dict.fromkeys(
        ("", *SERVICES), serving
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="styleserve.v1.Nothing"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest(service="styleserve.v1.Nothing"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_a_full_queue_is_healthy(tmp_path):
    async with running(tmp_path, functools.partial(time.sleep, 0.05), max_queue=1, max_running=1) as service:
        for _ in range(2):
            await service.transfer.Stylize(request(iterations=50, detached=True))
        health = health_pb2_grpc.HealthStub(service.channel)
        response = await health.Check(health_pb2.HealthCheckRequest())
        assert response.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"])
async def test_both_reflections_list_the_services_and_describe_a_method(service, name):
    call = service.channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(
        iter(
            [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="styleserve.v1.StyleTransferService"),
            ]
        )
    )
    listed, described = [response async for response in call]
    assert set(SERVICES) <= {service.name for service in listed.list_services_response.service}
    assert described.file_descriptor_response.file_descriptor_proto
