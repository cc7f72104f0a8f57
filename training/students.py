"""Students beside each other: widths, depths and losses, each trained alike for a few hundred steps, then judged.

    python -m training.students FOLDER --teacher VGG19.h5 [--paintings DIR] [--canvases DIR] [--steps 300]

Each begins from the same fit and sees crops of the same pictures. Errors are of crops that none was trained on; style
and content distances are those of `standard` by the student at 256 pixels, judged by VGG19 in float32 over pairs to
whose pictures no training image belongs. Cosines are of gradients to the pixels with VGG19's. Writes
docs/benchmarks/students.json.
"""

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from benchmarks import gallery, networks, report
from benchmarks.gallery import Gallery, Pair

from styleserve.model.light import light
from styleserve.model.weights import Blocks, load_file
from styleserve.presets import PRESETS
from training.beginning import fit_maps
from training.export import HELD_OUT_SEED, write
from training.networks import LIGHT, Basis, Student, Teacher
from training.pictures import Array, Crops, collection
from training.pool import Pool, stack
from training.scenes import Scenes
from training.train import (
    BATCH,
    CROP_SIDE,
    LEARNING_RATE,
    NUM_SCENES,
    POOL_SIZE,
    Lessons,
    Shares,
    Training,
    add_pictures,
    losses,
    run,
)

_FIRST_CROPS = 128
_HELD_OUT = 96
_NAME = "students"
_SIDE = 256
_TURNS = 5


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
    "in its own channels": Candidate(is_mapped=False),
}


def main() -> None:
    """Train and judge those that are not in the table yet, time all, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_pictures(parser)
    parser.add_argument("--steps", type=int, default=300, help="of each (default: 300)")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen are painted (default: 4)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(os.cpu_count() or 1)
    results = Results(arguments.steps, arguments.pairs)
    files = {name: arguments.folder / f"{name}.safetensors" for name in CANDIDATES}
    pairs = gallery.pairs(_SIDE, arguments.pairs)
    with gallery.opened("float32") as of_vgg19:
        if any(name not in results.rows for name in CANDIDATES):
            teacher = Teacher(load_file(arguments.teacher))
            kinds = collection(arguments.paintings, arguments.canvases)
            school = School(teacher, kinds, arguments.folder, arguments.steps)
            for name in CANDIDATES:
                if name not in results.rows:
                    student = school.train(name)
                    write(files[name], student, teacher, {"steps": str(arguments.steps)})
                    results.put(name, {**school.errors(student), **_judged(files[name], of_vgg19, pairs)})
        for name, file in files.items():
            results.put(name, {"times cheaper": _times_cheaper(file, of_vgg19, pairs[0])})
    print(results.table)


class Results:
    """The table of docs/benchmarks/students.json, which is begun anew for other numbers of steps or pairs."""

    def __init__(self, steps: int, num_pairs: int) -> None:
        self._asked: dict[str, report.Value] = {"steps": steps, "pairs": num_pairs}
        told = report.read(_NAME)
        students = told.get("students", {})
        self.rows: dict[str, Mapping[str, report.Value]] = {}
        if isinstance(students, Mapping) and all(told.get(name) == value for name, value in self._asked.items()):
            self.rows = {name: row for name, row in students.items() if isinstance(row, Mapping)}

    def put(self, name: str, figures: Mapping[str, report.Value]) -> None:
        """Put what was found of a student into its row, and write the file."""
        self.rows[name] = {**self.rows.get(name, {}), **figures}
        print(name, self.rows[name], flush=True)
        report.write(_NAME, {**self._asked, "students": self.rows})

    @property
    def table(self) -> str:
        """A line a student."""
        header = ["student", *next(iter(self.rows.values()))]
        return report.table(header, [[name, *row.values()] for name, row in self.rows.items()])


class School:
    """Trains students by one teacher, each for as many steps on crops of the same pictures."""

    def __init__(self, teacher: Teacher, kinds: dict[str, list[Array]], folder: Path, steps: int) -> None:
        self._teacher = teacher
        self._folder = folder
        self._steps = steps
        self._random = np.random.default_rng(0)
        self._crops = iter(Crops(kinds, CROP_SIDE, seed=0))
        self._chunks = stack(self._crops, _FIRST_CROPS).split(BATCH)
        self._held_out = stack(iter(Crops(kinds, CROP_SIDE, HELD_OUT_SEED)), _HELD_OUT).split(BATCH)
        self._basis = Basis.of(teacher, self._chunks)
        self._pool = Pool(teacher, self._basis, self._crops, POOL_SIZE)

    def train(self, name: str) -> Student:
        """A student after its steps, with its maps fitted once more; one that is there already is taken up."""
        candidate = CANDIDATES[name]
        folder = self._folder / _trained_as(candidate)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        training = Training(folder, self._steps, LEARNING_RATE, candidate.blocks, candidate.shares)
        if not training.resume():
            training.begin(self._teacher, self._basis, self._chunks)
        if training.step < self._steps:
            run(training, Lessons(self._pool, self._random, self._scenes if candidate.shares.gradients else None))
        student = training.student
        student.load_state_dict(training.average)
        fit_maps(student, self._teacher, training.basis, self._chunks)
        if not candidate.is_mapped:
            self._forget_maps(student)
        return student

    @torch.no_grad()
    def errors(self, student: Student) -> dict[str, report.Value]:
        """Relative errors of features and of Gram matrices, the mean over taps and crops that none was trained on."""
        squares = []
        for images in self._held_out:
            wanted = self._basis.project(self._teacher.see(images))
            energies = {name: float(values.square().mean()) for name, values in wanted.items()}
            squares.append(torch.stack(losses(student, images, wanted, energies)))
        of_features, of_grams = torch.stack(squares).mean(0).sqrt().mean(1).tolist()
        numbers = sum(values.numel() for values in student.layers.parameters())
        return {"million numbers": numbers / 1e6, "features": of_features, "Gram matrices": of_grams}

    @cached_property
    def _scenes(self) -> Scenes:
        return Scenes(self._teacher, self._crops, NUM_SCENES, self._random)

    @torch.no_grad()
    def _forget_maps(self, student: Student) -> None:
        """Put the identity in the place of each map, times what makes features as large as its images were."""
        seen = student.see(self._held_out[0])
        for name, mapped in student(self._held_out[0]).items():
            size = mapped.norm() / seen[name].norm()
            student.maps[name].weight.copy_(size * torch.eye(mapped.shape[1], seen[name].shape[1])[..., None, None])


def _trained_as(candidate: Candidate) -> str:
    """The first of those that are trained alike: maps are no matter of training."""
    return next(
        name
        for name, other in CANDIDATES.items()
        if (other.blocks, other.shares) == (candidate.blocks, candidate.shares)
    )


def _judged(path: Path, of_vgg19: Gallery, pairs: Sequence[Pair]) -> dict[str, report.Value]:
    """Cosines of its gradients, and its pictures' distances."""
    with gallery.opened("float32", weights=light(path)) as own:
        cosines = networks.cosines(of_vgg19, own, pairs)
        judged = [own.judge(own.picture(pair, PRESETS["standard"]), pair) for pair in pairs]
    return {
        **{f"cosine {where}": cosine for where, cosine in cosines.items()},
        "style": mean(judgement.style for judgement in judged),
        "content": mean(judgement.content for judgement in judged),
    }


def _times_cheaper(path: Path, of_vgg19: Gallery, pair: Pair) -> report.Value:
    """How many times cheaper an evaluation of `standard` is than VGG19's."""
    with gallery.opened("float32", weights=light(path)) as own:
        return networks.evaluations(of_vgg19, own, pair, _TURNS)["standard, times cheaper"]


if __name__ == "__main__":
    main()
