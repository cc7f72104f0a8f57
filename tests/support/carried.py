"""What a result carries of how it was made, read as any program reads it: a PNG's text, or EXIF's comment."""

import io
import json

from PIL import ExifTags, Image


def metadata(data: bytes) -> dict[str, object] | None:
    """How the picture was made; None when it does not say."""
    with Image.open(io.BytesIO(data)) as image:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
        text = image.info.get("styleserve") or comment.removeprefix(b"ASCII\0\0\0").decode("ascii")
    return json.loads(text) if text else None
