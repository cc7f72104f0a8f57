"""The parts of an encoded image, counted before a decoder is let near them.

The number of pixels bounds neither the time nor the memory of a decoder. It also walks through chunks and segments
that hold no pixels, one at a time in Python, and decodes every scan of a progressive JPEG over the whole picture: a
file of a few megabytes can keep it busy for minutes. Pictures out of cameras and programs stay far below these limits.
"""

import re

from styleserve.errors import InvalidImageError

#: Chunks of a PNG: 64 MB in chunks of 8 kB, which is what encoders write, have fewer.
MAX_CHUNKS = 20_000
#: Segments of a JPEG; its scans among them; the bytes before its first scan; bytes that belong to no segment there.
MAX_SEGMENTS = 1_000
MAX_SCANS = 64
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_FILL_BYTES = 64 * 1024

_PNG_SIGNATURE_BYTES = 8
#: A chunk's length, kind and checksum.
_CHUNK_FRAME_BYTES = 12
_LAST_CHUNK = b"IEND"
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
#: Markers that have a length after them; and those, or the end.
_SEGMENT = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")
_SEGMENT_OR_END = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")


def judge_png(data: bytes) -> None:
    """Raise InvalidImageError when there are more chunks than a picture needs; nobody reads what follows the last."""
    position, num_chunks = _PNG_SIGNATURE_BYTES, 0
    while position < len(data) and data[position + 4 : position + 8] != _LAST_CHUNK:
        num_chunks += 1
        if num_chunks > MAX_CHUNKS:
            raise _too_complex(f"more than {MAX_CHUNKS} chunks")
        position += _CHUNK_FRAME_BYTES + int.from_bytes(data[position : position + 4])


def judge_jpeg(data: bytes) -> None:
    """Raise InvalidImageError when there are more segments, scans, or bytes before the first scan than needed."""
    position = header_bytes = 2
    num_segments = num_scans = num_fill_bytes = 0
    is_header = True
    while marker := (_SEGMENT if is_header else _SEGMENT_OR_END).search(data, position):
        if marker[0] == _END_OF_IMAGE:
            break
        num_segments += 1
        num_scans += marker[0] == _START_OF_SCAN
        if is_header:
            num_fill_bytes += marker.start() - position
            header_bytes = marker.start()
        if num_segments > MAX_SEGMENTS:
            raise _too_complex(f"more than {MAX_SEGMENTS} segments")
        if num_scans > MAX_SCANS:
            raise _too_complex(f"more than {MAX_SCANS} scans")
        is_header = num_scans == 0
        position = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2]))
    if is_header:
        num_fill_bytes += max(0, len(data) - position)
    if num_fill_bytes > MAX_FILL_BYTES or header_bytes > MAX_HEADER_BYTES:
        raise _too_complex(f"more than {MAX_HEADER_BYTES} bytes, or {MAX_FILL_BYTES} of filling, before the first scan")


def _too_complex(got: str) -> InvalidImageError:
    return InvalidImageError("IMAGE_TOO_COMPLEX", f"got {got}, more than a picture needs; save the image anew")
