"""What clients may send and expect with the settings that gRPC gives them: messages, pings, results."""

import functools
import time

import grpc
import pytest
from google.protobuf import duration_pb2
from grpc_status import rpc_status

from styleserve import images
from styleserve.v1 import image_pb2
from support.service import png, request, running

MIB = 2**20


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path, functools.partial(time.sleep, 0.02), max_side=2048) as service:
        yield service


def of_bytes(num_bytes: int) -> image_pb2.ImageSource:
    """An image whose file has so many bytes."""
    return image_pb2.ImageSource(inline=png(0.2).ljust(num_bytes, b"\0"))


async def test_a_message_of_31_mib_is_taken_and_one_of_33_is_not(service):
    assert (await service.transfer.Stylize(request(1, content=of_bytes(31 * MIB)))).result.inline
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.transfer.Stylize(request(1, content=of_bytes(33 * MIB)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc_status.from_call(caught.value) is None, "it is not read, so it is gRPC that refuses it"


async def test_a_client_that_pings_every_second_while_it_waits_is_not_sent_away(service):
    """More often gRPC lets no client do it. A server by itself sends it away after four seconds."""
    options = (("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0))
    async with grpc.aio.insecure_channel(service.address, options) as channel:
        waiting = type(service)(service.server, service.address, channel)
        made = request(5000, run_timeout=duration_pb2.Duration(seconds=5))
        assert (await waiting.transfer.Stylize(made)).result.inline


@pytest.mark.parametrize(("side", "is_inline"), [(1078, True), (1083, False)])
async def test_a_result_above_three_and_a_half_megabytes_is_named_and_not_sent(service, side, is_inline):
    """Clients take messages of up to 4 MiB. Noise, which nothing compresses, has three bytes a pixel and few more."""
    content = image_pb2.ImageSource(inline=images.encode(images.Picture(images.noise(side, side, seed=0)), "png").data)
    made = request(0, content=content, output=image_pb2.OutputOptions(max_side=side))
    result = (await service.transfer.Stylize(made)).result
    assert (0.99 if is_inline else 1.0) < result.size_bytes / 3_500_000 <= (1.0 if is_inline else 1.01)
    assert bool(result.inline) == is_inline
    assert result.image
