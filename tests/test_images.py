"""Images: every kind of file becomes upright sRGB, or an error that says what is wrong with it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from styleserve import images
from styleserve.errors import InvalidImageError
from styleserve.image_parts import MAX_CHUNKS, MAX_FILL_BYTES, MAX_HEADER_BYTES, MAX_SCANS, MAX_SEGMENTS
from styleserve.images import ImageLimits, Picture
from support import carried

LIMITS = ImageLimits()
RED, BLUE = (200, 30, 30), (20, 40, 180)


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def two_halves(height: int = 20, width: int = 30) -> Image.Image:
    """Red above blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (0, height // 2, width, height))
    return image


def photograph(height: int = 64, width: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def assert_colour(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: float = 0.03) -> None:
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), np.array(colour) / 255, atol=tolerance)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_the_codec_is_sniffed_and_values_are_in_the_unit_interval(image_format):
    picture = images.decode(encoded(two_halves(), image_format), LIMITS)
    assert picture.pixels.shape == (20, 30, 3)
    assert picture.pixels.dtype == np.float32
    assert picture.alpha is None
    assert_colour(picture.pixels[:8], RED)
    assert_colour(picture.pixels[12:], BLUE)


def test_an_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was turned: rotate 90 degrees clockwise to see it upright
    picture = images.decode(encoded(two_halves(), "JPEG", exif=exif), LIMITS)
    assert picture.pixels.shape == (30, 20, 3)
    assert_colour(picture.pixels[:, 13:], RED)
    assert_colour(picture.pixels[:, :7], BLUE)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    picture = images.decode(encoded(two_halves().convert(mode)), LIMITS)
    assert picture.pixels.shape == (20, 30, 3)
    assert picture.pixels[:8].mean() != picture.pixels[12:].mean()


def test_cmyk_becomes_rgb():
    picture = images.decode(encoded(two_halves().convert("CMYK"), "JPEG"), LIMITS)
    assert_colour(picture.pixels[:8], RED, tolerance=0.06)


def test_sixteen_bit_grey_keeps_its_range():
    grey = np.full((20, 20), 65535 // 4, np.uint16)
    grey[10:] = 65535
    picture = images.decode(encoded(Image.fromarray(grey)), LIMITS)
    np.testing.assert_allclose(picture.pixels[:10], 0.25, atol=1e-3)
    np.testing.assert_allclose(picture.pixels[10:], 1.0)
    assert images.decode(encoded(Image.fromarray(grey)), LIMITS, fit_side=16).pixels.shape == (16, 16, 3)


def test_alpha_is_kept_and_does_not_darken_the_colours():
    image = two_halves().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((30, 20)))
    picture = images.decode(encoded(image), LIMITS, fit_side=24)
    assert picture.alpha.shape == picture.pixels.shape[:2] == (16, 24)
    assert picture.alpha[0].max() < 0.1 < 0.9 < picture.alpha[-1].min()
    assert_colour(picture.pixels[:6], RED)


def test_a_wholly_opaque_alpha_is_none():
    assert images.decode(encoded(two_halves().convert("RGBA")), LIMITS).alpha is None


@pytest.mark.parametrize("hidden", [(0, 0, 0), (0, 255, 0)])
@pytest.mark.parametrize("opacity", [255, 9])
def test_colours_that_are_hidden_do_not_bleed_into_edges(hidden, opacity):
    image = Image.new("RGBA", (65, 64), (*hidden, 0))
    image.paste((*RED, opacity), (0, 0, 33, 64))
    picture = images.decode(encoded(image), LIMITS, fit_side=32)
    colours = images.to_uint8(picture.pixels)
    is_seen = picture.alpha > 0
    assert (picture.alpha[is_seen] < opacity / 255).any()
    np.testing.assert_allclose(colours[is_seen], np.broadcast_to(RED, colours[is_seen].shape), atol=1)
    np.testing.assert_array_equal(colours[:, -8:], np.broadcast_to(hidden, colours[:, -8:].shape))


def test_transparency_that_changes_no_colour_leaves_the_shrunk_colours():
    image = photograph().convert("RGBA")
    image.putalpha(128)
    seen, opaque = (images.decode(encoded(one), LIMITS, fit_side=40) for one in (image, photograph()))
    np.testing.assert_allclose(seen.pixels, opaque.pixels, atol=3 / 255)
    np.testing.assert_allclose(seen.alpha, 128 / 255, atol=1e-6)


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    animation = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)
    assert_colour(images.decode(animation, LIMITS).pixels, RED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_measuring_finds_the_size_that_decoding_makes(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(two_halves(21, 34), "JPEG", exif=exif)
    assert images.measure(data, LIMITS) == images.decode(data, LIMITS).pixels.shape[:2]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_small_at_once_is_the_one_decoded_large_and_shrunk(orientation):
    random = np.random.default_rng(0)
    large = images.resize(random.random((9, 13, 3)).astype(np.float32), 901, 1303)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(Image.fromarray(images.to_uint8(large)), "JPEG", quality=95, exif=exif)
    small = images.decode(data, LIMITS, fit_side=100).pixels
    shrunk = images.fit(images.decode(data, LIMITS).pixels, 100)
    assert small.shape == shrunk.shape
    assert np.abs(small - shrunk).mean() < 1 / 255
    assert np.abs(small - shrunk).max() < 3 / 255


def test_measuring_refuses_what_decoding_refuses():
    with pytest.raises(InvalidImageError, match="truncated"):
        images.measure(encoded(photograph(), "JPEG")[:-900], LIMITS)


def test_more_transparencies_than_a_palette_has_are_refused_by_both():
    data = encoded(two_halves().convert("P"), transparency=bytes(255))
    begin = data.index(b"tRNS") - 4
    images.decode(data, LIMITS)
    for read in (images.decode, images.measure):
        with pytest.raises(InvalidImageError, match="truncated or damaged"):
            read(data[:begin] + png_chunk(b"tRNS", bytes(300)) + data[begin + 12 + 255 :], LIMITS)


def test_an_icc_profile_is_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"TEMP").replace(b"bXYZ", b"rXYZ").replace(b"TEMP", b"bXYZ")
    assert_colour(images.decode(encoded(two_halves(), icc_profile=srgb), LIMITS).pixels[:8], RED)
    assert_colour(images.decode(encoded(two_halves(), icc_profile=swapped), LIMITS).pixels[:8], RED[::-1])


def test_a_broken_profile_is_ignored():
    assert_colour(images.decode(encoded(two_halves(), icc_profile=b"nonsense"), LIMITS).pixels[:8], RED)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "IMAGE_EMPTY"),
        (b"this is a text file, whatever its name", "IMAGE_UNKNOWN_FORMAT"),
        (encoded(two_halves(), "GIF"), "IMAGE_UNKNOWN_FORMAT"),
        (encoded(two_halves(), "BMP"), "IMAGE_UNKNOWN_FORMAT"),
        (encoded(photograph(), "JPEG")[:-900], "IMAGE_TRUNCATED"),
        (encoded(photograph())[:-900], "IMAGE_TRUNCATED"),
        (encoded(photograph(), "WEBP")[:-900], "IMAGE_TRUNCATED"),
        (b"\xff\xd8\xff\xe0", "IMAGE_TRUNCATED"),
        (png_header(50_000, 50_000), "IMAGE_TOO_LARGE"),
        (png_header(10_000, 5_000), "IMAGE_TOO_LARGE"),
        (png_header(1, 1), "IMAGE_TOO_SMALL"),
        (png_header(1000, 20), "IMAGE_TOO_NARROW"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(data, reason):
    with pytest.raises(InvalidImageError) as caught:
        images.decode(data, LIMITS)
    assert caught.value.reason == reason


@pytest.mark.parametrize("read", [images.decode, images.measure])
@pytest.mark.parametrize("fault", [(Image, "open"), (Image.Image, "convert")])
def test_a_machine_without_memory_is_no_fault_of_the_image(monkeypatch, read, fault):
    palette = Image.new("P", (64, 64))
    palette.info["transparency"] = bytes(range(256))
    encoded = io.BytesIO()
    palette.save(encoded, "png", transparency=bytes(range(256)))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(*fault, fail)
    with pytest.raises(MemoryError):
        read(encoded.getvalue(), ImageLimits())


def test_too_many_bytes_are_refused_before_anything_is_read():
    with pytest.raises(InvalidImageError, match="allowed: up to 10"):
        images.decode(encoded(two_halves()), ImageLimits(max_bytes=10))


@given(st.integers(0, 255), st.integers(0, 6000), st.sampled_from(["PNG", "JPEG", "WEBP"]))
@settings(max_examples=60, deadline=None)
def test_no_damage_does_worse_than_a_refusal(byte, position, image_format):
    data = bytearray(encoded(photograph(), image_format))
    data[position % len(data)] = byte
    try:
        images.decode(bytes(data), LIMITS)
    except InvalidImageError:
        pass


@pytest.mark.parametrize("image_format", images.FORMATS)
def test_a_picture_comes_back_from_its_encoding_with_what_it_says_about_itself(image_format):
    pixels = images.decode(encoded(two_halves()), LIMITS).pixels
    made = {"weights": "imagenet@sha256:0", "styles": ["styles/mosaic@1"], "title": "Nuit étoilée"}
    result = images.encode(Picture(pixels), image_format, metadata=made)
    assert (result.width, result.height, result.mime_type) == (30, 20, f"image/{image_format}")
    assert images.sniff(result.data) == image_format
    assert np.abs(images.decode(result.data, LIMITS).pixels - pixels).mean() < 0.02
    assert carried.metadata(result.data) == made
    assert carried.metadata(images.encode(Picture(pixels), image_format).data) is None


def test_png_is_lossless_to_the_byte():
    pixels = images.noise(20, 20, seed=1)
    decoded = images.decode(images.encode(Picture(pixels), "png").data, LIMITS).pixels
    np.testing.assert_array_equal(images.to_uint8(decoded), images.to_uint8(pixels))


def test_alpha_goes_into_png_and_webp_and_is_flattened_on_white_in_jpeg():
    alpha = np.zeros((20, 20), np.float32)
    alpha[:, 10:] = 1
    picture = Picture(np.zeros((20, 20, 3), np.float32), alpha)
    for image_format in ("png", "webp"):
        decoded = images.decode(images.encode(picture, image_format).data, LIMITS)
        np.testing.assert_allclose(decoded.alpha, alpha, atol=0.01)
    jpeg = images.decode(images.encode(picture, "jpeg").data, LIMITS)
    assert jpeg.alpha is None
    assert jpeg.pixels[:, :9].min() > 0.95
    assert jpeg.pixels[:, 11:].max() < 0.05


def test_quality_makes_files_larger():
    picture = images.decode(encoded(photograph()), LIMITS)
    assert len(images.encode(picture, "jpeg", 95).data) > len(images.encode(picture, "jpeg", 40).data)


@pytest.mark.parametrize(
    ("size", "side", "fitted"), [((100, 200), 50, (25, 50)), ((100, 200), 200, (100, 200)), ((1000, 3), 100, (100, 1))]
)
def test_fitting_keeps_the_proportion_and_never_enlarges(size, side, fitted):
    assert images.fitted_size(*size, side) == fitted


def test_resizing_keeps_means_and_range():
    pixels = images.noise(40, 60, seed=0)
    for size in ((20, 30), (80, 120)):
        resized = images.resize(pixels, *size)
        assert resized.shape == (*size, 3)
        assert resized.dtype == np.float32
        assert 0 <= resized.min() <= resized.max() <= 1
        np.testing.assert_allclose(resized.mean(), pixels.mean(), atol=0.01)


def test_noise_follows_its_seed():
    np.testing.assert_array_equal(images.noise(8, 9, 1), images.noise(8, 9, 1))
    assert not np.array_equal(images.noise(8, 9, 1), images.noise(8, 9, 2))


def test_a_preview_is_a_small_jpeg():
    preview = images.encode_preview(np.zeros((100, 200, 3), np.uint8), max_side=64)
    assert (preview.width, preview.height, preview.mime_type) == (64, 32, "image/jpeg")
    assert images.sniff(preview.data) == "jpeg"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: bytes) -> bytes:
    """A sound PNG with more chunks after its header."""
    data = encoded(two_halves())
    return data[:33] + b"".join(chunks) + data[33:]


def with_segments(segments: bytes) -> bytes:
    """A sound JPEG with more bytes before its first segment."""
    data = encoded(two_halves(), "JPEG")
    return data[:2] + segments + data[2:]


def with_scans(num_scans: int) -> bytes:
    """A sound progressive JPEG whose last scan is repeated."""
    data = encoded(two_halves(), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * num_scans + data[-2:]


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(png_chunk(b"abCd", b"") * (MAX_CHUNKS + 1)),
        with_segments(b"\xff\xe5\0\2" * (MAX_SEGMENTS + 1)),
        with_segments(b"\xff" * (MAX_FILL_BYTES + 1)),
        with_segments(b"\xff\xd0" * MAX_FILL_BYTES),
        with_segments(b"\xff\xd9" + b"\xff\xf0\0\2" * MAX_FILL_BYTES),
        b"\xff\xd8" + b"\xff" * (MAX_FILL_BYTES + 10),
        with_segments((b"\xff\xe1\xff\xff" + bytes(65533)) * (MAX_HEADER_BYTES // 65535 + 1)),
        with_scans(MAX_SCANS),
    ],
    ids=["chunks", "segments", "filling", "markers alone", "after an end", "nothing but filling", "header", "scans"],
)
def test_what_keeps_a_decoder_busy_for_no_pixels_is_refused_before_it_begins(data):
    for read in (images.decode, images.measure):
        with pytest.raises(InvalidImageError, match="save the image anew") as caught:
            read(data, LIMITS)
        assert caught.value.reason == "IMAGE_TOO_COMPLEX"


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(png_chunk(b"tEXt", b"key\0value") * 500),
        with_segments(b"\xff\xe2\xff\xff" + bytes(65533)),
        with_segments(b"\xff" * 1000),
        with_scans(20),
    ],
    ids=["texts", "a profile's segment", "some filling", "scans"],
)
def test_what_pictures_out_of_programs_have_is_read(data):
    assert_colour(images.decode(data, LIMITS).pixels[:8], RED)


def test_a_transparent_palette_becomes_alpha():
    data = encoded(two_halves().convert("P"), transparency=bytes([0] * 255))
    picture = images.decode(data, LIMITS)
    assert_colour(picture.pixels[:8], RED)
    assert picture.alpha.max() == 0


def test_what_follows_the_end_of_a_png_is_nobodys_business():
    picture = encoded(Image.new("RGB", (40, 30)), "PNG") + bytes(5_000_000)
    assert images.decode(picture, LIMITS).pixels.shape == (30, 40, 3)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_damaged_exif_leaves_an_image_as_it_lies(image_format):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for damaged in (b"Exif\0\0nonsense", b"Exif\0\0" + exif.tobytes()[6:20], b"Exif\0\0II"):
        data = encoded(two_halves(), image_format, exif=damaged)
        assert images.measure(data, LIMITS) == images.decode(data, LIMITS).pixels.shape[:2] == (20, 30)
