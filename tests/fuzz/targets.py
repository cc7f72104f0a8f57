"""Targets: functions of bytes that return nothing and raise nothing, but where the service is at fault.

Each is one of the service's readers with whatever comes after it. The errors that a reader may raise are caught here
and their messages held to what may be said; anything else is a finding.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from fuzz.messages import check_for_caller, check_for_operator, check_text_for_operator
from fuzz.stores import read_database, read_record
from styleserve import config, images
from styleserve.catalog.created import CreatedStyles
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.reader import read_folder
from styleserve.catalog.style import Catalog
from styleserve.catalog.style_images import StyleImages
from styleserve.decoding import Decoder
from styleserve.engine.checkpoints import CheckpointFolder, Checkpoints
from styleserve.errors import ConfigurationError, InvalidImageError, RequestError, WeightsError, violation
from styleserve.images import ImageLimits
from styleserve.jobs import timing
from styleserve.jobs.image_store import ImageStore
from styleserve.jobs.job import Job
from styleserve.jobs.passage import way_out
from styleserve.jobs.records import Records
from styleserve.model.weights import load_file
from styleserve.recipes import plan_scales
from styleserve.rpc import responses, uploads
from styleserve.rpc.inspections import Inspections
from styleserve.rpc.paging import decode_token, page_size
from styleserve.rpc.requests import RequestReader, fingerprint, read_preview
from styleserve.v1 import style_transfer_pb2
from support.toy import TOY_COSTS

Target: TypeAlias = Callable[[bytes], None]

#: Smaller than the server's, so that an input is decoded in milliseconds.
LIMITS = ImageLimits(max_bytes=2**20, max_pixels=1_000_000)
#: Weights of a network that is a file of some kilobytes.
BLOCKS = ((1, 4), (2, 8))
NETWORK = "network float32"


def image_target(folder: Path) -> Target:
    """Encoded images: what measuring accepts decoding makes, with the same size, at any size."""

    def read(data: bytes) -> None:
        try:
            size = images.measure(data, LIMITS)
        except InvalidImageError as error:
            _check_image_error(error)
            with contextlib.suppress(InvalidImageError):
                images.decode(data, LIMITS)
            return
        for fit_side in (None, 32):
            picture = images.decode(data, LIMITS, fit_side)
            assert picture.pixels.shape[:2] == images.fitted_size(*size, fit_side or max(size))
            for values in (picture.pixels, picture.alpha):
                assert values is None or (values.dtype == np.float32 and 0 <= values.min() <= values.max() <= 1)

    return read


def request_target(folder: Path) -> Target:
    """Requests for pictures: read, resolved, planned, kept and told, or refused for all that is wrong."""
    reader = _request_reader(folder)
    records = Records()

    def read(data: bytes) -> None:
        try:
            request = style_transfer_pb2.StylizeRequest.FromString(data)
            submission = asyncio.run(reader.read(request, "fuzz", fingerprint(request), deadline=None))
        except DecodeError:
            return  # gRPC's own refusal
        except RequestError as error:
            check_for_caller(error)
            return
        plan_scales(submission.recipe, submission.output.height, submission.output.width)
        timing.available_s(submission, way_out())
        timing.left_s(submission, way_out())
        timing.predict(submission, TOY_COSTS)
        timing.least_s(submission, TOY_COSTS)
        job = Job.admit("job-1", 1, submission, retention_s=60.0)
        kept = records.read(records.write(job), 60.0)
        assert kept.submission == submission
        responses.job(kept.status).SerializeToString()

    return read


def call_target(folder: Path) -> Target:
    """The other calls: names, tokens of pages, previews, and uploads; the first byte chooses."""
    reader, store = _request_reader(folder), ImageStore(folder / "images").shelf("fuzz")
    calls: tuple[Target, ...] = (
        lambda data: decode_token(_text(data), str) and None,
        lambda data: decode_token(_text(data), int) and None,
        lambda data: reader.catalogs.catalog.find(_text(data)) and None,
        lambda data: store.path(_text(data)) and None,
        lambda data: page_size(int.from_bytes(data[:4], signed=True), 50) and None,
        lambda data: read_preview(style_transfer_pb2.StreamProgressRequest.FromString(data).preview) and None,
        lambda data: asyncio.run(_upload(data, store)),
    )

    def read(data: bytes) -> None:
        try:
            calls[data[0] % len(calls)](data[1:]) if data else None
        except (DecodeError, UnicodeDecodeError):
            return  # gRPC's own refusal
        except RequestError as error:
            check_for_caller(error)

    return read


def style_target(folder: Path) -> Target:
    """Files of styles, beside an image."""
    styles = folder / "styles"
    styles.mkdir()
    (styles / "dots.png").write_bytes(images.encode(images.Picture(images.noise(20, 20, 0)), "png").data)

    def read(data: bytes) -> None:
        (styles / "dots.yaml").write_bytes(data)
        reading = read_folder(styles, "mine")
        assert len(reading.problems) < 100
        for problem in reading.problems:
            check_text_for_operator(str(problem))
        for style in reading.styles:
            assert style.versioned_name
            responses.style(style, targets_ready=False).SerializeToString()

    return read


def config_target(folder: Path) -> Target:
    """Files of settings."""
    path = folder / "server.yaml"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        _configure(lambda: config.read_file(path))

    return read


def weights_target(folder: Path) -> Target:
    """Files of weights: what is accepted is a network of finite numbers."""
    path = folder / "weights.h5"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            weights = load_file(path, BLOCKS)
        except WeightsError as error:
            check_for_operator(error)
            return
        for array in (*weights.kernels.values(), *weights.biases.values()):
            assert np.abs(array).max() <= 1000

    return read


def checkpoint_target(folder: Path) -> Target:
    """Checkpoints: one is read or none is, and pickles never are."""
    kept = CheckpointFolder(folder)
    checkpoints = Checkpoints(kept, NETWORK)

    def read(data: bytes) -> None:
        kept.path("job-1").write_bytes(data)
        checkpoint = checkpoints.read("job-1")
        if checkpoint is not None:
            for array in checkpoint.snapshot.arrays.values():
                assert array.shape == (checkpoint.scale.height, checkpoint.scale.width, 3)

    return read


def record_target(folder: Path) -> Target:
    """Records of jobs: one that is read can be told and kept again."""
    return lambda data: read_record(data)


def database_target(folder: Path) -> Target:
    """Files of jobs: the store opens with what can be read, or explains why it does not."""

    def read(data: bytes) -> None:
        for path in folder.iterdir():
            path.unlink()
        (folder / "jobs.sqlite3").write_bytes(data)
        _configure(lambda: read_database(folder / "jobs.sqlite3"))

    return read


TARGETS: Mapping[str, Callable[[Path], Target]] = {
    "images": image_target,
    "requests": request_target,
    "calls": call_target,
    "styles": style_target,
    "configs": config_target,
    "weights": weights_target,
    "checkpoints": checkpoint_target,
    "records": record_target,
    "databases": database_target,
}


def _request_reader(folder: Path) -> RequestReader:
    decoder = Decoder(LIMITS)
    return RequestReader(
        catalogs=CatalogKeeper([], CreatedStyles(folder / "created"), _forget_it),
        style_images=StyleImages(folder / "cache", decoder),
        image_store=ImageStore(folder / "images"),
        decoder=decoder,
        inspections=Inspections(),
        max_side=1024,
        max_iterations=10_000,
    )


def _forget_it(catalog: Catalog) -> None:
    """Nobody is told of another catalogue."""


def _configure(read: Callable[[], object]) -> None:
    try:
        read()
    except ConfigurationError as error:
        check_for_operator(error)


def _check_image_error(error: InvalidImageError) -> None:
    """An image's error becomes a violation of a request."""
    check_for_caller(violation("content", error.description, error.reason))


def _text(data: bytes) -> str:
    """A field of text, as protobuf reads one."""
    return data.decode("utf-8")


async def _upload(data: bytes, store: ImageStore) -> None:
    """What UploadImage does with messages, each after a byte that says its length."""

    async def messages() -> AsyncIterator[style_transfer_pb2.UploadImageRequest]:
        position = 0
        while position < len(data):
            end = position + 1 + data[position]
            yield style_transfer_pb2.UploadImageRequest.FromString(data[position + 1 : end])
            position = end

    requests = messages()
    header = await uploads.read_header(requests, LIMITS)
    with store.receive() as incoming:
        async for request in requests:
            uploads.check_chunk(request, incoming, header)
            incoming.write(request.chunk)
        uploads.check_whole(incoming, header)
