"""Submission: a request for a picture, decoded, validated and resolved; its images are in the image store."""

from collections.abc import Mapping
from dataclasses import dataclass

from styleserve.callers import ANONYMOUS
from styleserve.images import DEFAULT_QUALITY, ImageFormat
from styleserve.recipes import Recipe

DEFAULT_MAX_INLINE_BYTES = 3_500_000
#: As much as a request may have; larger pictures are downloaded in parts.
MOST_INLINE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChosenStyle:
    """One style of a blend, out of the catalogue or of the caller's own.

    `digest` is the SHA-256 of the encoded image. `name` is as the contract's Provenance has it:
    `styles/{style}@{version}` of the catalogue's, `images/{sha256}` of the caller's own. `weight` is the share, all
    shares summing to 1; `scale` the size of its texture relative to the canvas.
    """

    digest: str
    name: str
    is_catalogued: bool
    weight: float
    scale: float


@dataclass(frozen=True, slots=True)
class Output:
    """How large the result is, in pixels, and how it is encoded."""

    height: int
    width: int
    image_format: ImageFormat = "png"
    quality: int = DEFAULT_QUALITY
    max_inline_bytes: int = DEFAULT_MAX_INLINE_BYTES
    carries_provenance: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """All that a caller asks for.

    `caller` is the name of who asks, whose images have the content under `content_digest`. `request_id` and
    `fingerprint`, a digest of the request, make it idempotent. `deadline` is a reading of `time.monotonic()`, by which
    the picture has to be with the caller; timeouts are in seconds. `trace` is the one that the job belongs to, as
    observers tell it, or empty.
    """

    caller: str = ANONYMOUS.name
    content_digest: str
    styles: tuple[ChosenStyle, ...]
    recipe: Recipe
    output: Output
    fingerprint: str
    request_id: str = ""
    job_id: str = ""
    is_cancelled_when_orphaned: bool = True
    queue_timeout_s: float | None = None
    run_timeout_s: float | None = None
    deadline: float | None = None
    fails_at_deadline: bool = False
    priority: int = 0
    trace: str = ""
    labels: Mapping[str, str]

    @property
    def digests(self) -> tuple[str, ...]:
        """The images that the job needs."""
        return self.content_digest, *(chosen.digest for chosen in self.styles)

    @property
    def style_scales(self) -> list[float]:
        """The sizes of the styles' textures relative to the canvas."""
        return [chosen.scale for chosen in self.styles]
