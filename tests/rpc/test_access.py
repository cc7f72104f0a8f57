"""Access: who may call what, whose jobs and images are whose, and TLS."""

import asyncio
import contextlib
import functools
import itertools
import time

import grpc
import pytest
import trustme
from google.protobuf import descriptor_pool

from styleserve.callers import token_sha256
from styleserve.errors import ConfigurationError
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


async def eventually(ask, answer):
    """Ask until the answer comes."""
    deadline = time.monotonic() + 20
    while (found := await ask()) != answer:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


def test_every_method_of_the_contract_has_its_line():
    contract = descriptor_pool.Default()
    methods = {
        f"/{service.full_name}/{method.name}"
        for module in (style_transfer_pb2, style_catalog_pb2, server_info_pb2)
        for service in contract.FindFileByName(module.DESCRIPTOR.name).services_by_name.values()
        for method in service.methods
    }
    assert methods == {name for name in NEEDED if "styleserve" in name}
    assert all(NEEDED[name] for name in methods)


async def test_without_a_token_or_with_a_wrong_one_no_method_answers_and_none_of_the_request_is_received(tmp_path):
    async with guarded(tmp_path) as service:  # health was asked for without a token already
        for metadata in ((), shown("nobody's"), shown(""), (("authorization", "Basic editor's"),)):
            for method in (name for name, scopes in NEEDED.items() if scopes):
                call = service.channel.stream_stream(method)(metadata=metadata, timeout=10)  # nothing is ever sent
                assert await refused(call) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"), method


async def test_what_is_no_message_or_none_at_all_is_the_callers_fault(tmp_path, caplog):
    wrong = grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"
    async with guarded(tmp_path) as service:
        for method in NEEDED:
            metadata = CURATOR if "Admin" in method else EDITOR
            garbage = service.channel.stream_stream(method)(iter([b"\xff\xff"]), metadata=metadata, timeout=10)
            assert await refused(garbage) == wrong, method
            if "Reflection" not in method:  # whose callers may ask nothing
                silence = service.channel.stream_stream(method)(iter([]), metadata=metadata, timeout=10)
                assert await refused(silence) == wrong, method
    assert "incident" not in caplog.text


async def test_the_scheme_of_a_token_is_read_in_any_case(tmp_path):
    async with guarded(tmp_path) as service:
        for scheme in ("Bearer", "bearer", "BEARER"):
            metadata = (("authorization", f"{scheme} reader's"),)
            await service.catalog.ListStyles(style_catalog_pb2.ListStylesRequest(), metadata=metadata)


async def test_who_is_known_no_more_watches_no_more_and_its_job_ends_as_if_it_had_left(tmp_path):
    async with guarded(tmp_path, before_step=functools.partial(time.sleep, 0.01)) as service:
        start = style_transfer_pb2.StreamProgressRequest(start=request(10_000))
        watch = service.transfer.StreamProgress(start, metadata=EDITOR, timeout=20)
        job = (await anext(aiter(watch))).job
        (tmp_path / "callers.yaml").write_text(FILE.replace(token_sha256("editor's"), token_sha256("new")))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            [event async for event in watch]
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        read = style_transfer_pb2.StreamProgressRequest(job=job.name)
        events = [event async for event in service.transfer.StreamProgress(read, metadata=shown("new"), timeout=20)]
        assert events[-1].job.state == job_pb2.JOB_STATE_CANCELLED


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


async def test_bytes_of_a_request_that_joins_its_job_or_finds_no_place_do_not_count(tmp_path):
    asked = request(5000, request_id="7f3ce5a4-53a9-4f0c-b6a4-d60d0a0c2c0e", detached=True)
    other = request(5000, detached=True, labels={"other": "one"})
    quota = f"max_bytes_per_minute: {asked.ByteSize() + other.ByteSize()}B"
    text = FILE.replace("scopes: [stylize, read]", f"scopes: [stylize, read]\n    {quota}", 1)
    slowly = functools.partial(time.sleep, 0.02)
    async with guarded(tmp_path, text, before_step=slowly, max_queue=1, max_running=1) as service:
        names = {(await service.transfer.Stylize(asked, metadata=EDITOR)).job.name for _ in range(5)}
        assert len(names) == 1
        await service.transfer.Stylize(other, metadata=EDITOR)
        full = grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"
        for _ in range(3):
            assert await refused(service.transfer.Stylize(request(3), metadata=EDITOR)) == full


async def test_jobs_of_who_is_taken_out_of_the_file_keep_to_its_bounds_and_who_may_do_as_much_cancels_them(tmp_path):
    bounded = FILE.replace("scopes: [stylize, read]", "scopes: [stylize, read]\n    max_running: 1", 1)
    gone = bounded.replace("editor:", "another:").replace(token_sha256("editor's"), token_sha256("another's"))
    narrower = bounded.replace("max_running: 1", "max_running: 1\n    max_waiting: 1")

    async with guarded(tmp_path, bounded, before_step=functools.partial(time.sleep, 0.01)) as service:

        async def states():
            listed = await service.transfer.ListJobs(style_transfer_pb2.ListJobsRequest(), metadata=EDITOR)
            return [job.state for job in listed.jobs]

        async def is_known():
            try:
                return bool(await states())
            except grpc.aio.AioRpcError:
                return False

        long = request(10_000, detached=True)
        jobs = [(await service.transfer.Stylize(long, metadata=EDITOR)).job.name for _ in range(3)]
        path = tmp_path / "callers.yaml"
        path.write_text(gone)
        await eventually(is_known, False)
        await service.transfer.Stylize(request(), metadata=RIVAL)  # the engine chooses what runs, before and after it
        path.write_text(narrower)
        await eventually(is_known, True)
        assert sorted(await states()) == [job_pb2.JOB_STATE_QUEUED] * 2 + [job_pb2.JOB_STATE_RUNNING]
        assert (await refused(service.transfer.Stylize(long, metadata=EDITOR)))[1] == "QUOTA_EXCEEDED"
        for name in jobs:
            cancel = style_transfer_pb2.CancelJobRequest(name=name)
            assert (await refused(service.transfer.CancelJob(cancel, metadata=RIVAL)))[1] == "JOB_NOT_FOUND"
            await service.transfer.CancelJob(cancel, metadata=CURATOR)
        await eventually(states, [job_pb2.JOB_STATE_CANCELLED] * 3)


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


async def test_to_ask_whether_an_image_is_there_does_not_count_and_the_image_does(tmp_path):
    text = FILE.replace("scopes: [stylize, read]", "scopes: [stylize, read]\n    max_bytes_per_minute: 1000B", 1)
    async with guarded(tmp_path, text) as service:
        data = png(0.3, 40, 40)
        padded = data + b"\0" * (1000 - len(data))
        for _ in range(3):
            question = service.transfer.UploadImage(itertools.islice(upload(padded), 1), metadata=EDITOR)
            assert (await refused(question))[1] == "INVALID_REQUEST"
        await service.transfer.UploadImage(upload(padded), metadata=EDITOR)
        assert (await refused(service.transfer.UploadImage(upload(padded), metadata=EDITOR)))[1] == "QUOTA_EXCEEDED"


async def test_the_images_of_new_styles_are_counted_too(tmp_path):
    text = FILE.replace("scopes: [admin]", "scopes: [admin]\n    max_bytes_per_minute: 100B")
    async with guarded(tmp_path, text) as service:
        image = image_pb2.ImageSource(inline=png(0.3))
        for number, outcome in enumerate((None, "QUOTA_EXCEEDED")):
            style = style_catalog_pb2.CreateStyleRequest(
                style_id=f"new-{number}", style=style_catalog_pb2.Style(title="New"), image=image
            )
            call = service.admin.CreateStyle(style, metadata=CURATOR)
            if outcome is None:
                await call
            else:
                assert (await refused(call))[1] == outcome


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


async def test_the_log_warns_of_addresses_that_are_open_beyond_this_machine(tmp_path, caplog):
    def warnings():
        found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        caplog.clear()
        return found

    (tmp_path / "closed").mkdir()
    async with guarded(tmp_path / "closed", metrics="127.0.0.1:0"):
        assert not warnings()
    (tmp_path / "open").mkdir()
    async with guarded(tmp_path / "open", listen="0.0.0.0:0", insecure=True, metrics="[::]:0"):
        insecure, metrics = warnings()
    assert "0.0.0.0:0, in the clear" in insecure
    assert metrics == "not only this machine's programs may read the metrics at [::]:0"


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


async def is_trusted(service, by):
    """Whether a new connection comes about; `by` are the credentials that it is made with."""
    async with grpc.aio.secure_channel(service.address, by) as channel:
        try:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return True


async def test_a_certificate_that_changes_is_read_again_and_a_broken_one_changes_nothing(tmp_path, authority, caplog):
    settings = files(authority, tmp_path)
    del settings["tls_client_ca"]
    other = trustme.CA()
    async with guarded(tmp_path, credentials=credentials(authority), **settings) as service:

        async def trusted():
            return [await is_trusted(service, credentials(by)) for by in (authority, other)]

        assert await trusted() == [True, False]
        for broken in ("no key", "", None):
            files(other, tmp_path)
            assert await trusted() == [False, True]
            if broken is None:
                settings["tls_key"].unlink()
            else:
                settings["tls_key"].write_text(broken)
            caplog.clear()
            assert await trusted() == [False, True]
            complaints = [record for record in caplog.records if "stay as they were" in record.getMessage()]
            assert len(complaints) == 1, "however many connections come"
            files(authority, tmp_path)
            assert await trusted() == [True, False]


async def test_an_authority_of_callers_that_changes_is_read_again(tmp_path, authority):
    settings = files(authority, tmp_path)
    other = trustme.CA()
    old, new = (
        credentials(authority, by.issue_cert("pages.internal", common_name="pages.internal"))
        for by in (authority, other)
    )
    async with running(tmp_path, credentials=old, **settings) as service:
        assert [await is_trusted(service, by) for by in (old, new)] == [True, False]
        other.cert_pem.write_to_path(settings["tls_client_ca"])
        assert [await is_trusted(service, by) for by in (old, new)] == [False, True]
        settings["tls_client_ca"].write_bytes(b"")
        assert [await is_trusted(service, by) for by in (old, new)] == [False, True]


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


async def test_callers_by_certificates_alone_are_refused_at_the_start_where_none_are_asked_for(tmp_path):
    text = "callers: {pages: {certificates: [pages.internal], scopes: [read]}}"
    with pytest.raises(ConfigurationError, match="without tls_client_ca"):
        async with guarded(tmp_path, text):
            pass


async def test_a_certificate_without_a_common_name_is_told_as_such_where_no_tokens_are_read(tmp_path, authority):
    settings = files(authority, tmp_path)
    nameless = credentials(authority, authority.issue_cert("pages.internal"))
    listed = style_catalog_pb2.ListStylesRequest()
    async with running(tmp_path, credentials=nameless, **settings) as service:
        with pytest.raises(grpc.aio.AioRpcError, match="got a certificate without a common name; allowed: one with"):
            await service.catalog.ListStyles(listed, metadata=EDITOR)
    async with guarded(tmp_path, credentials=nameless, **settings) as service:
        await service.catalog.ListStyles(listed, metadata=EDITOR)
        with pytest.raises(grpc.aio.AioRpcError, match="got no token; send"):
            await service.catalog.ListStyles(listed)


async def test_no_certificate_inherits_what_was_everybodys(tmp_path, authority):
    async with running(tmp_path) as service:
        job = (await service.transfer.Stylize(request())).job
    client = authority.issue_cert("anonymous", common_name="anonymous")
    settings = files(authority, tmp_path)
    async with running(tmp_path, credentials=credentials(authority, client), **settings) as service:
        read = style_transfer_pb2.GetJobRequest(name=job.name)
        assert (await refused(service.transfer.GetJob(read)))[1] == "UNAUTHENTICATED"
