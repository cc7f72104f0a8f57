"""StyleTransferService: pictures, their progress, and the images that go in and out in chunks."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator

from styleserve import logs
from styleserve.callers import Caller
from styleserve.errors import ImageNotFoundError, JobCancelledError, violation
from styleserve.images import ImageLimits
from styleserve.jobs.image_store import PREFIX as IMAGE_PREFIX
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.job import Job
from styleserve.jobs.jobs import Jobs
from styleserve.jobs.status import StoredImage
from styleserve.rpc import responses, uploads
from styleserve.rpc.access import calling, require
from styleserve.rpc.enums import STATES
from styleserve.rpc.handlers import Context
from styleserve.rpc.held import HeldRequests, HeldResults
from styleserve.rpc.paging import decode_token, encode_token, fill_page, page_size
from styleserve.rpc.requests import RequestReader, canonical_request_id, fingerprint, read_preview
from styleserve.rpc.shares import Shares
from styleserve.rpc.threads import Threads
from styleserve.v1 import image_pb2, style_transfer_pb2, style_transfer_pb2_grpc

CHUNK_BYTES = 1024 * 1024
_DEFAULT_PAGE = 50
_NUM_DISK_THREADS = 4
_RETRY_S = 1.0


class StyleTransferServicer(style_transfer_pb2_grpc.StyleTransferServiceServicer):
    """Answers from `jobs` and `image_store`, each caller with what is its own.

    Errors are ours and become statuses in the interceptor.
    """

    def __init__(self, jobs: Jobs, image_store: ImageStore, reader: RequestReader, limits: ImageLimits) -> None:
        self._jobs = jobs
        self._image_store = image_store
        self._reader = reader
        self._limits = limits
        self._disk = Threads("disk", _NUM_DISK_THREADS)
        self._uploads, self._downloads = (
            Shares(f"{kind} at once", uploads.MOST_OF_CALLER, uploads.MOST_OF_ALL, _RETRY_S)
            for kind in ("uploads", "downloads")
        )
        self._held = HeldRequests()
        self._held_results = HeldResults()

    async def Stylize(
        self, request: style_transfer_pb2.StylizeRequest, context: Context
    ) -> style_transfer_pb2.StylizeResponse:
        """Start or join a job, and wait for its picture unless told not to."""
        with self._held.one_more(calling().name, request.ByteSize()):
            job = await self._admit(request, context)
            if request.detached:
                return style_transfer_pb2.StylizeResponse(job=responses.job(job.status))
            with self._jobs.attended(job):
                await job.feed.ended()
        status = job.status
        if status.error is not None:
            raise status.error.afresh()
        if status.result is None:
            raise JobCancelledError(status.name)
        return style_transfer_pb2.StylizeResponse(
            job=responses.job(status),
            result=await self._result(job, status.result, context),
        )

    async def StreamProgress(
        self, request: style_transfer_pb2.StreamProgressRequest, context: Context
    ) -> AsyncIterator[style_transfer_pb2.StreamProgressResponse]:
        """Start a job or find one, and tell what happens to it."""
        with self._held.one_more(calling().name, request.ByteSize()):
            job = await self._target(request, context)
            wish = read_preview(request.preview) if request.HasField("preview") else None
            with self._jobs.attended(job, wish):
                watch = job.feed.watch(max(0, request.after_sequence), wish, observer=job.observer)
                async with contextlib.aclosing(watch) as updates:
                    async for update in updates:
                        if not isinstance(update.content, StoredImage):
                            yield responses.update(update.sequence, update.content)
                        elif request.include_result:
                            result = await self._result(job, update.content, context)
                            yield style_transfer_pb2.StreamProgressResponse(sequence=update.sequence, result=result)

    async def GetJob(
        self, request: style_transfer_pb2.GetJobRequest, context: Context
    ) -> style_transfer_pb2.GetJobResponse:
        """Read a job."""
        return style_transfer_pb2.GetJobResponse(job=responses.job(self._find(request.name).status))

    async def ListJobs(
        self, request: style_transfer_pb2.ListJobsRequest, context: Context
    ) -> style_transfer_pb2.ListJobsResponse:
        """List jobs, the newest first."""
        size = page_size(request.page_size, _DEFAULT_PAGE)
        names = {number: name for name, number in STATES.items()}
        unknown = [state for state in request.states if state not in names]
        if unknown:
            allowed = ", ".join(str(number) for number in names)
            raise violation("states", f"got {unknown[0]}; allowed: {allowed}", "UNKNOWN_VALUE")
        before = decode_token(request.page_token, int)
        jobs = self._jobs.list(calling().name, {names[state] for state in request.states}, before, size + 1)
        page = fill_page((responses.job(job.status) for job in jobs), size)
        return style_transfer_pb2.ListJobsResponse(
            jobs=page,
            next_page_token=encode_token(str(jobs[len(page) - 1].number)) if len(page) < len(jobs) else "",
        )

    async def CancelJob(
        self, request: style_transfer_pb2.CancelJobRequest, context: Context
    ) -> style_transfer_pb2.CancelJobResponse:
        """Ask a job to stop; a caller who may do as much, anybody's."""
        caller = calling()
        job = self._jobs.find(request.name, None if "admin" in caller.scopes else caller.name)
        self._jobs.cancel(job)
        return style_transfer_pb2.CancelJobResponse(job=responses.job(job.status))

    async def GetJobLog(
        self, request: style_transfer_pb2.GetJobLogRequest, context: Context
    ) -> style_transfer_pb2.GetJobLogResponse:
        """Read what happened to a job."""
        lines = self._find(request.name).journal.lines
        return style_transfer_pb2.GetJobLogResponse(lines=[responses.log_line(line) for line in lines])

    async def UploadImage(
        self, request_iterator: AsyncIterator[style_transfer_pb2.UploadImageRequest], context: Context
    ) -> style_transfer_pb2.UploadImageResponse:
        """Store an image that comes in chunks; one that is there already is answered at once."""
        caller = calling()
        with self._uploads.taken(caller.name):
            digest = await self._receive(uploads.arriving(request_iterator), caller)
        return style_transfer_pb2.UploadImageResponse(image=IMAGE_PREFIX + digest)

    async def DownloadImage(
        self, request: style_transfer_pb2.DownloadImageRequest, context: Context
    ) -> AsyncIterator[style_transfer_pb2.DownloadImageResponse]:
        """Send an image from an offset in chunks; between them no file is open, since a reader may take any time."""
        caller = calling().name
        shelf, offset = self._image_store.shelf(caller), request.offset
        with self._downloads.taken(caller):
            size = await self._disk.do(shelf.num_bytes, request.image)
            if not 0 <= offset <= size:
                raise violation("offset", f"got {offset}; allowed: 0 to {size}", "OUT_OF_RANGE")
            while chunk := await self._disk.do(shelf.read_part, request.image, offset, CHUNK_BYTES):
                yield style_transfer_pb2.DownloadImageResponse(offset=offset, chunk=chunk)
                offset += len(chunk)

    async def _receive(self, parts: AsyncIterator[style_transfer_pb2.UploadImageRequest], caller: Caller) -> str:
        """Keep the image that comes; returns its digest."""
        header = await uploads.read_header(parts, self._limits)
        shelf = self._image_store.shelf(caller.name)
        if header.sha256 and shelf.has(header.sha256):
            return header.sha256
        with shelf.receive() as incoming:
            async for request in parts:
                uploads.check_chunk(request, incoming, header)
                if incoming.num_bytes == 0:  # a header alone asks whether the image is here, and costs nothing
                    self._jobs.charge(caller, header.size_bytes)
                await self._disk.do(incoming.write, request.chunk)
            uploads.check_whole(incoming, header)
            return await self._disk.do(incoming.keep)

    async def _admit(self, request: style_transfer_pb2.StylizeRequest, context: Context) -> Job:
        """Join the job of the same request, or read the request and start one."""
        deadline = _deadline(context)
        caller = calling()
        require(caller, "stylize")
        request_id = canonical_request_id(request)
        same = await asyncio.to_thread(fingerprint, request)
        job = self._jobs.joined(caller.name, request_id, same)
        if job is not None:
            return job
        self._jobs.check_open(caller.name, request_id, same)
        self._jobs.charge(caller, request.ByteSize())
        submission = await self._reader.read(request, caller.name, same, deadline)
        return self._jobs.submit(dataclasses.replace(submission, trace=logs.call_trace.get()))

    async def _target(self, request: style_transfer_pb2.StreamProgressRequest, context: Context) -> Job:
        match request.WhichOneof("target"):
            case "job":
                return self._find(request.job)
            case "start":
                return await self._admit(request.start, context)
            case _:
                raise violation("target", "got nothing to watch; set `job` or `start`", "REQUIRED")

    def _find(self, name: str) -> Job:
        return self._jobs.find(name, calling().name)

    async def _result(self, job: Job, image: StoredImage, context: Context) -> image_pb2.ImageResult:
        """The result, inline when it is small enough and there is room for it."""
        max_inline_bytes, shelf = job.submission.output.max_inline_bytes, self._image_store.shelf(job.submission.caller)
        if image.num_bytes > max_inline_bytes or not self._held_results.take(image.num_bytes, context):
            return responses.stored_image(image)
        try:
            return responses.stored_image(image, await asyncio.to_thread(shelf.read, image.digest))
        except ImageNotFoundError:
            return responses.stored_image(image)


def _deadline(context: Context) -> float | None:
    """The call's deadline as a reading of `time.monotonic()`; reading the request takes of the time until then."""
    remaining_s = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s
