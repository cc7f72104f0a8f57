"""Images: encoded bytes to float32 RGB [H, W, 3] in [0, 1] and back; it hides codecs, orientation, profiles and alpha.

Reading trusts nothing: the codec is sniffed from the first bytes, the size is judged by the header before a pixel is
decoded, and whatever a decoder stumbles over becomes an InvalidImageError.
"""

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from styleserve.errors import InvalidImageError
from styleserve.image_parts import judge_jpeg, judge_png

logger = logging.getLogger(__name__)

#: Float32 RGB in [0, 1], shape [H, W, 3].
Pixels: TypeAlias = npt.NDArray[np.float32]
ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

#: Sides of a canvas in pixels, and of a style as it is seen; no image is narrower than the least, below which the
#: network's deepest layer has no positions left.
MIN_SIDE, MAX_SIDE = 16, 4096
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
DEFAULT_QUALITY = 92
PREVIEW_QUALITY = 80

#: The name under which a result carries how it was made: a PNG text; other formats have EXIF's UserComment.
_METADATA_KEY = "styleserve"
_COMMENT_PREFIX = b"ASCII\0\0\0"
_WHITE = 1.0
#: A JPEG that is shrunk is decoded at this many times the size wanted, at least: its decoder does that at a fraction of
#: the time, and what is left is resampled as ever.
_DRAFT_EXCESS = 2
#: What sets an image upright by its EXIF orientation; that of 1 is upright already.
_TURNS: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
#: Orientations that exchange rows and columns.
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may be: bytes, decoded pixels, pixels of its short side, and its long side over the short."""

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 40_000_000
    min_side: int = MIN_SIDE
    max_aspect: int = 32


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels: RGB in [0, 1], [H, W, 3], and alpha in [0, 1], [H, W], or None when all is opaque."""

    pixels: Pixels
    alpha: Pixels | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image, its media type and its size in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int


def decode(data: bytes, limits: ImageLimits, fit_side: int | None = None) -> Picture:
    """Decode PNG, JPEG or WebP (the first frame) to upright sRGB, shrunk so that no side exceeds `fit_side` pixels.

    Raises InvalidImageError with reason IMAGE_EMPTY, IMAGE_TOO_LARGE, IMAGE_UNKNOWN_FORMAT, IMAGE_TOO_COMPLEX,
    IMAGE_TRUNCATED, IMAGE_TOO_SMALL or IMAGE_TOO_NARROW.
    """
    image = _open(data, limits)
    height, width = fitted_size(image.height, image.width, fit_side or max(image.size))
    with _telling_damage():
        draft = image.draft(None, (_DRAFT_EXCESS * width, _DRAFT_EXCESS * height))
        image.load()
        turn, box = _TURNS.get(_orientation(image)), draft[1] if draft else None
        colours, alpha = _split_alpha(image)
        del image  # which may have as many bytes as its colours
        if alpha is None:
            colours = _shrink(colours, height, width, box)
        else:
            colours, alpha = _shrink_transparent(colours, alpha, height, width)
            alpha = _turn(alpha, turn)
        colours = _turn(colours, turn)
    return Picture(_to_float(colours), None if alpha is None else _to_float(alpha))


def measure(data: bytes, limits: ImageLimits) -> tuple[int, int]:
    """Height and width of an image once it is upright; decoded whole, so what `decode` refuses is refused here."""
    image = _open(data, limits)
    width, height = image.size
    with _telling_damage():
        image.draft(None, (1, 1))
        image.load()
        if image.mode == "P":  # only converting shows whether its transparencies fit its colours
            _split_alpha(image)
        is_on_its_side = _orientation(image) in _ON_ITS_SIDE
    return (width, height) if is_on_its_side else (height, width)


def count_pixels(data: bytes, limits: ImageLimits) -> int:
    """How many pixels the header promises; raises InvalidImageError when it promises none that we read."""
    image = _open(data, limits)
    return image.width * image.height


def encode(
    picture: Picture,
    image_format: ImageFormat,
    quality: int = DEFAULT_QUALITY,
    metadata: Mapping[str, object] | None = None,
) -> Encoded:
    """Encode a picture; `metadata` goes along as JSON. JPEG has no alpha: it is flattened on white."""
    pixels, alpha = picture.pixels, picture.alpha
    if alpha is not None and image_format == "jpeg":
        pixels, alpha = pixels * alpha[..., np.newaxis] + _WHITE * (1 - alpha[..., np.newaxis]), None
    image = Image.fromarray(to_uint8(pixels))
    if alpha is not None:
        image.putalpha(Image.fromarray(to_uint8(alpha)))
    comment = None if metadata is None else json.dumps(metadata, sort_keys=True)
    buffer = io.BytesIO()
    match image_format:
        case "png":
            text = PngImagePlugin.PngInfo()
            if comment is not None:
                text.add_itxt(_METADATA_KEY, comment)
            image.save(buffer, "PNG", pnginfo=text)
        case "jpeg":
            image.save(buffer, "JPEG", quality=quality, subsampling=0, exif=_comment_exif(comment))
        case "webp":
            image.save(buffer, "WEBP", quality=quality, exif=_comment_exif(comment))
    return Encoded(buffer.getvalue(), f"image/{image_format}", image.width, image.height)


def encode_preview(pixels: npt.NDArray[np.uint8], max_side: int) -> Encoded:
    """A JPEG of uint8 RGB pixels, at most `max_side` pixels a side."""
    height, width = fitted_size(pixels.shape[0], pixels.shape[1], max_side)
    image = _shrink(Image.fromarray(pixels), height, width)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return Encoded(buffer.getvalue(), "image/jpeg", width, height)


def to_uint8(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Values of [0, 1], those outside clipped, as the nearest of 0 to 255."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def fitted_size(height: int, width: int, max_side: int) -> tuple[int, int]:
    """Height and width in the same proportion with no side above `max_side`; what fits stays as it is."""
    factor = min(1.0, max_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize RGB to [height, width, 3] in float: Lanczos when it shrinks, bicubic when it grows, clipped to [0, 1]."""
    if pixels.shape[:2] == (height, width):
        return pixels
    resample = Image.Resampling.LANCZOS if height < pixels.shape[0] else Image.Resampling.BICUBIC
    resized = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        plane = Image.fromarray(pixels[..., channel]).resize((width, height), resample)
        resized[..., channel] = np.asarray(plane)
    return np.clip(resized, 0, 1, out=resized)


def fit(pixels: Pixels, max_side: int) -> Pixels:
    """Resize RGB so that no side exceeds `max_side`; what fits stays as it is."""
    height, width = fitted_size(pixels.shape[0], pixels.shape[1], max_side)
    return resize(pixels, height, width)


def noise(height: int, width: int, seed: int) -> Pixels:
    """Uniform noise in [0, 1), [height, width, 3], from a seed of at least 0."""
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def sniff(data: bytes) -> ImageFormat | None:
    """The codec by the first bytes; None when it is none that we read."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header only, and judge by it."""
    if not data:
        raise InvalidImageError("IMAGE_EMPTY", f"got 0 bytes; send an image as {_allowed_formats()}")
    if len(data) > limits.max_bytes:
        raise InvalidImageError("IMAGE_TOO_LARGE", f"got {len(data)} bytes; allowed: up to {limits.max_bytes}")
    image_format = sniff(data)
    if image_format is None:
        raise InvalidImageError(
            "IMAGE_UNKNOWN_FORMAT", f"the first bytes are those of no image we read; allowed: {_allowed_formats()}"
        )
    if image_format == "png":
        judge_png(data)
    elif image_format == "jpeg":
        judge_jpeg(data)
    with _telling_damage():
        try:
            image = Image.open(io.BytesIO(data), formats=[image_format.upper()])
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise InvalidImageError("IMAGE_TOO_LARGE", f"allowed: up to {limits.max_pixels} pixels, got more") from None
    _judge_size(image.height, image.width, limits)
    return image


def _judge_size(height: int, width: int, limits: ImageLimits) -> None:
    if height * width > limits.max_pixels:
        raise InvalidImageError(
            "IMAGE_TOO_LARGE", f"got {width} x {height} pixels; allowed: up to {limits.max_pixels} in all"
        )
    if min(height, width) < limits.min_side:
        raise InvalidImageError(
            "IMAGE_TOO_SMALL", f"got {width} x {height} pixels; allowed: sides of at least {limits.min_side}"
        )
    if max(height, width) > limits.max_aspect * min(height, width):
        raise InvalidImageError(
            "IMAGE_TOO_NARROW",
            f"got {width} x {height} pixels; allowed: a long side of up to {limits.max_aspect} times the short one",
        )


@contextlib.contextmanager
def _telling_damage() -> Iterator[None]:
    """Decoders raise OSError, SyntaxError, ValueError and their libraries' own for broken files: all mean this.

    All but a lack of memory, which says nothing of the file.
    """
    try:
        yield
    except (InvalidImageError, MemoryError):
        raise
    except Exception as error:
        logger.debug("an image cannot be decoded", exc_info=error)
        raise InvalidImageError("IMAGE_TRUNCATED", "the image is truncated or damaged; send the whole file") from None


def _allowed_formats() -> str:
    return ", ".join(name.upper() for name in FORMATS)


def _orientation(image: Image.Image) -> int:
    """EXIF's number of how the image lies, 1 where EXIF cannot be read; known once it is loaded."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:
        logger.debug("EXIF is ignored", exc_info=error)
        return 1
    return orientation if isinstance(orientation, int) else 1


def _turn(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours as RGB (or 16-bit grey, which `_to_float` understands) and alpha as L, None when all is opaque."""
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    transparent = image if image.mode == "RGBA" else image.convert("RGBA") if has_alpha else None
    alpha = transparent.getchannel("A") if transparent is not None else None
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    if transparent is not None and image.mode == "P":  # it would be warned that RGB has no room for it
        image = transparent
    if image.mode.startswith("I"):
        return image, alpha
    return _to_srgb(image), alpha


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB; a profile that cannot be used is ignored, as viewers do."""
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("L" if image.mode in ("LA", "1") else "RGB")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            logger.debug("an ICC profile is ignored", exc_info=error)
        else:
            if converted is not None:
                return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _shrink(
    image: Image.Image, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Resample `box`, the whole image when it is None, to height and width."""
    if image.size == (width, height):
        return image
    if image.mode.startswith("I"):
        image = image.convert("F")
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _shrink_transparent(
    colours: Image.Image, alpha: Image.Image, height: int, width: int
) -> tuple[Image.Image, Image.Image]:
    """Resample RGB so that what is hidden does not bleed into what is seen: c' = R(c a) / R(a), with R the resampling.

    Where a' is 0 the colours are R(c), and so is all 16-bit grey. Products are not rounded to 8 bits, in which
    little is left of a colour times a small alpha.
    """
    if colours.size == (width, height) or colours.mode != "RGB":
        return _shrink(colours, height, width), _shrink(alpha, height, width)
    shrunk, shrunk_alpha = np.array(_shrink(colours, height, width)), _shrink(alpha, height, width)
    opacity = np.asarray(_shrink(alpha.convert("F"), height, width))
    is_seen = (np.asarray(shrunk_alpha) > 0) & (opacity > 0)
    opacity = opacity[is_seen]
    for channel, name in enumerate(colours.getbands()):
        values = np.asarray(_shrink(_multiply(colours.getchannel(name), alpha), height, width))[is_seen]
        values /= opacity
        shrunk[is_seen, channel] = np.rint(np.clip(values, 0, 255, out=values), out=values)
    return Image.fromarray(shrunk), shrunk_alpha


def _multiply(values: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.fromarray(np.multiply(np.asarray(values), np.asarray(alpha), dtype=np.uint16))


def _to_float(image: Image.Image) -> Pixels:
    """Values in [0, 1]; 16-bit grey becomes three equal channels."""
    values = np.array(image, np.float32)
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.clip(values / 65535, 0, 1)
        return np.repeat(grey[..., np.newaxis], 3, axis=-1)
    values /= np.float32(255)
    return values


def _comment_exif(comment: str | None) -> Image.Exif:
    exif = Image.Exif()
    if comment is not None:
        exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: _COMMENT_PREFIX + comment.encode("ascii")}
    return exif
