"""Seeds: sound inputs of each target, and unsound ones that are worth going on from."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
from PIL import ExifTags, Image, ImageCms

from fuzz.mutations import png_chunk
from fuzz.targets import BLOCKS, NETWORK
from styleserve.engine.checkpoints import Checkpoint, CheckpointFolder, Checkpoints
from styleserve.errors import DivergedError
from styleserve.evaluation import Losses
from styleserve.events import Progress
from styleserve.jobs.job import Job
from styleserve.jobs.records import Records
from styleserve.jobs.status import Provenance, StoredImage
from styleserve.jobs.store import JobStore
from styleserve.jobs.submission import ChosenStyle, Output, Submission
from styleserve.model.weights import kernel_shapes
from styleserve.optimizers import Snapshot
from styleserve.presets import PRESETS
from styleserve.recipes import Scale
from styleserve.v1 import image_pb2, recipe_pb2, style_transfer_pb2
from support.damage import CANVAS, DAMAGES

PHOTOGRAPH = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8))
_FORMATS = ("PNG", "JPEG", "WEBP")


def image_seeds(folder: Path) -> Iterator[bytes]:
    """Every mode and codec, profiles, EXIF, animations, odd depths."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + bytes(12) + profile[36:]  # without the time at which it was made
    for image_format in _FORMATS:
        yield _encoded(PHOTOGRAPH, image_format)
        yield _encoded(PHOTOGRAPH, image_format, exif=exif, icc_profile=profile)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield _encoded(PHOTOGRAPH.convert("I").convert(mode) if mode == "I;16" else PHOTOGRAPH.convert(mode), "PNG")
    yield _encoded(PHOTOGRAPH.convert("P"), "PNG", transparency=bytes(range(255)))
    yield _encoded(PHOTOGRAPH.convert("RGBA"), "WEBP", lossless=True)
    yield _encoded(PHOTOGRAPH.convert("CMYK"), "JPEG", icc_profile=profile)
    yield _encoded(PHOTOGRAPH, "JPEG", progressive=True)
    for image_format in ("PNG", "WEBP"):
        yield _encoded(PHOTOGRAPH, image_format, save_all=True, append_images=[PHOTOGRAPH] * 2, duration=50)
    yield _encoded(PHOTOGRAPH, "MPO", save_all=True, append_images=[PHOTOGRAPH])
    for depth, colour, size in ((16, 6, (20, 20)), (16, 4, (20, 20)), (2, 0, (900, 1000)), (8, 2, (50_000, 50_000))):
        yield _raw_png(depth, colour, *size)


def request_seeds(folder: Path) -> Iterator[bytes]:
    """A plain request, and one with everything set."""
    content = image_pb2.ImageSource(inline=_encoded(PHOTOGRAPH, "JPEG"))
    plain = style_transfer_pb2.StylizeRequest(content=content, styles=[recipe_pb2.StyleInput(style="styles/mosaic")])
    yield plain.SerializeToString()
    full = style_transfer_pb2.StylizeRequest(
        request_id="0b3c4c1e-7c2f-4a53-9a3e-6a0c8f6c0d11",
        job_id="job-1",
        content=content,
        styles=[
            recipe_pb2.StyleInput(style="styles/mosaic", weight=0.5, scale=2),
            recipe_pb2.StyleInput(image=content, weight=1e6),
        ],
        recipe=recipe_pb2.Recipe(preset="classic", optimizer=1, iterations=7, seed=2**62, init=2, color=3),
        output=image_pb2.OutputOptions(format=2, quality=80, max_side=64, max_inline_bytes=0),
        labels={"team": "mobile", "NUL\0": "\U0010ffff" * 255},
        priority=-10,
    )
    full.queue_timeout.seconds = 86_400
    full.run_timeout.nanos = 1
    yield full.SerializeToString(deterministic=True)


def call_seeds(folder: Path) -> Iterator[bytes]:
    """One for each call, after the byte that chooses it."""
    header = style_transfer_pb2.UploadImageRequest(header=style_transfer_pb2.UploadHeader(size_bytes=24))
    chunk = style_transfer_pb2.UploadImageRequest(chunk=_encoded(PHOTOGRAPH, "PNG")[:24])
    upload = b"".join(bytes([part.ByteSize()]) + part.SerializeToString() for part in (header, chunk))
    start = style_transfer_pb2.StreamProgressRequest(job="jobs/a")
    start.preview.max_side = 2**31 - 1
    start.preview.min_interval.seconds = -(2**63)
    bodies = (
        b"bW9zYWlj",
        b"MTIz",
        b"styles/mosaic@0",
        b"images/" + b"a" * 64,
        b"\x80\0\0\0",
        start.SerializeToString(),
    )
    yield from (bytes([number]) + body for number, body in enumerate((*bodies, upload)))


def style_seeds(folder: Path) -> Iterator[bytes]:
    """A sound style, and the ways of YAML to stand for more than it says."""
    yield (
        b"title: Dots\nartist: A\ndate: 1889\nlicense: CC0-1.0\ntags: [a, b]\nimage: dots.png\n"
        b"recipe: {preset: standard, iterations: 40, strength: 0.5, seed: 7}\n"
    )
    yield (
        b"title: Far\nimage:\n  url: https://example.org/x.jpg\n  sha256: "
        + b"a" * 64
        + b"\nrecipe:\n  weights: {style: 1e5}\n"
    )
    yield from _odd_yaml("title")


def config_seeds(folder: Path) -> Iterator[bytes]:
    """Every kind of setting, and the same ways of YAML."""
    yield b"listen: 127.0.0.1:50051\nmax_queue: 16\nstyles: [/]\ndrain_s: 1.5\nno_cache: true\ndata_dir: ~/x\n"
    yield b"memory_limit: 4GB\nretention_size: 1.5 GiB\nprecision: float32\nlog_format: json\nstyle_images: /\n"
    yield from _odd_yaml("listen")


def weights_seeds(folder: Path) -> Iterator[bytes]:
    """A small network as Keras writes it, plain and in compressed chunks."""
    for options in ({}, {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}):
        path = folder / "seed.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in kernel_shapes(BLOCKS)]
            for name, shape in kernel_shapes(BLOCKS).items():
                file.create_dataset(f"{name}/{name}/kernel:0", data=np.ones(shape, np.float32), **options)
                file.create_dataset(f"{name}/{name}/bias:0", data=np.zeros(shape[3], np.float32), **options)
        yield path.read_bytes()


def checkpoint_seeds(folder: Path) -> Iterator[bytes]:
    """A checkpoint, and all that was done to it elsewhere."""
    kept = CheckpointFolder(folder)
    snapshot = Snapshot({"canvas": CANVAS, "first_moment": -CANVAS}, {"moves": 3, "first_move": 0.02})
    scales = (Scale(2, 3, 7), Scale(4, 5, 9))
    checkpoint = Checkpoint("ab12", scales, 1, 9, 8, 13, 12.5, 2.25, 11.0, Losses(1.5e12, 1e12, 5e11, 0.0), snapshot)
    Checkpoints(kept, NETWORK).write("job-1", checkpoint)
    whole = kept.path("job-1").read_bytes()
    yield whole
    yield from (damage(whole) for damage in DAMAGES.values())


def record_seeds(folder: Path) -> Iterator[bytes]:
    """A job that waits, one that ended well, one that failed."""
    yield from (Records().write(job).encode() for job in _jobs())


def database_seeds(folder: Path) -> Iterator[bytes]:
    """A file of jobs, and an empty one."""
    for jobs in (_jobs(), []):
        path = folder / "seed.sqlite3"
        with contextlib.closing(JobStore(path, 60.0)) as store:
            for job in jobs:
                store.add(job)
        yield path.read_bytes()
        path.unlink()


SEEDS: Mapping[str, Callable[[Path], Iterator[bytes]]] = {
    "images": image_seeds,
    "requests": request_seeds,
    "calls": call_seeds,
    "styles": style_seeds,
    "configs": config_seeds,
    "weights": weights_seeds,
    "checkpoints": checkpoint_seeds,
    "records": record_seeds,
    "databases": database_seeds,
}


def _encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _raw_png(depth: int, colour: int, width: int, height: int) -> bytes:
    """A PNG of zeros with a depth and a colour type that Pillow does not write."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * depth + 7) // 8)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(row * min(height, 1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def _odd_yaml(key: str) -> Iterator[bytes]:
    for value in (
        b"&a [*a]", b"[" * 3000, b"9" * 5000, b"0x" + b"f" * 5000, b"2024-99-99", b"!!int x", b"!!binary x",
        b".nan", b".inf", b"!!python/name:os.system", b'"a\\0b"', b'"\\ud800"', b"{1: {2: 3}}", b"? [a]\n: b",
        b"|\n  text\n", b"\0", b"\xff", b"1:30:30", b"~", b"''", b"{<<: {a: b}}", b"!!set {a}", b"!!omap [a: b]",
        b"- a\n- b",
    ):  # fmt: skip
        yield key.encode() + b": " + value + b"\n"


def _jobs() -> list[Job]:
    """Three jobs, as they stand in a store."""
    submission = Submission(
        content_digest="c" * 64,
        styles=(ChosenStyle("a" * 64, "styles/a@1", True, 1.0, 1.0),),
        recipe=PRESETS["standard"],
        output=Output(24, 32),
        fingerprint="f" * 64,
        request_id="r-1",
        deadline=12345.5,
        labels={"team": "mobile"},
    )
    jobs = [Job.admit(f"job-{number}", number, submission, retention_s=60.0) for number in (1, 2, 3)]
    progress = Progress(3, 10, 4, Losses(1.5, 0.5, 1.0, 0.0), 8, 6, 1.0, 2.0)
    provenance = Provenance("0.1", "toy", "cpu", "float32", "{}", ("styles/a@1",), 7)
    jobs[1].succeed(StoredImage("d" * 64, "image/png", 32, 24, 999), progress, "completed", provenance)
    jobs[2].fail(DivergedError(7, "{}"), provenance)
    return jobs
