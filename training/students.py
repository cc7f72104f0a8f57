"""Trains students beside each other: widths, depths and losses, each alike, for `benchmarks.students` to judge.

    python -m training.students FOLDER --teacher VGG19.h5 [--paintings DIR] [--steps 2000] [--only NAME ...]

Each begins from the same fit and sees crops of the same pictures. Writes FOLDER/NAME.safetensors, with its errors on
crops that none was trained on in the notes; one that was broken off goes on where it stood. Needs the extra `train`.
"""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from styleserve.model.weights import Blocks
from training.beginning import fit_maps
from training.export import HELD_OUT_SEED, write
from training.networks import LIGHT, Basis, Student, Teacher, fastest_device
from training.pictures import Array, Crops, collection
from training.pool import stack
from training.train import BATCH, CROP_SIDE, Lessons, Shares, Training, add_pictures, losses, run

logger = logging.getLogger(__name__)

_FIRST_CROPS = 128
_HELD_OUT = 96
#: As all of them were trained beside each other.
_LEARNING_RATE = 6e-4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student to be: its layout, no wider at a tap than the components there, and its loss.

    `is_mapped` when distances are measured in its maps to the teacher.
    """

    blocks: Blocks = LIGHT
    shares: Shares = Shares()  # noqa: RUF009  (frozen)
    is_mapped: bool = True


CANDIDATES = {
    "light": Candidate(),
    "half as wide": Candidate(((1, 8), (2, 16), (3, 32), (4, 80), (2, 112))),
    "half as wide again up to block 3": Candidate(((1, 24), (2, 48), (3, 96), (4, 192), (2, 224))),
    "a layer less in blocks 2 to 4": Candidate(((1, 16), (1, 32), (2, 64), (3, 160), (2, 224))),
    "wider up to block 3, a layer less in blocks 2 to 4": Candidate(((1, 24), (1, 48), (2, 96), (3, 160), (2, 224))),
    "as deep as VGG19": Candidate(((2, 16), (2, 32), (4, 64), (4, 160), (2, 224))),
    "features alone": Candidate(shares=Shares(grams=0.0)),
    "Gram matrices four times": Candidate(shares=Shares(grams=2.0)),
    "gradients too": Candidate(shares=Shares(gradients=0.5)),
    "without its canvases": Candidate(shares=Shares(canvases=0.0)),
    "in its own channels": Candidate(is_mapped=False),
}


def main() -> None:
    """Train those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where students and logs are kept")
    add_pictures(parser)
    parser.add_argument("--steps", type=int, default=2000, help="of each (default: 2000)")
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), help="these, not all")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"crops a step (default: {BATCH})")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    teacher = Teacher(arguments.teacher, fastest_device())
    school = School(teacher, collection(arguments.paintings), arguments.folder, arguments.steps, arguments.batch)
    for name in arguments.only:
        student = school.train(name)
        notes = {**school.errors(student), "steps": arguments.steps}
        write(arguments.folder / f"{name}.safetensors", student, teacher, {key: str(of) for key, of in notes.items()})
        logger.info("%s: %s", name, notes)


class School:
    """Trains students by one teacher, each for as many steps on crops of the same pictures."""

    def __init__(
        self, teacher: Teacher, kinds: Mapping[str, list[Array]], folder: Path, steps: int, batch: int
    ) -> None:
        self._teacher = teacher
        self._kinds = kinds
        self._folder = folder
        self._steps = steps
        self._batch = batch
        self._chunks = self._crops(seed=0, number=_FIRST_CROPS)
        self._held_out = self._crops(HELD_OUT_SEED, _HELD_OUT)
        self._basis = Basis.of(teacher, self._chunks)

    def train(self, name: str) -> Student:
        """A student after its steps, with its maps fitted once more; one that is there already is taken up."""
        candidate = CANDIDATES[name]
        folder = self._folder / _trained_as(candidate)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        device = self._teacher.device
        training = Training(folder, self._steps, _LEARNING_RATE, device, candidate.blocks, candidate.shares)
        if not training.resume():
            training.begin(self._teacher, self._basis, self._chunks)
        if training.step < self._steps:
            random = np.random.default_rng(training.step)
            crops = iter(Crops(self._kinds, CROP_SIDE, seed=1 + training.step))
            lessons = Lessons(
                self._teacher,
                training.student,
                training.basis,
                crops,
                random,
                candidate.shares,
                self._batch,
            )
            run(training, lessons)
        student: Student = training.student
        student.load_state_dict(training.average)
        fit_maps(student, self._teacher, training.basis, self._chunks)
        if not candidate.is_mapped:
            self._forget_maps(student)
        return student

    @torch.no_grad()
    def errors(self, student: Student) -> dict[str, float]:
        """Relative errors of features and of Gram matrices, the mean over taps and crops that none was trained on."""
        squares = []
        for images in self._held_out:
            wanted = self._basis.project(self._teacher.see(images))
            energies = {name: float(values.square().mean()) for name, values in wanted.items()}
            squares.append(torch.stack(losses(student, images, wanted, energies)))
        of_features, of_grams = torch.stack(squares).mean(0).sqrt().mean(1).tolist()
        return {"features": of_features, "Gram matrices": of_grams}

    def _crops(self, seed: int, number: int) -> list[torch.Tensor]:
        crops = iter(Crops(self._kinds, CROP_SIDE, seed))
        return list(stack(crops, number, self._teacher.device).split(BATCH))

    @torch.no_grad()
    def _forget_maps(self, student: Student) -> None:
        """Put the identity in the place of each map, times what makes features as large as its images were."""
        seen = student.see(self._held_out[0])
        for name, mapped in student(self._held_out[0]).items():
            size = mapped.norm() / seen[name].norm()
            identity = torch.eye(mapped.shape[1], seen[name].shape[1], device=mapped.device)
            student.maps[name].weight.copy_(size * identity[..., None, None])


def _trained_as(candidate: Candidate) -> str:
    """The first of those that are trained alike: maps are no matter of training."""
    return next(
        name
        for name, other in CANDIDATES.items()
        if (other.blocks, other.shares) == (candidate.blocks, candidate.shares)
    )


if __name__ == "__main__":
    main()
