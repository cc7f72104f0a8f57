"""Requests: messages become validated values; everything wrong with one is told at once.

Reading a StylizeRequest decodes its images, in threads beside the event loop, and may have to wait for a style's.
"""

import asyncio
import dataclasses
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf import duration_pb2

from styleserve import images
from styleserve.catalog.keeper import CatalogKeeper
from styleserve.catalog.style import Style
from styleserve.catalog.style_images import StyleImages
from styleserve.decoding import Decoder
from styleserve.errors import (
    ImageNotFoundError,
    InvalidImageError,
    InvalidRequestError,
    NotFoundError,
    StyleNotFoundError,
    Violation,
)
from styleserve.images import DEFAULT_QUALITY, MIN_SIDE
from styleserve.jobs.frames import MAX_PREVIEW_SIDE, MIN_PREVIEW_INTERVAL_S, PreviewWish
from styleserve.jobs.image_store import PREFIX as IMAGE_PREFIX
from styleserve.jobs.image_store import ImageStore, Shelf
from styleserve.jobs.submission import DEFAULT_MAX_INLINE_BYTES, MOST_INLINE_BYTES, ChosenStyle, Output, Submission
from styleserve.presets import check_range, resolve
from styleserve.recipes import RecipeChanges
from styleserve.rpc.enums import FORMATS
from styleserve.rpc.inspections import Inspections
from styleserve.rpc.parts import check_enum, read_recipe, read_source
from styleserve.v1 import image_pb2, recipe_pb2, style_transfer_pb2

MAX_STYLES = 8
MAX_WEIGHT = 1e6
MIN_SCALE, MAX_SCALE = 0.1, 10.0
MAX_PRIORITY = 10
MAX_TIMEOUT_S = 30 * 86_400
MAX_LABELS = 16
MAX_LABEL_KEY, MAX_LABEL_VALUE = 63, 255
DEFAULT_PREVIEW = PreviewWish()

_UUID4_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_JOB_ID_PATTERN = re.compile(r"[a-z0-9-]{4,63}")


def fingerprint(request: style_transfer_pb2.StylizeRequest) -> str:
    """A digest by which the same request is known again, its request ID aside."""
    request_id, request.request_id = request.request_id, ""  # for the moment, since a copy would hold the images again
    try:
        return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    finally:
        request.request_id = request_id


def canonical_request_id(request: style_transfer_pb2.StylizeRequest) -> str:
    """The request ID as it is compared: UUIDs are the same in capital and small letters."""
    return request.request_id.lower()


def read_preview(options: style_transfer_pb2.PreviewOptions) -> PreviewWish:
    """Which previews are wanted, within what the server allows."""
    interval_s = _seconds(options.min_interval) if options.HasField("min_interval") else DEFAULT_PREVIEW.interval_s
    return PreviewWish(
        max_side=min(max(options.max_side, 0) or DEFAULT_PREVIEW.max_side, MAX_PREVIEW_SIDE),
        interval_s=max(interval_s, MIN_PREVIEW_INTERVAL_S),
        max_count=max(options.max_count, 0),
    )


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads StylizeRequests against the catalogue as it is, a store of images, a decoder and the server's limits.

    Images are looked at by `inspections`.
    """

    catalogs: CatalogKeeper
    style_images: StyleImages
    image_store: ImageStore
    decoder: Decoder
    inspections: Inspections
    max_side: int
    max_iterations: int

    async def read(
        self, request: style_transfer_pb2.StylizeRequest, caller: str, request_fingerprint: str, deadline: float | None
    ) -> Submission:
        """The submission, its images stored with the caller's; `deadline` is the call's own, by `time.monotonic()`.

        Raises InvalidRequestError with every violation, else StyleNotFoundError or ImageNotFoundError, else
        StyleImageUnavailableError.
        """
        reading = _Reading(self, request, caller, self.image_store.shelf(caller))
        submission = await self.inspections.do(caller, reading.submission, request_fingerprint, deadline)
        await asyncio.gather(*(self.style_images.fetch(style) for style in reading.catalogued.values()))
        await asyncio.to_thread(reading.store_images)
        return submission


@dataclass(frozen=True, slots=True)
class _Measured:
    """An image of the caller's own: its digest, and its size in pixels once it is upright."""

    digest: str
    height: int
    width: int


@dataclass(slots=True)
class _Reading:
    """One request being read; what is wrong is gathered until all of it is known.

    Images that came inside the request are kept in `inline`, by digest, until they are stored. Those that it names, in
    `named`, are on the shelf and stay there: all of them at once would be far more than a request may hold.
    """

    reader: RequestReader
    request: style_transfer_pb2.StylizeRequest
    caller: str
    shelf: Shelf
    violations: list[Violation] = field(default_factory=list)
    not_found: list[NotFoundError] = field(default_factory=list)
    inline: dict[str, bytes] = field(default_factory=dict)
    named: dict[str, _Measured] = field(default_factory=dict)
    catalogued: dict[str, Style] = field(default_factory=dict)

    def submission(self, request_fingerprint: str, deadline: float | None) -> Submission:
        request = self.request
        self._check_scalars()
        content_digest, output = self._content_and_output()
        styles = self._styles()
        changes, recipe_violations = read_recipe(request.recipe, "recipe", self.reader.max_iterations)
        self.violations += recipe_violations
        queue_timeout_s = self._timeout("queue_timeout")
        run_timeout_s = self._timeout("run_timeout")
        if self.violations:
            raise InvalidRequestError(self.violations)
        if self.not_found:
            raise self.not_found[0]
        is_cancelled_when_orphaned = self._is_cancelled_when_orphaned()
        is_awaited = is_cancelled_when_orphaned and not request.detached
        return Submission(
            caller=self.caller,
            content_digest=content_digest,
            styles=_with_shares(styles),
            recipe=resolve(self._settings(styles[0]), changes, self.reader.max_iterations),
            output=output,
            fingerprint=request_fingerprint,
            request_id=canonical_request_id(request),
            job_id=request.job_id,
            is_cancelled_when_orphaned=is_cancelled_when_orphaned,
            queue_timeout_s=queue_timeout_s,
            run_timeout_s=run_timeout_s,
            deadline=deadline if is_awaited else None,
            fails_at_deadline=request.deadline_policy == style_transfer_pb2.DEADLINE_POLICY_FAIL,
            priority=request.priority,
            labels=MappingProxyType(dict(request.labels)),
        )

    def store_images(self) -> None:
        """Keep the job's images for it, the catalogue's too, which may be another one before the job runs.

        Those that are named are used by this, lest they be forgotten; raises ImageNotFoundError for one that was.
        """
        for style in self.catalogued.values():
            self.shelf.put(self.reader.style_images.load(style))
        for data in self.inline.values():
            self.shelf.put(data)
        for name in self.named:
            self.shelf.path(name)

    def _complain(self, field_path: str, description: str, reason: str) -> None:
        self.violations.append(Violation(field_path, description, reason))

    def _check_range(self, field_path: str, value: float, low: float, high: float) -> None:
        self.violations += check_range(field_path, value, low, high)

    def _check_scalars(self) -> None:
        request = self.request
        if request.request_id and not _UUID4_PATTERN.fullmatch(canonical_request_id(request)):
            allowed = "a UUID of version 4, as 8-4-4-4-12 hexadecimal digits"
            self._complain("request_id", f"got {request.request_id!r}; allowed: {allowed}", "BAD_FORMAT")
        if request.job_id and not _JOB_ID_PATTERN.fullmatch(request.job_id):
            self._complain("job_id", f"got {request.job_id!r}; allowed: 4 to 63 of a-z, 0-9 and '-'", "BAD_FORMAT")
        self._check_range("priority", request.priority, -MAX_PRIORITY, MAX_PRIORITY)
        if len(request.labels) > MAX_LABELS:
            self._complain("labels", f"got {len(request.labels)}; allowed: at most {MAX_LABELS}", "TOO_MANY")
        if any(len(key) > MAX_LABEL_KEY or len(value) > MAX_LABEL_VALUE for key, value in request.labels.items()):
            allowed = f"keys of up to {MAX_LABEL_KEY} and values of up to {MAX_LABEL_VALUE} characters"
            self._complain("labels", f"got a longer one; allowed: {allowed}", "TOO_LONG")
        self._check_enum("orphan_policy", request.orphan_policy, style_transfer_pb2.OrphanPolicy.values())
        self._check_enum("deadline_policy", request.deadline_policy, style_transfer_pb2.DeadlinePolicy.values())

    def _check_enum(self, field_path: str, value: int, allowed: Collection[int]) -> None:
        self.violations += check_enum(field_path, value, allowed)

    def _timeout(self, name: str) -> float | None:
        if not self.request.HasField(name):  # type: ignore[arg-type]
            return None
        seconds = _seconds(getattr(self.request, name))
        if not 0 < seconds <= MAX_TIMEOUT_S:
            allowed = f"more than 0 s, up to {MAX_TIMEOUT_S} s"
            self._complain(name, f"got {seconds:g} s; allowed: {allowed}", "OUT_OF_RANGE")
        return seconds

    def _content_and_output(self) -> tuple[str, Output]:
        options = self.request.output
        self._check_enum("output.format", options.format, FORMATS)
        self._check_range("output.quality", options.quality, 0, 100)
        self._check_range("output.max_inline_bytes", options.max_inline_bytes, 0, MOST_INLINE_BYTES)
        num_violations = len(self.violations)
        if options.max_side:
            self._check_range("output.max_side", options.max_side, MIN_SIDE, self.reader.max_side)
        is_side_allowed = len(self.violations) == num_violations
        content = self._measure(self.request.content, "content")
        if content is None:
            return "", Output(0, 0)
        max_side = options.max_side or self.reader.max_side
        height, width = images.fitted_size(content.height, content.width, max_side)
        if is_side_allowed and min(height, width) < MIN_SIDE:
            self._complain(
                "output.max_side",
                f"the result would have {width} x {height} pixels; allowed: sides of at least {MIN_SIDE}",
                "OUT_OF_RANGE",
            )
        return content.digest, Output(
            height=height,
            width=width,
            image_format=FORMATS.get(options.format, "png"),
            quality=options.quality or DEFAULT_QUALITY,
            max_inline_bytes=(
                options.max_inline_bytes if options.HasField("max_inline_bytes") else DEFAULT_MAX_INLINE_BYTES
            ),
            carries_provenance=not options.omit_provenance,
        )

    def _measure(self, source: image_pb2.ImageSource, field_path: str) -> _Measured | None:
        """What is known of an image of the caller's own; None when something is wrong with it."""
        if source.image in self.named:
            return self.named[source.image]
        try:
            data = read_source(source, field_path, self.shelf)
            height, width = self.reader.decoder.measure(data)
        except ImageNotFoundError as error:
            self.not_found.append(error)
        except InvalidRequestError as error:
            self.violations += error.violations
        except InvalidImageError as error:
            self._complain(field_path, error.description, error.reason)
        else:
            digest = source.image.removeprefix(IMAGE_PREFIX) or hashlib.sha256(data).hexdigest()
            measured = _Measured(digest, height, width)
            if source.image:
                self.named[source.image] = measured
            else:
                self.inline[digest] = data
            return measured
        return None

    def _styles(self) -> list[ChosenStyle]:
        given = self.request.styles
        if not given:
            self._complain("styles", "got none; give at least one style", "REQUIRED")
        if len(given) > MAX_STYLES:
            self._complain("styles", f"got {len(given)}; allowed: at most {MAX_STYLES}", "TOO_MANY")
        chosen = [self._style(style, f"styles[{index}]") for index, style in enumerate(given[:MAX_STYLES])]
        return [style for style in chosen if style is not None]

    def _style(self, given: recipe_pb2.StyleInput, field_path: str) -> ChosenStyle | None:
        weight = given.weight if given.HasField("weight") else 1.0
        scale = given.scale if given.HasField("scale") else 1.0
        if not 0 < weight <= MAX_WEIGHT:
            allowed = f"above 0, up to {MAX_WEIGHT:.0f}"
            self._complain(f"{field_path}.weight", f"got {weight:g}; allowed: {allowed}", "OUT_OF_RANGE")
        self._check_range(f"{field_path}.scale", scale, MIN_SCALE, MAX_SCALE)
        match given.WhichOneof("source"):
            case "style":
                try:
                    style = self.reader.catalogs.catalog.find(given.style)
                except StyleNotFoundError as error:
                    self.not_found.append(error)
                    return None
                self.catalogued[style.versioned_name] = style
                return ChosenStyle(style.image.sha256, style.versioned_name, True, weight, scale)
            case "image":
                own = self._measure(given.image, f"{field_path}.image")
                return None if own is None else ChosenStyle(own.digest, IMAGE_PREFIX + own.digest, False, weight, scale)
            case _:
                self._complain(field_path, "got no style; set `style` or `image`", "REQUIRED")
                return None

    def _is_cancelled_when_orphaned(self) -> bool:
        policy = self.request.orphan_policy
        if policy == style_transfer_pb2.ORPHAN_POLICY_UNSPECIFIED:
            return not self.request.detached
        return policy == style_transfer_pb2.ORPHAN_POLICY_CANCEL

    def _settings(self, first: ChosenStyle) -> RecipeChanges:
        """What the styles set of the recipe; of a blend it is the first that does."""
        style = self.catalogued.get(first.name)
        return RecipeChanges() if style is None else style.recipe


def _with_shares(styles: list[ChosenStyle]) -> tuple[ChosenStyle, ...]:
    """The styles with weights that sum to 1."""
    total = sum(chosen.weight for chosen in styles)
    return tuple(dataclasses.replace(chosen, weight=chosen.weight / total) for chosen in styles)


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
