"""Judgement: how near a picture is to its style and to its content, by VGG19 in float32 whatever made the picture.

    python -m benchmarks.judgement PHOTOGRAPH PAINTING PICTURE [PICTURE ...]

prints both distances of each picture, which may be of another size than its photograph (sides of at least 32 pixels):

    style distance    mean over relu1_1 ... relu5_1 and two sizes of  |G - A| / |A|
    content distance  |F - P| / |P|  at relu4_2

in Frobenius norms: G and A are the Gram matrices of picture and style, each divided by its positions, F and P the
features of picture and content. The two sizes are the picture's own and half of it; the style image is resized to the
same longest side. Pictures are judged as they are delivered, in 8 bits.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from benchmarks import report, subjects
from styleserve import images
from styleserve.errors import InvalidImageError
from styleserve.evaluation import Pixels, StyleImage
from styleserve.model import losses
from styleserve.model.style_pictures import style_size
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import Weights

Tensor: TypeAlias = tf.Tensor

STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))
CONTENT_LAYER = "block4_conv2"
#: Of files: at half of its size the network has to see something of a picture.
_LIMITS = images.ImageLimits(min_side=2 * images.MIN_SIDE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Distances of a picture, 0 where it is the style or the content."""

    style: float
    content: float


class Judge:
    """Judges pictures by one network."""

    def __init__(self, weights: Weights) -> None:
        self._network = VggNetwork(weights, tf.float32)
        self._see = tf.function(self._features, input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
        self._grams: dict[tuple[str, int, int], list[Tensor]] = {}

    def judge(self, picture: Pixels, content: Pixels, style: StyleImage) -> Judgement:
        """The distances of a picture that has the content's shape."""
        delivered: Pixels = images.to_uint8(picture).astype(np.float32) / np.float32(255)
        height, width = delivered.shape[:2]
        seen, wanted = self._look(delivered), self._look(content)
        small = self._look(images.resize(delivered, height // 2, width // 2))
        distances = [
            distance
            for features, longest in ((seen, max(height, width)), (small, max(height, width) // 2))
            for distance in self._style_distances(features, style, longest)
        ]
        return Judgement(float(np.mean(distances)), _relative(seen[CONTENT_LAYER], wanted[CONTENT_LAYER]))

    def _style_distances(self, features: dict[str, Tensor], style: StyleImage, longest: int) -> list[float]:
        targets = self._style_grams(style, longest)
        return [_relative(_gram(features[name]), target) for name, target in zip(STYLE_LAYERS, targets, strict=True)]

    def _style_grams(self, style: StyleImage, longest: int) -> list[Tensor]:
        picture = images.decode(style.data, images.ImageLimits())
        height, width = style_size(picture.pixels.shape[0], picture.pixels.shape[1], longest)
        key = (style.key, height, width)
        if key not in self._grams:
            features = self._look(images.resize(picture.pixels, height, width))
            self._grams[key] = [_gram(features[name]) for name in STYLE_LAYERS]
        return self._grams[key]

    def _look(self, image: Pixels) -> dict[str, Tensor]:
        return dict(zip((*STYLE_LAYERS, CONTENT_LAYER), self._see(tf.constant(image[np.newaxis])), strict=True))

    def _features(self, image: Tensor) -> list[Tensor]:
        names = (*STYLE_LAYERS, CONTENT_LAYER)
        features = self._network.features(image, names, replicate_edges=False)
        return [features[name] for name in names]


def _gram(features: Tensor) -> Tensor:
    positions = features.shape[1] * features.shape[2]
    return losses.gram_sum(features) / positions


def _relative(values: Tensor, target: Tensor) -> float:
    return float(tf.norm(values - target) / tf.norm(target))


def main() -> None:
    """Print a table of the pictures, and which weights judged; one in other proportions is an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photograph", type=_pixels)
    parser.add_argument("painting", type=_style)
    parser.add_argument("pictures", type=_named, nargs="+", metavar="PICTURE", help="painted of the two")
    arguments = parser.parse_args()
    content, weights = arguments.photograph, subjects.vgg19()
    for name, picture in arguments.pictures:
        if not _is_in_proportion(picture, content):
            sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (picture, content)]
            parser.error(f"{name} has {sizes[0]} pixels, the photograph {sizes[1]}: crop one to the other's shape")
    judge, rows = Judge(weights), []
    for name, picture in arguments.pictures:
        judgement = judge.judge(picture, images.resize(content, *picture.shape[:2]), arguments.painting)
        rows.append([name, judgement.style, judgement.content])
    print(report.table(["picture", "style distance", "content distance"], rows))
    print(f"judged by {weights.label} in float32")


def _pixels(name: str) -> Pixels:
    """Pixels of a file, whose transparency is left out."""
    try:
        return images.decode(Path(name).read_bytes(), _LIMITS).pixels
    except (OSError, InvalidImageError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None


def _named(name: str) -> tuple[str, Pixels]:
    return name, _pixels(name)


def _style(name: str) -> StyleImage:
    _pixels(name)  # so that a file which is no image is told before anything is judged
    return subjects.read_style(Path(name))


def _is_in_proportion(picture: Pixels, content: Pixels) -> bool:
    """Whether the picture is the content at another size, to a pixel of the smaller one."""
    factor = max(picture.shape[:2]) / max(content.shape[:2])
    pairs = zip(picture.shape[:2], content.shape[:2], strict=True)
    return all(abs(own - factor * other) <= max(1.0, factor) for own, other in pairs)


if __name__ == "__main__":
    main()
