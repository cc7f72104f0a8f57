"""Requests: what a caller writes becomes a message. Nothing here does any input or output but reading files."""

import difflib
import io
import operator
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict

from google.protobuf import duration_pb2
from PIL import Image, ImageCms, ImageOps

from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_catalog_pb2, style_transfer_pb2

#: An image: a path, encoded bytes, or a PIL image of any mode, which is sent upright as PNG.
ImageLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image

#: A job: its name, with or without `jobs/`, or the `Job` that `submit` and others return.
JobLike: TypeAlias = str | job_pb2.Job

#: Images above this many bytes are uploaded in chunks before the call.
MAX_INLINE_BYTES = 3_000_000
#: Small enough to arrive as a whole within the pause that a server allows, also at the least rate that it allows.
CHUNK_BYTES = 256 * 1024
_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1
#: The most that the contract's fields hold of whole numbers, and of seconds.
_HELD: Mapping[str, int] = MappingProxyType(
    {
        "iterations": _INT32_MAX,
        "seed": _INT64_MAX,
        "max_side": _INT32_MAX,
        "quality": _INT32_MAX,
        "priority": _INT32_MAX,
    }
)
_MAX_SECONDS = 315_576_000_000
#: PIL's modes that PNG has, and what becomes of others that are not best sent as RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_SUBSTITUTES: Mapping[str, str] = MappingProxyType({"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "F": "L"})


class Enum(Protocol):
    """An enum of the contract."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Its names and numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Style:
    """One style of a blend: a catalogue name (`mosaic` or `styles/mosaic@version`) or an image of one's own.

    `weight` is its share above 0, shares being normalised to sum to 1; `scale` the size of its texture, 0.1 to 10.
    """

    source: str | os.PathLike[str] | bytes | Image.Image
    weight: float = 1.0
    scale: float = 1.0


#: A style: a catalogue name as text; an image of one's own as a Path, bytes or a PIL image; or a `Style` with a weight.
StyleLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | Style


@dataclass(frozen=True, slots=True)
class Previews:
    """Which previews to send: at most `max_side` pixels, `interval_s` apart; 512 and 0.5 s are the server's limits."""

    max_side: int = 256
    interval_s: float = 1.0


class RecipeOptions(TypedDict, total=False):
    """How a picture is made; `strength` goes from 0 (content) to 1 (style).

    `preset` is `standard`, `draft`, `fine`, `classic` or `paper`.
    """

    preset: str
    optimizer: Literal["adam", "lbfgs", "lbfgsb"]
    iterations: int
    strength: float
    content_weight: float
    style_weight: float
    total_variation_weight: float
    init: Literal["content", "noise"]
    color: Literal["style", "content_luminance", "content_matched"]
    seed: int


class StyleOptions(RecipeOptions, total=False):
    """Everything optional about a style of the catalogue: where its image comes from, and what it sets of a recipe.

    `license` is an SPDX identifier or `public-domain`.
    """

    artist: str
    date: str
    source: str
    license: str
    tags: Sequence[str]


class StylizeOptions(RecipeOptions, total=False):
    """Everything optional about a picture; what is left out is the server's, the preset's or the style's to say.

    `max_side` is the longest side in pixels. `fails_at_deadline` makes a job fail when its time is up, which returns
    the best canvas otherwise. `outlives_caller` lets the job run on when the connection is lost.
    """

    max_side: int
    image_format: Literal["png", "jpeg", "webp"]
    quality: int
    omit_provenance: bool
    job_id: str
    priority: int
    labels: Mapping[str, str]
    queue_timeout_s: float
    run_timeout_s: float
    fails_at_deadline: bool
    outlives_caller: bool


def read_image(image: ImageLike) -> bytes:
    """The encoded bytes of an image."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        _writable(image).save(buffer, "PNG")
        return buffer.getvalue()
    return Path(image).read_bytes()


def build(
    content: ImageLike, styles: StyleLike | Sequence[StyleLike], options: StylizeOptions
) -> style_transfer_pb2.StylizeRequest:
    """The request, with a fresh request ID, by which it can be sent again without being done twice.

    Raises TypeError for an option that does not exist, and ValueError for a name that its enum does not have or a
    number that its field does not hold; whatever else may be wrong is for the server to say.
    """
    _check_options(options, StylizeOptions)
    chosen = [styles] if isinstance(styles, str | bytes | os.PathLike | Image.Image | Style) else list(styles)
    request = style_transfer_pb2.StylizeRequest(
        content=image_pb2.ImageSource(inline=read_image(content)),
        styles=[_style(style) for style in chosen],
        recipe=_recipe(options),
        output=image_pb2.OutputOptions(
            max_side=options.get("max_side", 0),
            format=_number(image_pb2.ImageFormat, "IMAGE_FORMAT", options.get("image_format")),
            quality=options.get("quality", 0),
            omit_provenance=options.get("omit_provenance", False),
        ),
        request_id=str(uuid.uuid4()),
        job_id=options.get("job_id", ""),
        priority=options.get("priority", 0),
        labels=options.get("labels", {}),
    )
    if "queue_timeout_s" in options:
        request.queue_timeout.CopyFrom(_duration("queue_timeout_s", options["queue_timeout_s"]))
    if "run_timeout_s" in options:
        request.run_timeout.CopyFrom(_duration("run_timeout_s", options["run_timeout_s"]))
    if options.get("fails_at_deadline"):
        request.deadline_policy = style_transfer_pb2.DEADLINE_POLICY_FAIL
    if options.get("outlives_caller"):
        request.orphan_policy = style_transfer_pb2.ORPHAN_POLICY_CONTINUE
    return request


def build_style(
    style_id: str, image: ImageLike, title: str, options: StyleOptions
) -> style_catalog_pb2.CreateStyleRequest:
    """The request for a new style; raises TypeError and ValueError as `build` does."""
    _check_options(options, StyleOptions)
    return style_catalog_pb2.CreateStyleRequest(
        style_id=style_id,
        image=image_pb2.ImageSource(inline=read_image(image)),
        style=style_catalog_pb2.Style(
            title=title,
            artist=options.get("artist", ""),
            date=options.get("date", ""),
            source=options.get("source", ""),
            license=options.get("license", ""),
            tags=options.get("tags", ()),
            recipe=_recipe(options),
        ),
    )


def large_images(
    request: style_transfer_pb2.StylizeRequest | style_catalog_pb2.CreateStyleRequest,
) -> Iterator[image_pb2.ImageSource]:
    """The images of a request that are too large to travel in it."""
    if isinstance(request, style_catalog_pb2.CreateStyleRequest):
        sources = [request.image]
    else:
        sources = [request.content, *(style.image for style in request.styles if style.HasField("image"))]
    for source in sources:
        if len(source.inline) > MAX_INLINE_BYTES:
            yield source


def preview_options(previews: Previews) -> style_transfer_pb2.PreviewOptions:
    """The message for the previews wanted; raises ValueError for a number that its field does not hold."""
    _check_held("max_side", previews.max_side)
    interval = _duration("interval_s", previews.interval_s)
    return style_transfer_pb2.PreviewOptions(max_side=previews.max_side, min_interval=interval)


def upload_parts(data: bytes, num_bytes: int, sha256: str) -> Iterator[style_transfer_pb2.UploadImageRequest]:
    """An upload's messages: the header, then the chunks."""
    header = style_transfer_pb2.UploadHeader(size_bytes=num_bytes, sha256=sha256)
    yield style_transfer_pb2.UploadImageRequest(header=header)
    for begin in range(0, len(data), CHUNK_BYTES):
        yield style_transfer_pb2.UploadImageRequest(chunk=data[begin : begin + CHUNK_BYTES])


def resource_name(collection: str, name: str) -> str:
    """`mosaic` or `styles/mosaic` as the latter."""
    return name if name.startswith(f"{collection}/") else f"{collection}/{name}"


def job_name(job: JobLike) -> str:
    """The full name of a job."""
    return job.name if isinstance(job, job_pb2.Job) else resource_name("jobs", job)


def _check_options(options: Mapping[str, object], kind: type[RecipeOptions]) -> None:
    known = tuple(kind.__annotations__)
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"got an unknown option {name!r}; allowed: {', '.join(known)}{hint}")
        if name in _HELD:
            _check_held(name, value)


def _check_held(name: str, value: object) -> None:
    """Raise ValueError for a whole number that is too large for its field; protobuf's own does not name the option."""
    most = _HELD[name]
    if isinstance(value, SupportsIndex) and not -most - 1 <= operator.index(value) <= most:
        raise ValueError(f"{name}: got {value}; allowed: {-most - 1} to {most}, as far as the server takes them")


def _writable(image: Image.Image) -> Image.Image:
    """The image upright and in a mode that PNG has; a profile of colours that it leaves behind is left behind too."""
    image = ImageOps.exif_transpose(image)
    if image.mode in _PNG_MODES:
        return image
    if image.mode.startswith("I"):
        return image.convert("I").convert("I;16")
    converted = _from_lab(image) if image.mode == "LAB" else image.convert(_SUBSTITUTES.get(image.mode, "RGB"))
    converted.info.pop("icc_profile", None)
    return converted


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def _style(style: StyleLike) -> recipe_pb2.StyleInput:
    if not isinstance(style, Style):
        style = Style(style)
    made = recipe_pb2.StyleInput(weight=style.weight, scale=style.scale)
    if isinstance(style.source, str):
        made.style = resource_name("styles", style.source)
    else:
        made.image.inline = read_image(style.source)
    return made


def _recipe(options: RecipeOptions) -> recipe_pb2.Recipe:
    return recipe_pb2.Recipe(
        preset=options.get("preset", ""),
        optimizer=_number(recipe_pb2.Optimizer, "OPTIMIZER", options.get("optimizer")),
        iterations=options.get("iterations"),
        strength=options.get("strength"),
        weights=recipe_pb2.LossWeights(
            content=options.get("content_weight"),
            style=options.get("style_weight"),
            total_variation=options.get("total_variation_weight"),
        ),
        init=_number(recipe_pb2.CanvasInit, "CANVAS_INIT", options.get("init")),
        color=_number(recipe_pb2.ColorMode, "COLOR_MODE", options.get("color")),
        seed=options.get("seed"),
    )


def _number(enum: Enum, prefix: str, name: str | None) -> Any:
    """The number of an enum's value by our short name for it; that of UNSPECIFIED for None. Raises ValueError."""
    names = {full.removeprefix(f"{prefix}_").lower(): number for full, number in enum.items()}
    if name is None:
        return names["unspecified"]
    if name not in names or name == "unspecified":
        allowed = ", ".join(known for known in names if known != "unspecified")
        raise ValueError(f"{prefix.lower()}: got {name!r}; allowed: {allowed}")
    return names[name]


def _duration(name: str, seconds: float) -> duration_pb2.Duration:
    if not abs(seconds) <= _MAX_SECONDS:  # so that NaN is refused too
        raise ValueError(f"{name}: got {seconds}; allowed: a finite number of seconds, up to {_MAX_SECONDS}")
    message = duration_pb2.Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
