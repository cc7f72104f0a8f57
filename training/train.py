"""Trains the light network, on a GPU where there is one.

    python -m training.train FOLDER --teacher VGG19.h5 [--paintings DIR] [--steps 4200] [--gradients 1]

Writes FOLDER/student.pt and FOLDER/log.csv, and goes on from them when they are there. Minutes on a GPU, hours on
two cores; beside other work let OpenMP's threads sleep (OMP_WAIT_POLICY=passive). Needs the extra `train`.
"""

import argparse
import csv
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from styleserve.errors import WeightsError
from styleserve.evaluation import Pixels
from styleserve.model.weights import Blocks, Weights, load_file
from training import scenes
from training.beginning import begin
from training.easels import Easels
from training.networks import LIGHT, TAPS, Basis, Student, Teacher, fastest_device, gram
from training.pictures import JUDGED, Crops, collection, paintings_in
from training.pool import Pool, stack

logger = logging.getLogger(__name__)

CROP_SIDE = 96
BATCH = 16
POOL_SIZE = 1024
LEARNING_RATE = 1e-3
_STEPS = 4200
#: Crops that are new at every step.
_RENEWED = 2
_FIRST_CROPS = 384
NUM_EASELS = 36
NUM_SCENES = 384
#: Scenes beside each crop of a step.
_SCENES_SHARE = 0.375
_NUM_ERRORS = 2 * len(TAPS) + 2
_WARM_UP_STEPS = 100
_SAVE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Shares:
    """What counts how much: errors of Gram matrices and of gradients to the pixels beside those of features.

    And how many of the student's own canvases are learnt from beside each new crop.
    """

    grams: float = 0.5
    gradients: float = 0.0
    canvases: float = 1.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step learns from: images, what the teacher sees of them by layer, and scenes where gradients count."""

    images: Tensor
    wanted: Mapping[str, Tensor]
    scenes: Tensor | None = None


class Lessons:
    """Lessons without end, out of a pool of crops and canvases and, where gradients count, one of scenes."""

    def __init__(
        self,
        teacher: Teacher,
        student: Student,
        basis: Basis,
        crops: Iterator[Pixels],
        random: np.random.Generator,
        shares: Shares,
        batch: int = BATCH,
    ) -> None:
        self._student = student
        self._device = teacher.device
        self._crops = crops
        self._random = random
        self._batch = batch
        self._pool = Pool(teacher, basis, crops, POOL_SIZE)
        self._easels = Easels(crops, NUM_EASELS, random, self._device)
        self._num_canvases = round(_RENEWED * shares.canvases)
        self._scenes = scenes.Scenes(teacher, self._easels, student, NUM_SCENES) if shares.gradients else None
        self.energies = self._pool.energies()

    def next(self) -> Lesson:
        """The next one, after new crops and what the student paints have taken the place of the oldest."""
        self._pool.put(stack(self._crops, _RENEWED, self._device))
        self._pool.put(self._easels.move(self._student)[: self._num_canvases])
        lesson = Lesson(*self._pool.sample(self._batch, self._random))
        if self._scenes is None:
            return lesson
        self._scenes.renew()
        return replace(lesson, scenes=self._scenes.sample(round(_SCENES_SHARE * self._batch), self._random))


def losses(
    student: Student, images: Tensor, wanted: Mapping[str, Tensor], energies: Mapping[str, float]
) -> tuple[Tensor, Tensor]:
    """Squared relative errors of features and of Gram matrices, each [taps].

    Features by their energy in the mean picture, so that plain ones count for little; Gram matrices each by its own,
    with a floor for plain ones.
    """
    of_features, of_grams = [], []
    for name, mapped in student(images).items():
        of_features.append((mapped - wanted[name]).square().mean() / energies[name])
        target = gram(wanted[name])
        size = target.square().sum((1, 2))
        floor = 0.05 * size.mean()
        of_grams.append(((gram(mapped) - target).square().sum((1, 2)) / (size + floor)).mean())
    return torch.stack(of_features), torch.stack(of_grams)


class Training:
    """A training in `folder`: its student, optimizer, average and number of steps, from where an earlier one ended."""

    basis: Basis

    def __init__(
        self,
        folder: Path,
        steps: int,
        learning_rate: float,
        device: torch.device,
        blocks: Blocks = LIGHT,
        shares: Shares = Shares(),
    ) -> None:
        self.folder = folder
        self.steps = steps
        self.shares = shares
        self.student = Student(blocks).to(device)
        self._device = device
        self.average = {name: values.clone() for name, values in self.student.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.step = 0
        self._learning_rate = learning_rate
        self._file = folder / "student.pt"

    def resume(self) -> bool:
        """Take up what is in the folder; False when nothing is."""
        if not self._file.exists():
            return False
        kept: dict[str, Any] = torch.load(self._file, map_location=self._device, weights_only=True)
        self.student.load_state_dict(kept["student"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.basis = Basis(kept["basis"])
        self.average, self.step = kept["average"], kept["step"]
        return True

    def begin(self, teacher: Teacher, basis: Basis, chunks: Sequence[Tensor]) -> None:
        """Fit the student's first kernels and maps to the teacher."""
        self.basis = basis
        begin(self.student, teacher, self.basis, chunks)
        self.average = {name: values.clone() for name, values in self.student.state_dict().items()}
        self.save()

    def save(self) -> None:
        """Write all that goes on to the folder, whole or not at all."""
        part = self._file.with_suffix(".part")
        torch.save(
            {
                "student": self.student.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average,
                "basis": self.basis.rows,
                "step": self.step,
            },
            part,
        )
        part.replace(self._file)

    def learn(self, lesson: Lesson, energies: Mapping[str, float]) -> Tensor:
        """One step of Adam, whose rate rises for a hundred steps and falls with a cosine.

        Returns squared relative errors of features, then of Gram matrices, each [taps], then one minus the cosines of
        gradients, [2].
        """
        rate = self._learning_rate * min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        of_features, of_grams = losses(self.student, lesson.images, lesson.wanted, energies)
        of_gradients = of_grams.new_zeros(2) if lesson.scenes is None else scenes.errors(self.student, lesson.scenes)
        self.optimizer.zero_grad()
        loss = of_features.sum() + self.shares.grams * of_grams.sum() + self.shares.gradients * of_gradients.sum()
        if not bool(loss.isfinite()):
            raise FloatingPointError(f"the loss is not finite any more at step {self.step}; train by smaller steps")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(0.998, self.step / (self.step + 10))
        for name, values in self.student.state_dict().items():
            self.average[name].lerp_(values, 1 - decay)
        return torch.cat([of_features, of_grams, of_gradients]).detach()


def main() -> None:
    """Read the command line, train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the student and the log are kept")
    add_pictures(parser)
    parser.add_argument(
        "--steps", type=int, default=_STEPS, help=f"all steps, those of earlier runs counted (default: {_STEPS})"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=LEARNING_RATE, help=f"its highest (default: {LEARNING_RATE:g})"
    )
    parser.add_argument(
        "--gradients", type=float, default=1.0, help="what errors of gradients count beside others (default: 1)"
    )
    parser.add_argument("--batch", type=int, default=BATCH, help=f"crops a step (default: {BATCH})")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = fastest_device()
    torch.manual_seed(arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shares = Shares(gradients=arguments.gradients)
    training = Training(arguments.folder, arguments.steps, arguments.learning_rate, device, shares=shares)
    teacher = Teacher(arguments.teacher, device)
    kinds = collection(arguments.paintings)
    logger.info("pictures: %s", {kind: len(pictures) for kind, pictures in kinds.items()})
    is_resumed = training.resume()
    crops = iter(Crops(kinds, CROP_SIDE, arguments.seed + training.step))
    if not is_resumed:
        chunks = stack(crops, _FIRST_CROPS, device).split(BATCH)
        training.begin(teacher, Basis.of(teacher, chunks), chunks)
    random = np.random.default_rng(arguments.seed + training.step)
    run(training, Lessons(teacher, training.student, training.basis, crops, random, shares, arguments.batch))


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is trained on, and by whom it is taught."""
    parser.add_argument(
        "--teacher", type=_weights, required=True, metavar="FILE", help="VGG19's weights in Keras' HDF5 layout"
    )
    parser.add_argument(
        "--paintings",
        type=_paintings,
        metavar="DIR",
        help=f"a folder of JPEG files; benchmarks judge by {', '.join(JUDGED)}, which are left out by these names",
    )


def _weights(path: str) -> Weights:
    try:
        return load_file(Path(path))
    except WeightsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _paintings(path: str) -> Path:
    if not paintings_in(Path(path)):
        raise argparse.ArgumentTypeError(f"got {path!r}; allowed: a folder with a JPEG file to learn from")
    return Path(path)


def run(training: Training, lessons: Lessons) -> None:
    """All steps that are left; every hundred of them are told, and kept, and so is what is left of them at the end."""
    path = training.folder / "log.csv"
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        log = csv.writer(file)
        if is_new:
            log.writerow(
                ["step", "seconds", *(f"features {name}" for name in TAPS), *(f"gram {name}" for name in TAPS)]
                + [f"gradients of {what}" for what in ("style", "content")]
            )
        while training.step < training.steps:
            seconds, errors = _learn(training, lessons)
            log.writerow([training.step, f"{seconds:.3f}", *(f"{error:.4f}" for error in errors)])
            file.flush()
            logger.info("%d: %.2f s, %s", training.step, seconds, " ".join(f"{error:.3f}" for error in errors))
            training.save()


def _learn(training: Training, lessons: Lessons) -> tuple[float, list[float]]:
    """The steps up to the next hundred or to the last one; returns the seconds of each and their mean errors."""
    begun, first = time.perf_counter(), training.step
    last = min(first - first % _SAVE_EVERY + _SAVE_EVERY, training.steps)
    sums = torch.zeros(_NUM_ERRORS)
    while training.step < last:
        sums += training.learn(lessons.next(), lessons.energies).cpu()
    means = sums / (last - first)
    return (time.perf_counter() - begun) / (last - first), [*means[:-2].sqrt().tolist(), *means[-2:].tolist()]


if __name__ == "__main__":
    main()
