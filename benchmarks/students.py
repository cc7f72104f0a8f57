"""Students of `training.students` beside each other: their pictures, judged by VGG19 in float32, and their cost.

    python -m benchmarks.students FOLDER [--pairs 4]

Style and content distances are those of `standard` by each student at 256 pixels, over pairs to whose pictures no
training image belongs. Cosines are of gradients to the pixels with VGG19's, seconds those of an evaluation in turn with
VGG19's. Students that are in docs/benchmarks/students.json by the same file are not judged again; all are timed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import safetensors

from benchmarks import gallery, networks, report
from benchmarks.gallery import Gallery, Pair
from styleserve.model.light import light
from styleserve.model.weights import Weights
from styleserve.presets import PRESETS

_NAME = "students"
_SIDE = 256
_TURNS = 7


def main() -> None:
    """Judge those in a folder, time all, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what training.students wrote")
    parser.add_argument("--pairs", type=int, default=4, help="how many of the sixteen are painted (default: 4)")
    arguments = parser.parse_args()
    pairs = gallery.pairs(_SIDE, arguments.pairs)
    files = {path.stem: path for path in sorted(arguments.folder.glob("*.safetensors"))}
    rows = {
        name: row
        for name, row in _told(arguments.pairs).items()
        if name in files and row["weights"] == light(files[name]).label
    }
    with gallery.opened("float32") as of_vgg19:
        for name, path in files.items():
            if name not in rows:
                rows[name] = {"weights": light(path).label, **_training(path), **_judged(light(path), of_vgg19, pairs)}
                _put(arguments.pairs, rows, name)
        for name, path in files.items():
            rows[name] = {**rows[name], "times cheaper": _times_cheaper(light(path), of_vgg19, pairs[0])}
            _put(arguments.pairs, rows, name)
    header = [figure for figure in next(iter(rows.values())) if figure != "weights"]
    print(report.table(["student", *header], [[name, *(row[of] for of in header)] for name, row in rows.items()]))


def _told(num_pairs: int) -> dict[str, Mapping[str, report.Value]]:
    """The rows that are there already, unless of other pairs."""
    told = report.read(_NAME)
    students = told.get("students")
    if told.get("pairs") != num_pairs or not isinstance(students, Mapping):
        return {}
    return {name: row for name, row in students.items() if isinstance(row, Mapping)}


def _put(num_pairs: int, rows: Mapping[str, Mapping[str, report.Value]], name: str) -> None:
    print(name, rows[name], flush=True)
    report.write(_NAME, {"pairs": num_pairs, "students": rows})


def _training(path: Path) -> dict[str, report.Value]:
    """Its size, and what its training noted: steps, and errors on crops that none was trained on."""
    weights = light(path)
    arrays = (*weights.kernels.values(), *weights.biases.values())
    with safetensors.safe_open(path, framework="numpy") as file:
        notes = file.metadata()
    return {
        "million numbers": sum(array.size for array in arrays) / 1e6,
        **{figure: float(notes[figure]) for figure in ("steps", "features", "Gram matrices")},
    }


def _judged(weights: Weights, of_vgg19: Gallery, pairs: Sequence[Pair]) -> dict[str, report.Value]:
    """Cosines of its gradients, and its pictures' distances."""
    with gallery.opened("float32", weights=weights) as own:
        cosines = networks.cosines(of_vgg19, own, pairs)
        judged = [own.judge(own.picture(pair, PRESETS["standard"]), pair) for pair in pairs]
    return {
        **{f"cosine {where}": cosine for where, cosine in cosines.items()},
        "style": mean(judgement.style for judgement in judged),
        "content": mean(judgement.content for judgement in judged),
    }


def _times_cheaper(weights: Weights, of_vgg19: Gallery, pair: Pair) -> report.Value:
    """How many times cheaper an evaluation of `standard` is than VGG19's."""
    with gallery.opened("float32", weights=weights) as own:
        return networks.evaluations(of_vgg19, own, pair, _TURNS)["standard, times cheaper"]


if __name__ == "__main__":
    main()
