"""Gathers canvases on their way, to train on them: they are what the network is asked about.

    python -m training.canvases FOLDER [--network light] [--paintings DIR] [--pictures 60]

Paints pairs of the training's pictures, none that benchmarks judge by, at random sizes and strengths with `draft` and
`standard`, and writes some of the canvases on the way as PNG. What the student itself paints shows where it errs.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from benchmarks import subjects
from benchmarks.painting import Look, Painter
from platformdirs import user_cache_path

from styleserve import images
from styleserve.config import NETWORKS
from styleserve.evaluation import StyleImage
from styleserve.model import device
from styleserve.model.acquisition import acquire
from styleserve.model.perceptual import PerceptualEvaluator
from styleserve.model.targets import TargetStore
from styleserve.presets import resolve
from styleserve.recipes import RecipeChanges
from training.pictures import Array, collection

_SIDES = (128, 160, 192, 256)
_LOOKS = 6


def main() -> None:
    """Read the command line, paint."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where canvases are written")
    parser.add_argument("--network", choices=NETWORKS, default="light", help="what paints (default: light)")
    parser.add_argument("--paintings", type=Path, help="paintings; those that benchmarks judge by are left out")
    parser.add_argument("--pictures", type=int, default=60, help="how many are painted (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(arguments.seed)
    kinds = collection(arguments.paintings, None)
    styles = [style for kind in ("styles", "paintings") for style in kinds.get(kind, [])]
    weights = acquire(subjects.weights_choice(), user_cache_path("styleserve"), arguments.network)
    hardware = device.configure("auto", device.LEAST_BYTES_TO_FREEZE)
    with tempfile.TemporaryDirectory() as folder:
        painter = Painter(PerceptualEvaluator(weights, hardware.precision, TargetStore(Path(folder))))
        for number in range(arguments.pictures):
            name = f"{arguments.network}-{arguments.seed}-{number:03}"
            _paint(painter, _any(kinds["photographs"], random), _any(styles, random), random, arguments.folder / name)
            print(name, flush=True)


def _paint(painter: Painter, photograph: Array, style: Array, random: np.random.Generator, path: Path) -> None:
    """Write the canvases of one picture as PATH-NUMBER.png."""
    side = int(random.choice(_SIDES))
    changes = RecipeChanges(
        preset=str(random.choice(["draft", "draft", "standard"])), strength=float(random.uniform(0.2, 1.0))
    )
    recipe = resolve(RecipeChanges(), changes)
    seen: list[Look] = []
    content = images.fit(photograph, side)
    painter.paint(content, _style_image(style), recipe, seen.append, _LOOKS)
    for number, look in enumerate(seen):
        picture = images.Picture(look.picture, None)
        path.with_name(f"{path.name}-{number}.png").write_bytes(images.encode(picture, "png").data)


def _style_image(style: Array) -> StyleImage:
    data = images.encode(images.Picture(style, None), "png").data
    return StyleImage(hashlib.sha256(data).hexdigest(), data)


def _any(pictures: list[Array], random: np.random.Generator) -> Array:
    return pictures[int(random.integers(len(pictures)))]


if __name__ == "__main__":
    main()
