"""Access: who may call what, whose jobs and images are whose, and TLS."""

import contextlib
import functools
import time

import grpc
import pytest
import trustme
from google.protobuf import descriptor_pool

from styleserve.callers import token_sha256
from styleserve.rpc.access import NEEDED
from styleserve.v1 import (
    image_pb2,
    job_pb2,
    server_info_pb2,
    style_catalog_pb2,
    style_catalog_pb2_grpc,
    style_transfer_pb2,
)
from support.rich_errors import details
from support.service import png, request, running

FILE = f"""
callers:
  editor:
    token_sha256: [{token_sha256("editor's")}]
    scopes: [stylize, read]
  rival:
    token_sha256: [{token_sha256("rival's")}]
    scopes: [stylize, read]
  reader:
    token_sha256: [{token_sha256("reader's")}]
    scopes: [read]
  curator:
    token_sha256: [{token_sha256("curator's")}]
    scopes: [admin]
  writer:
    token_sha256: [{token_sha256("writer's")}]
    scopes: [stylize]
"""


def shown(token):
    return (("authorization", f"Bearer {token}"),)


EDITOR, RIVAL, READER, WRITER, CURATOR = (
    shown(f"{name}'s") for name in ("editor", "rival", "reader", "writer", "curator")
)


@contextlib.asynccontextmanager
async def guarded(folder, text=FILE, **settings):
    path = folder / "callers.yaml"
    path.write_text(text)
    async with running(folder, callers=path, **settings) as service:
        yield service


def upload(data):
    return iter(
        [
            style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(size_bytes=len(data))),
            style_transfer_pb2.UploadImageRequest(chunk=data),
        ]
    )


async def refused(call):
    """The code and the reason with which a call ends."""
    answer = call if hasattr(call, "__await__") else anext(aiter(call))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer
    return raised.value.code(), details(raised.value)[0].reason


def test_every_method_of_the_contract_has_its_line():
    contract = descriptor_pool.Default()
    methods = {
        f"/{service.full_name}/{method.name}"
        for module in (style_transfer_pb2, style_catalog_pb2, server_info_pb2)
        for service in contract.FindFileByName(module.DESCRIPTOR.name).services_by_name.values()
        for method in service.methods
    }
    assert methods == {name for name in NEEDED if "styleserve" in name}
    assert all(NEEDED[name] is not None for name in methods)


async def test_without_a_token_or_with_a_wrong_one_nothing_is_answered_but_health(tmp_path):
    async with guarded(tmp_path) as service:  # health was asked for without a token already
        for metadata in ((), shown("nobody's"), shown(""), (("authorization", "Basic editor's"),)):
            for call in (
                service.transfer.Stylize(request(), metadata=metadata),
                service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name="jobs/x"), metadata=metadata),
                service.transfer.StreamProgress(
                    style_transfer_pb2.StreamProgressRequest(start=request()), metadata=metadata
                ),
                service.transfer.UploadImage(upload(png(0.2)), metadata=metadata),
                service.catalog.ListStyles(style_catalog_pb2.ListStylesRequest(), metadata=metadata),
                service.info.GetServerInfo(server_info_pb2.GetServerInfoRequest(), metadata=metadata),
            ):
                assert await refused(call) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


async def test_a_caller_may_do_what_its_scopes_say(tmp_path):
    async with guarded(tmp_path) as service:
        assert (await service.transfer.Stylize(request(), metadata=WRITER)).job.state == job_pb2.JOB_STATE_SUCCEEDED
        denied = grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"
        assert await refused(service.transfer.Stylize(request(), metadata=READER)) == denied
        start = style_transfer_pb2.StreamProgressRequest(start=request())
        assert await refused(service.transfer.StreamProgress(start, metadata=READER)) == denied
        assert await refused(service.transfer.UploadImage(upload(png(0.2)), metadata=READER)) == denied
        assert await refused(service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(), metadata=WRITER)) == denied
        await service.catalog.ListStyles(style_catalog_pb2.ListStylesRequest(), metadata=READER)
        admin = style_catalog_pb2_grpc.StyleAdminServiceStub(service.channel)
        reload_catalog = style_catalog_pb2.ReloadCatalogRequest()
        assert await refused(admin.ReloadCatalog(reload_catalog, metadata=EDITOR)) == denied
        await admin.ReloadCatalog(reload_catalog, metadata=CURATOR)


async def test_a_caller_sees_its_own_jobs_only(tmp_path):
    async with guarded(tmp_path) as service:
        job = (await service.transfer.Stylize(request(), metadata=EDITOR)).job
        missing = grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"
        for call in (
            service.transfer.GetJob(style_transfer_pb2.GetJobRequest(name=job.name), metadata=RIVAL),
            service.transfer.GetJobLog(style_transfer_pb2.GetJobLogRequest(name=job.name), metadata=RIVAL),
            service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=job.name), metadata=RIVAL),
            service.transfer.StreamProgress(style_transfer_pb2.StreamProgressRequest(job=job.name), metadata=RIVAL),
        ):
            assert await refused(call) == missing
        listed = style_transfer_pb2.ListJobsRequest()
        assert not (await service.transfer.ListJobs(listed, metadata=RIVAL)).jobs
        assert [each.name for each in (await service.transfer.ListJobs(listed, metadata=EDITOR)).jobs] == [job.name]


async def test_a_caller_sees_its_own_images_only_even_when_it_knows_their_hash(tmp_path):
    async with guarded(tmp_path) as service:
        done = await service.transfer.Stylize(request(), metadata=EDITOR)
        mine = (await service.transfer.UploadImage(upload(png(0.7)), metadata=EDITOR)).image
        missing = grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND"
        for name in (done.job.result.image, mine):
            read = style_transfer_pb2.DownloadImageRequest(image=name)
            assert await refused(service.transfer.DownloadImage(read, metadata=RIVAL)) == missing
            asked = request(content=image_pb2.ImageSource(image=name))
            assert await refused(service.transfer.Stylize(asked, metadata=RIVAL)) == missing
            assert [part async for part in service.transfer.DownloadImage(read, metadata=EDITOR)]
        claim = style_transfer_pb2.UploadHeader(size_bytes=len(png(0.7)), sha256=mine.removeprefix("images/"))
        claims = iter([style_transfer_pb2.UploadImageRequest(header=claim)])
        assert await refused(service.transfer.UploadImage(claims, metadata=RIVAL)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        )


async def test_the_log_says_whose_a_job_is(tmp_path, caplog):
    caplog.set_level("INFO")
    async with guarded(tmp_path) as service:
        job = (await service.transfer.Stylize(request(), metadata=EDITOR)).job
    lines = [record for record in caplog.records if getattr(record, "job", "") == job.name.removeprefix("jobs/")]
    assert lines
    assert {record.caller for record in lines if record.name.startswith("styleserve.jobs")} == {"editor"}


async def test_request_ids_of_two_callers_have_nothing_to_do_with_each_other(tmp_path):
    request_id = "7f3ce5a4-53a9-4f0c-b6a4-d60d0a0c2c0e"
    async with guarded(tmp_path) as service:
        first = (await service.transfer.Stylize(request(request_id=request_id), metadata=EDITOR)).job
        second = (await service.transfer.Stylize(request(5, request_id=request_id), metadata=RIVAL)).job
        assert first.name != second.name
        assert (await service.transfer.Stylize(request(request_id=request_id), metadata=EDITOR)).job.name == first.name


async def test_a_picture_that_is_kept_answers_its_own_callers_requests_only(tmp_path):
    async with guarded(tmp_path, no_cache=False) as service:
        first = (await service.transfer.Stylize(request(), metadata=EDITOR)).job
        assert not (await service.transfer.Stylize(request(), metadata=RIVAL)).job.provenance.reused_from
        again = (await service.transfer.Stylize(request(), metadata=EDITOR)).job
        assert again.provenance.reused_from == first.name


async def test_jobs_stay_their_callers_after_a_restart(tmp_path):
    async with guarded(tmp_path) as service:
        job = (await service.transfer.Stylize(request(), metadata=EDITOR)).job
    async with guarded(tmp_path) as service:
        read = style_transfer_pb2.GetJobRequest(name=job.name)
        assert (await service.transfer.GetJob(read, metadata=EDITOR)).job.state == job_pb2.JOB_STATE_SUCCEEDED
        assert (await refused(service.transfer.GetJob(read, metadata=RIVAL)))[1] == "JOB_NOT_FOUND"


async def test_a_caller_with_too_many_waiting_jobs_is_told_when_to_come_back_and_others_are_not_in_its_way(tmp_path):
    text = FILE.replace("scopes: [stylize, read]", "scopes: [stylize, read]\n    max_waiting: 1\n    max_running: 1", 1)
    async with guarded(tmp_path, text, before_step=functools.partial(time.sleep, 0.01)) as service:
        long = request(10_000, detached=True)
        running_job = (await service.transfer.Stylize(long, metadata=EDITOR)).job
        watch = style_transfer_pb2.StreamProgressRequest(job=running_job.name)
        async for event in service.transfer.StreamProgress(watch, metadata=EDITOR):
            if event.WhichOneof("event") == "progress":
                break
        waiting = (await service.transfer.Stylize(long, metadata=EDITOR)).job
        assert waiting.queue_position == 1, "the engine has room, but the caller may have one job in it"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.transfer.Stylize(long, metadata=EDITOR)
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(raised.value)[0].reason == "QUOTA_EXCEEDED"
        assert int(dict(raised.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
        done = await service.transfer.Stylize(request(), metadata=RIVAL)
        assert done.job.state == job_pb2.JOB_STATE_SUCCEEDED
        for job in (waiting, running_job):
            await service.transfer.CancelJob(style_transfer_pb2.CancelJobRequest(name=job.name), metadata=EDITOR)


async def test_bytes_are_counted_whichever_way_they_come(tmp_path):
    text = FILE.replace("scopes: [stylize, read]", "scopes: [stylize, read]\n    max_bytes_per_minute: 1000B", 1)
    async with guarded(tmp_path, text) as service:
        data = png(0.3, 40, 40)
        padded = data + b"\0" * (1500 - len(data))
        await service.transfer.UploadImage(upload(padded), metadata=EDITOR)
        over = grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"
        assert await refused(service.transfer.UploadImage(upload(padded), metadata=EDITOR)) == over
        assert await refused(service.transfer.Stylize(request(), metadata=EDITOR)) == over
        await service.transfer.Stylize(request(), metadata=RIVAL)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def files(authority, folder, name="127.0.0.1"):
    """The server's certificate and key, and the authority, as files."""
    certificate = authority.issue_cert(name)
    paths = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    paths[0].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    paths[1].write_bytes(certificate.private_key_pem.bytes())
    authority.cert_pem.write_to_path(paths[2])
    return dict(zip(("tls_cert", "tls_key", "tls_client_ca"), paths, strict=True))


def credentials(authority, client=None):
    if client is None:
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    chain = b"".join(blob.bytes() for blob in client.cert_chain_pems)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), client.private_key_pem.bytes(), chain)


async def test_calls_go_by_tls(tmp_path, authority):
    settings = files(authority, tmp_path)
    del settings["tls_client_ca"]
    async with guarded(tmp_path, credentials=credentials(authority), **settings) as service:
        done = await service.transfer.Stylize(request(), metadata=EDITOR)
        assert done.job.state == job_pb2.JOB_STATE_SUCCEEDED
        async with grpc.aio.insecure_channel(service.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_changes_is_read_again_and_a_broken_one_changes_nothing(tmp_path, authority):
    settings = files(authority, tmp_path)
    del settings["tls_client_ca"]
    other = trustme.CA()
    async with guarded(tmp_path, credentials=credentials(authority), **settings) as service:

        async def is_trusted(by):
            async with grpc.aio.secure_channel(service.address, credentials(by)) as channel:
                try:
                    await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
                except grpc.aio.AioRpcError:
                    return False
                return True

        assert (await is_trusted(authority), await is_trusted(other)) == (True, False)
        files(other, tmp_path)
        assert (await is_trusted(authority), await is_trusted(other)) == (False, True)
        settings["tls_key"].write_text("no key")
        assert await is_trusted(other)


async def test_who_shows_no_certificate_is_not_let_in_where_one_is_asked_for(tmp_path, authority):
    settings = files(authority, tmp_path)
    client = authority.issue_cert("pages.internal", common_name="pages.internal")
    async with running(tmp_path, credentials=credentials(authority, client), **settings) as service:
        mine = (await service.transfer.Stylize(request())).job
        read = style_transfer_pb2.GetJobRequest(name=mine.name)
        stranger = trustme.CA().issue_cert("pages.internal", common_name="pages.internal")
        for shown_by in (credentials(authority), credentials(authority, stranger)):
            async with grpc.aio.secure_channel(service.address, shown_by) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
                assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        other = authority.issue_cert("other.internal", common_name="other.internal")
        async with grpc.aio.secure_channel(service.address, credentials(authority, other)) as channel:
            get_job = channel.unary_unary(
                "/styleserve.v1.StyleTransferService/GetJob",
                request_serializer=style_transfer_pb2.GetJobRequest.SerializeToString,
            )
            assert (await refused(get_job(read)))[1] == "JOB_NOT_FOUND"


async def test_a_certificate_is_a_caller_of_the_file_when_there_is_one(tmp_path, authority):
    settings = files(authority, tmp_path)
    text = "callers: {pages: {certificates: [pages.internal], scopes: [read]}}"
    client = authority.issue_cert("pages.internal", common_name="pages.internal")
    async with guarded(tmp_path, text, credentials=credentials(authority, client), **settings) as service:
        await service.catalog.ListStyles(style_catalog_pb2.ListStylesRequest())
        assert (await refused(service.transfer.Stylize(request())))[1] == "PERMISSION_DENIED"
