"""Style pictures: the images of styles at the sizes at which the network sees them."""

from styleserve import images
from styleserve.evaluation import Pixels, StyleImage
from styleserve.images import MIN_SIDE, ImageLimits
from styleserve.model.latest import Latest

#: As many as a blend may have styles; of 3 MB each at most.
_MOST_KEPT = 8


class StylePictures:
    """Resizes the images of styles, and decodes one once for all sizes up to `decoded_side(0)`.

    A scale and each smaller size at which style is compared have a size of their own, and decoding takes longer than
    the network does to see a small one. What is decoded for a larger size, does not stay.
    """

    def __init__(self) -> None:
        self._decoded: Latest[str, Pixels] = Latest(_MOST_KEPT)

    def seen_at(self, style: StyleImage, side: int) -> Pixels:
        """The style's image, [H, W, 3], whose longest side is `side`, or longer where it would be too narrow."""
        fit_side = decoded_side(side)
        pixels = self._small(style) if fit_side == decoded_side(0) else _decode(style, fit_side)
        return images.resize(pixels, *style_size(pixels.shape[0], pixels.shape[1], side))

    def _small(self, style: StyleImage) -> Pixels:
        pixels = self._decoded.read(style.key)
        if pixels is None:
            pixels = _decode(style, decoded_side(0))
            self._decoded.write(style.key, pixels)
        return pixels


def style_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of a style image whose longest side is to be `side`; longer where it is too narrow for that."""
    factor = max(side / max(height, width), MIN_SIDE / min(height, width))
    return max(MIN_SIDE, round(height * factor)), max(MIN_SIDE, round(width * factor))


def decoded_side(side: int) -> int:
    """How far a style image that is to have this side may be shrunk by its decoder; a narrow one has to stay longer."""
    return max(side, MIN_SIDE * ImageLimits().max_aspect)


def _decode(style: StyleImage, fit_side: int) -> Pixels:
    return images.decode(style.data, ImageLimits(), fit_side).pixels
