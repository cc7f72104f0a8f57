"""Writes a trained student as the file that the service reads.

    python -m training.export FOLDER [FOLDER ...] --teacher VGG19.h5 [--paintings DIR] [--output FILE]

The average of the student's last steps, its maps fitted once more, all as float16. Of several trainings the file has
the mean, which sees better than each where they began alike and differ in what counted (Wortsman et al. 2022). Of a map
W = Q R it has R times sqrt(C_S / C_T), C_S and C_T the filters of student and teacher: means of squared differences
over a layer's values are then the teacher's.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from styleserve.files import write_durably
from styleserve.model.calibration import natural_image
from styleserve.model.light import FILE
from training.beginning import fit_maps
from training.networks import TAPS, Student, Teacher, fastest_device
from training.pictures import Crops, collection
from training.pool import stack
from training.train import CROP_SIDE, Training, add_pictures

_CROPS = 512
_CHUNK = 16
#: Side of the image by which the service takes the size of activations.
_CALIBRATION_SIDE = 128
#: What of the way that a content may go is allowed where the student looks. What it does not see of the features goes
#: along: without this, at half strength, `standard` went 1.49 times as far by VGG19's sight as VGG19's own.
_LEEWAY = 0.6
#: Other crops than any training saw.
HELD_OUT_SEED = 999_983


def write(path: Path, student: Student, teacher: Teacher, notes: Mapping[str, str]) -> None:
    """Write what the service reads, and `notes`, which it does not."""
    write_durably(path, safetensors.numpy.save(_tensors(student, teacher), dict(notes)))


@torch.no_grad()
def _tensors(student: Student, teacher: Teacher) -> dict[str, npt.NDArray[np.float16]]:
    natural = torch.from_numpy(natural_image(_CALIBRATION_SIDE).transpose(2, 0, 1)[np.newaxis].copy())
    seen = teacher.see(natural.to(teacher.device))
    found: dict[str, torch.Tensor] = {}
    for name, layer in student.layers.items():
        found[f"{name}.kernel"] = layer.weight.permute(2, 3, 1, 0)
        found[f"{name}.bias"] = layer.bias
    for name in TAPS:
        of_differences = torch.linalg.qr(student.maps[name].weight[..., 0, 0].double())[1]
        scale = (student.channels(name) / seen[name].shape[1]) ** 0.5
        found[f"{name}.map"] = scale * of_differences.T
        found[f"{name}.mean"] = seen[name].mean()
    found["leeway"] = torch.tensor([_LEEWAY])
    return {name: np.ascontiguousarray(own.detach().cpu().numpy().astype(np.float16)) for name, own in found.items()}


def main() -> None:
    """Read the command line, fit the maps, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="what training.train wrote")
    add_pictures(parser)
    parser.add_argument("--output", type=Path, default=FILE, help="where to write (default: into the service)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = fastest_device()
    trainings = [_resumed(folder, device) for folder in arguments.folders]
    student = trainings[0].student
    student.load_state_dict(mean_of([training.average for training in trainings]))
    teacher = Teacher(arguments.teacher, device)
    crops = iter(Crops(collection(arguments.paintings), CROP_SIDE, HELD_OUT_SEED))
    fit_maps(student, teacher, trainings[0].basis, stack(crops, _CROPS, device).split(_CHUNK))
    steps = ", ".join(str(training.step) for training in trainings)
    write(arguments.output, student, teacher, {"teacher": arguments.teacher.label, "steps": steps})
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB, steps: {steps}")


def mean_of(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of students' numbers by name."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def _resumed(folder: Path, device: torch.device) -> Training:
    training = Training(folder, steps=0, learning_rate=0.0, device=device)
    if not training.resume():
        raise SystemExit(f"{folder}: got no student.pt; run training.train first")
    return training


if __name__ == "__main__":
    main()
