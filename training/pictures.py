"""What the student learns from: crops of photographs, styles, and textures made on the fly.

The four photographs and four paintings that `benchmarks.quality` judges by are left out, so that its pairs are new to
the network.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from styleserve.model.calibration import natural_image

Array: TypeAlias = npt.NDArray[np.float32]

_ROOT = Path(__file__).resolve().parents[1]
#: Photographs of scikit-image that `benchmarks.subjects` does not judge by, and of scikit-learn.
_OF_SKIMAGE = (
    *("brick", "camera", "coins", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "moon", "retina"),
)
_OF_SKLEARN = ("china.jpg", "flower.jpg")
#: How the files of the paintings are named that `benchmarks.subjects` judges by.
JUDGED = ("great_wave", "starry_night", "the_scream", "udnie")
_LEAST_SIDE = 160
_LARGEST_SIDE = 1200
#: The share of textures.
_MADE = 0.15


def collection(paintings: Path | None) -> dict[str, list[Array]]:
    """Pictures by kind, each [H, W, 3] in [0, 1]."""
    kinds = {
        "photographs": list(_photographs()),
        "styles": [_read(path) for path in sorted((_ROOT / "styles").glob("*.jpg"))],
        "paintings": [_read(path) for path in paintings_in(paintings)] if paintings else [],
    }
    return {kind: pictures for kind, pictures in kinds.items() if pictures}


def paintings_in(folder: Path) -> list[Path]:
    """The JPEG files to be learnt from."""
    return [path for path in sorted(folder.glob("*.jpg")) if not path.name.startswith(JUDGED)]


class Crops:
    """Crops of `side` pixels without end, [side, side, 3], other ones for every `seed`."""

    def __init__(self, kinds: Mapping[str, list[Array]], side: int, seed: int) -> None:
        self._kinds = kinds
        self._side = side
        self._random = np.random.default_rng(seed)
        self._leaves = [natural_image(256, seed=int(number)) for number in self._random.integers(2**31, size=16)]

    def __iter__(self) -> Iterator[Array]:
        """One after the other, now and then two in one."""
        while True:
            crop = self._one()
            if self._random.random() < 0.15:
                crop = self._mix(crop, self._one())
            yield np.ascontiguousarray(np.clip(crop, 0, 1), np.float32)

    def _one(self) -> Array:
        return self._changed(self._made() if self._random.random() < _MADE else self._cut())

    def _cut(self) -> Array:
        """A square of a picture of any kind at a random scale."""
        pictures = list(self._kinds.values())[int(self._random.integers(len(self._kinds)))]
        picture = pictures[int(self._random.integers(len(pictures)))]
        shortest = min(picture.shape[:2])
        widest = min(shortest, self._side * 5)
        taken = int(np.exp(self._random.uniform(np.log(min(self._side * 0.7, widest)), np.log(widest))))
        top, left = (int(self._random.integers(size - taken + 1)) for size in picture.shape[:2])
        return _resize(picture[top : top + taken, left : left + taken], self._side)

    def _made(self) -> Array:
        """Dead leaves, or noise with a spectrum of a random slope."""
        if self._random.random() < 0.5:
            leaves = self._leaves[int(self._random.integers(len(self._leaves)))]
            top, left = self._random.integers(256 - self._side, size=2)
            return leaves[top : top + self._side, left : left + self._side]
        slope = self._random.uniform(0.3, 2.0)
        frequencies = np.hypot(np.fft.fftfreq(self._side)[:, None], np.fft.rfftfreq(self._side)[None])
        frequencies[0, 0] = 1.0
        spectrum = np.fft.rfft2(self._random.standard_normal((self._side, self._side, 3)), axes=(0, 1))
        noise = np.fft.irfft2(spectrum / frequencies[..., None] ** slope, s=(self._side, self._side), axes=(0, 1))
        noise = noise @ self._random.uniform(0, 1, (3, 3))
        spread = noise.std() + 1e-6
        return np.asarray(0.5 + self._random.uniform(0.1, 0.3) * (noise - noise.mean()) / spread, np.float32)

    def _changed(self, crop: Array) -> Array:
        """Turned, with other colours, contrast and brightness, and now and then noise: new pictures of old ones."""
        if self._random.random() < 0.5:
            crop = crop[:, ::-1]
        if self._random.random() < 0.3:
            crop = np.rot90(crop, int(self._random.integers(4)))
        if self._random.random() < 0.3:
            crop = crop[..., self._random.permutation(3)]
        gain, shift = self._random.uniform(0.6, 1.3), self._random.uniform(-0.15, 0.15)
        crop = np.asarray((crop - crop.mean()) * gain + crop.mean() + shift, np.float32)
        if self._random.random() < 0.2:
            crop += self._random.standard_normal(crop.shape, np.float32) * self._random.uniform(0.01, 0.1)
        return crop

    def _mix(self, one: Array, other: Array) -> Array:
        """One over the other: by a share of each pixel, or in two halves."""
        if self._random.random() < 0.5:
            share = self._random.uniform(0.2, 0.8)
            return np.asarray(share * one + (1 - share) * other, np.float32)
        edge = int(self._random.integers(self._side // 4, 3 * self._side // 4))
        return np.concatenate([one[:edge], other[edge:]])


def _photographs() -> Iterator[Array]:
    from skimage import data
    from sklearn.datasets import load_sample_image

    for name in _OF_SKIMAGE:
        yield _floats(getattr(data, name)())
    yield _floats(data.stereo_motorcycle()[0])
    for name in _OF_SKLEARN:
        yield _floats(load_sample_image(name))


def _read(path: Path) -> Array:
    with Image.open(path) as image:
        image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        return _floats(np.asarray(image.convert("RGB")))


def _floats(picture: npt.NDArray[np.uint8]) -> Array:
    """Three colours in [0, 1], large enough to be cut."""
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    shortest = min(colours.shape[:2])
    if shortest < _LEAST_SIDE:
        factor = _LEAST_SIDE / shortest
        size = (round(colours.shape[1] * factor), round(colours.shape[0] * factor))
        colours = np.asarray(Image.fromarray(colours[..., :3]).resize(size, Image.Resampling.LANCZOS))
    return colours[..., :3].astype(np.float32) / np.float32(255)


def _resize(square: Array, side: int) -> Array:
    image = Image.fromarray(np.uint8(np.clip(square, 0, 1) * 255 + 0.5))
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), np.float32) / np.float32(255)
