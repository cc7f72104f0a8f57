"""Client: StyleServe for ordinary code."""

import contextlib
import re
import time
from collections.abc import Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from styleserve.v1 import (
    job_pb2,
    server_info_pb2,
    server_info_pb2_grpc,
    style_catalog_pb2,
    style_catalog_pb2_grpc,
    style_transfer_pb2,
    style_transfer_pb2_grpc,
)
from styleserve_client import flows, requests
from styleserve_client.errors import from_call, raise_for
from styleserve_client.events import Event, ResultReady
from styleserve_client.picture import Picture
from styleserve_client.requests import ImageLike, JobLike, Previews, StyleLike, StyleOptions, StylizeOptions

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 30.0

#: A server that comes back is found before `flows` has made its last attempt; gRPC alone waits up to two minutes.
_MOST_BETWEEN_CONNECTIONS_MS = 5_000
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", _MOST_BETWEEN_CONNECTIONS_MS),
)
_THIS_MACHINE = re.compile(r"(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?")


def channel_options(address: str) -> tuple[tuple[str, int], ...]:
    """The options of a channel to the address.

    A proxy of the environment is not asked for this machine's own addresses, which are its own to it too.
    """
    return (*_OPTIONS, ("grpc.enable_http_proxy", 0)) if _THIS_MACHINE.fullmatch(address) else _OPTIONS


class Client:
    """Calls one server; a context manager, safe to be used from several threads.

    Errors are those of `styleserve_client.errors`. Calls are tried again when that cannot do anything twice. Without
    `credentials` the connection is in the clear. `token` shows a server that asks for it who calls.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
    ) -> None:
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=channel_options(address))
        else:
            self._channel = grpc.secure_channel(address, credentials, options=channel_options(address))
        self._stubs: dict[str, Any] = {
            "transfer": style_transfer_pb2_grpc.StyleTransferServiceStub(self._channel),
            "catalog": style_catalog_pb2_grpc.StyleCatalogServiceStub(self._channel),
            "admin": style_catalog_pb2_grpc.StyleAdminServiceStub(self._channel),
            "info": server_info_pb2_grpc.ServerInfoServiceStub(self._channel),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def stylize(
        self,
        content: ImageLike,
        style: StyleLike | Sequence[StyleLike],
        *,
        timeout_s: float | None = None,
        **options: Unpack[StylizeOptions],
    ) -> Picture:
        """Make a picture and wait for it; at `timeout_s` the best canvas so far comes back."""
        picture: Picture = self._run(flows.stylize(requests.build(content, style, options), timeout_s))
        return picture

    def submit(
        self, content: ImageLike, style: StyleLike | Sequence[StyleLike], **options: Unpack[StylizeOptions]
    ) -> job_pb2.Job:
        """Start a job that runs on its own; `attach` watches it, `result` fetches its picture."""
        job: job_pb2.Job = self._run(flows.submit(requests.build(content, style, options)))
        return job

    def stream(
        self,
        content: ImageLike,
        style: StyleLike | Sequence[StyleLike],
        *,
        previews: Previews | None = None,
        timeout_s: float | None = None,
        **options: Unpack[StylizeOptions],
    ) -> Generator[Event, None, None]:
        """Start a job and yield what happens to it, the picture included; leaving the loop early cancels it.

        A job that fails or is cancelled ends the loop as one that succeeds does: its last JobChanged says which, and
        `raise_for` raises that. One that was cancelled only because the connection broke is made anew, under another
        name, and the loop goes on. `timeout_s` counts from this call on.
        """
        request = style_transfer_pb2.StreamProgressRequest(start=requests.build(content, style, options))
        watch = flows.Watch(request, timeout_s)
        self._run(watch.prepare())
        return self._watch(watch, previews)

    def attach(
        self, job: JobLike, *, after_sequence: int = 0, previews: Previews | None = None, timeout_s: float | None = None
    ) -> Generator[Event, None, None]:
        """Watch a job that exists, from the event after `after_sequence` on.

        It ends as `stream` does, also when the job fails or is cancelled, and its `timeout_s` counts in the same way.
        """
        request = style_transfer_pb2.StreamProgressRequest(job=requests.job_name(job), after_sequence=after_sequence)
        return self._watch(flows.Watch(request, timeout_s), previews)

    def result(self, job: JobLike) -> Picture:
        """The picture of a job that succeeded; waits for one that has not ended, and raises what ended it otherwise."""
        final = self.job(job)
        if final.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING):
            for event in self.attach(job):
                if isinstance(event, ResultReady):
                    return event.picture
            final = self.job(job)
        raise_for(final)
        picture: Picture = self._run(flows.finish(final.result, final))
        return picture

    def upload(self, image: ImageLike) -> str:
        """Store an image on the server; returns `images/{sha256}`."""
        name: str = self._run(flows.upload(requests.read_image(image)))
        return name

    def download(self, image: str) -> bytes:
        """The bytes of an image on the server."""
        data: bytes = self._run(flows.download(image))
        return data

    def job(self, job: JobLike) -> job_pb2.Job:
        """Read a job, as it is by now."""
        request = style_transfer_pb2.GetJobRequest(name=requests.job_name(job))
        response: style_transfer_pb2.GetJobResponse = self._call("transfer", "GetJob", request)
        return response.job

    def jobs(self, states: Sequence[job_pb2.JobState.ValueType] = ()) -> Iterator[job_pb2.Job]:
        """All jobs in one of `states` (any, when empty), the newest first."""
        request = style_transfer_pb2.ListJobsRequest(states=states)
        while True:
            response: style_transfer_pb2.ListJobsResponse = self._call("transfer", "ListJobs", request)
            yield from response.jobs
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    def job_log(self, job: JobLike) -> Sequence[job_pb2.LogLine]:
        """What happened to a job, in words, the oldest line first."""
        request = style_transfer_pb2.GetJobLogRequest(name=requests.job_name(job))
        response: style_transfer_pb2.GetJobLogResponse = self._call("transfer", "GetJobLog", request)
        return response.lines

    def cancel(self, job: JobLike) -> job_pb2.Job:
        """Ask a job to stop; returns it as it is right after."""
        request = style_transfer_pb2.CancelJobRequest(name=requests.job_name(job))
        response: style_transfer_pb2.CancelJobResponse = self._call("transfer", "CancelJob", request)
        return response.job

    def style(self, name: str) -> style_catalog_pb2.Style:
        """Read a style, with a thumbnail once its image is at hand."""
        request = style_catalog_pb2.GetStyleRequest(name=requests.resource_name("styles", name))
        response: style_catalog_pb2.GetStyleResponse = self._call("catalog", "GetStyle", request)
        return response.style

    def styles(self) -> Iterator[style_catalog_pb2.Style]:
        """All styles, by name."""
        request = style_catalog_pb2.ListStylesRequest()
        while True:
            response: style_catalog_pb2.ListStylesResponse = self._call("catalog", "ListStyles", request)
            yield from response.styles
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    def create_style(
        self, style_id: str, image: ImageLike, *, title: str, **options: Unpack[StyleOptions]
    ) -> style_catalog_pb2.Style:
        """Add a style to the catalogue for good; needs the right of an administrator.

        Unlike other calls it is not tried again, since a lost answer may be that of a style that is there by now.
        """
        request = requests.build_style(style_id, image, title, options)
        style: style_catalog_pb2.Style = self._run(flows.create_style(request, DEFAULT_TIMEOUT_S))
        return style

    def delete_style(self, name: str) -> None:
        """Remove a style that was created; needs the right of an administrator, and is not tried again."""
        request = style_catalog_pb2.DeleteStyleRequest(name=requests.resource_name("styles", name))
        self._run(flows.call_once("admin", "DeleteStyle", request, DEFAULT_TIMEOUT_S))

    def reload_catalog(self, *, validate_only: bool = False) -> style_catalog_pb2.ReloadCatalogResponse:
        """Have the server read its folders and packs of styles again, or only say what that would change.

        Raises CatalogInvalidError with every problem; the catalogue stays as it was then. Needs the right of an
        administrator.
        """
        request = style_catalog_pb2.ReloadCatalogRequest(validate_only=validate_only)
        response: style_catalog_pb2.ReloadCatalogResponse = self._call("admin", "ReloadCatalog", request)
        return response

    def info(self) -> server_info_pb2.GetServerInfoResponse:
        """The server's limits and abilities."""
        response: server_info_pb2.GetServerInfoResponse = self._call(
            "info", "GetServerInfo", server_info_pb2.GetServerInfoRequest()
        )
        return response

    def _call(self, service: str, method: str, request: object) -> Any:
        return self._run(flows.call(service, method, request, DEFAULT_TIMEOUT_S))

    def _watch(self, watch: flows.Watch, previews: Previews | None) -> Generator[Event, None, None]:
        if previews is not None:
            watch.request.preview.CopyFrom(requests.preview_options(previews))
        stream = self._stubs["transfer"].StreamProgress
        while True:
            call = stream(watch.request, timeout=watch.timeout_s, metadata=self._metadata)
            try:
                for message in call:
                    yield from self._run(watch.receive(message))
            except grpc.RpcError as error:
                time.sleep(watch.recover(from_call(error)))
            else:
                return
            finally:
                call.cancel()

    def _run(self, flow: flows.Flow) -> Any:
        """Perform a flow's operations until it returns."""
        with contextlib.closing(flow):
            try:
                operation = next(flow)
                while True:
                    try:
                        reply = self._perform(operation)
                    except grpc.RpcError as error:
                        operation = flow.throw(from_call(error))
                    else:
                        operation = flow.send(reply)
            except StopIteration as end:
                return end.value

    def _perform(self, operation: flows.Operation) -> Any:
        transfer = self._stubs["transfer"]
        match operation:
            case flows.Call():
                method = getattr(self._stubs[operation.service], operation.method)
                return method(operation.request, timeout=operation.timeout_s, metadata=self._metadata)
            case flows.Upload():
                parts = requests.upload_parts(operation.data, operation.num_bytes, operation.sha256)
                return transfer.UploadImage(parts, timeout=operation.timeout_s, metadata=self._metadata)
            case flows.Download():
                request = style_transfer_pb2.DownloadImageRequest(image=operation.image, offset=len(operation.received))
                for part in transfer.DownloadImage(request, timeout=operation.timeout_s, metadata=self._metadata):
                    operation.received.extend(part.chunk)
                return None
            case flows.Sleep():
                time.sleep(operation.seconds)
                return None
