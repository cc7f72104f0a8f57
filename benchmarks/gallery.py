"""The gallery: every picture that was painted to be judged, so that none is painted twice.

A painting takes seconds to minutes. Its judgements are kept in docs/benchmarks/paintings.json, under a name that
changes with all that determines it: a benchmark can be broken off and goes on where it stood, and two that want the
same painting share it. Move the file away to paint everything anew, as on another machine.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks import report, subjects
from benchmarks.experiments import NOTHING, Experiment
from benchmarks.judgement import Judge, Judgement
from benchmarks.painting import Look, Painter
from styleserve import images
from styleserve.evaluation import Pixels, StyleImage
from styleserve.model.weights import Weights
from styleserve.recipes import Recipe
from styleserve.workers.vgg_engine import PrecisionChoice

NUM_LOOKS = 6
PRECISIONS = ("auto", "float32", "bfloat16")
_FILE = "paintings"
_VALUES = ("seconds", "evaluations", "megapixels", "style", "content")
_Record: TypeAlias = Mapping[str, report.Value]


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph at its size, and a style."""

    content_name: str
    style_name: str
    content: Pixels
    style: StyleImage

    @property
    def side(self) -> int:
        """The longest side, in pixels."""
        return int(max(self.content.shape[:2]))

    @property
    def name(self) -> str:
        """Photograph and style."""
        return f"{self.content_name} {self.style_name}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A picture on its way: seconds of painting until it, evaluations, megapixels judged, and its distances.

    The seconds are NaN where other work ran beside, which takes time and changes no picture. `machine` is the name of
    the one that painted it: seconds of two can not be compared, and products in bfloat16 round otherwise on another.
    """

    seconds: float
    evaluations: int
    megapixels: float
    style: float
    content: float
    machine: str


def add_sides(parser: argparse.ArgumentParser) -> None:
    """Arguments that say at which sizes pairs are painted, and how many of them at each."""
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="longest sides (default: 256 512)")
    parser.add_argument(
        "--pairs",
        type=int,
        nargs="+",
        default=[16, 4],
        help="how many of the sixteen pairs, a side each (default: 16 4)",
    )


def pairs(side: int, most: int = 16) -> list[Pair]:
    """The first of the sixteen, so ordered that each four show every photograph and every style once."""
    contents, styles = list(subjects.photographs().items()), list(subjects.styles().items())
    square = [
        Pair(content_name, style_name, _sized(content, side), style)
        for shift in range(len(styles))
        for rank, (content_name, content) in enumerate(contents)
        for style_name, style in [styles[(rank + shift) % len(styles)]]
    ]
    return square[:most]


def _sized(content: Pixels, side: int) -> Pixels:
    """The photograph with this longest side; enlarged, if it comes smaller."""
    height, width = content.shape[:2]
    factor = side / max(height, width)
    return images.resize(content, round(height * factor), round(width * factor))


class Gallery:
    """Paints with one network and precision what it does not have yet, and judges it by VGG19 in float32.

    Seconds are kept only if the machine `is_quiet`. `machines` are those which painted what was asked for.
    """

    def __init__(self, subject: subjects.Subject, experiment: Experiment = NOTHING, is_quiet: bool = True) -> None:
        self.subject = subject
        self._is_quiet = is_quiet
        self._painter = Painter(subject.evaluator, experiment)
        self._judge = Judge(subjects.vgg19())
        self._paintings = _read()
        self._warm: set[str] = set()
        self.machines: dict[str, None] = {}

    def judged(self, pair: Pair, recipe: Recipe) -> list[Judged]:
        """Judgements of the painting on its way, about `NUM_LOOKS` of them; the last is that of the result."""
        own = self._key(pair, recipe)
        if own not in self._paintings:
            self._warm_up(recipe)
            self._paintings[own] = self._paint(pair, recipe)
            kept = {**_read(), own: self._paintings[own]}
            report.write(_FILE, {"paintings": {key: _record(looks) for key, looks in kept.items()}})
            print(own, self._paintings[own][-1], flush=True)
        looks = self._paintings[own]
        self.machines[looks[-1].machine] = None
        return looks

    def has(self, pair: Pair, recipe: Recipe) -> bool:
        """Whether the painting is there already."""
        return self._key(pair, recipe) in self._paintings

    def result(self, pair: Pair, recipe: Recipe) -> Judged:
        """The judgement of the result."""
        return self.judged(pair, recipe)[-1]

    def picture(self, pair: Pair, recipe: Recipe) -> Pixels:
        """The result itself, which is not kept."""
        looks: list[Look] = []
        self._painter.paint(pair.content, pair.style, recipe, looks.append)
        return looks[-1].picture

    def judge(self, picture: Pixels, pair: Pair) -> Judgement:
        """The distances of a picture that something else made."""
        return self._judge.judge(picture, pair.content, pair.style)

    def _paint(self, pair: Pair, recipe: Recipe) -> list[Judged]:
        looks: list[Judged] = []
        machine = report.machine_name()

        def show(look: Look) -> None:
            judgement = self.judge(look.picture, pair)
            seconds = look.seconds if self._is_quiet else math.nan
            distances = judgement.style, judgement.content
            looks.append(Judged(seconds, look.evaluations, look.megapixels, *distances, machine))

        self._painter.paint(pair.content, pair.style, recipe, show, NUM_LOOKS)
        return looks

    def _warm_up(self, recipe: Recipe) -> None:
        """Trace what a form and an optimizer need, once."""
        design = f"{recipe.optimizer} {recipe.loss}"
        if design not in self._warm:
            self._warm.add(design)
            self._painter.warm_up({recipe.preset: recipe})

    def _key(self, pair: Pair, recipe: Recipe) -> str:
        """A name for one painting, which changes with all that determines it."""
        label, precision = self.subject.weights.label, self.subject.precision
        return f"{pair.side} {pair.name} {recipe.preset} {_digest(recipe)} {label} {precision}"


def owner(galleries: Sequence[Gallery], pair: Pair, recipe: Recipe) -> Gallery:
    """The first that has the painting; what none has is the last one's to paint."""
    return next((own for own in galleries if own.has(pair, recipe)), galleries[-1])


@contextmanager
def opened(
    precision: PrecisionChoice = "auto",
    experiment: Experiment = NOTHING,
    weights: Weights | None = None,
    is_quiet: bool = True,
) -> Iterator[Gallery]:
    """A gallery with a network of its own, VGG19 unless `weights` are given.

    What an experiment changes is no part of a painting's name, so its recipes must have preset names of their own.
    """
    with tempfile.TemporaryDirectory() as data_dir:
        subject = subjects.subject(precision, Path(data_dir), experiment.network, weights)
        yield Gallery(subject, experiment, is_quiet)


def _digest(recipe: Recipe) -> str:
    """A name for all that the recipe has a say in."""
    values = dataclasses.asdict(recipe)
    if recipe.optimizer != "adam":
        del values["adam"]
    if recipe.loss.bounds_content:
        values["content_leeway"] = f"{recipe.content_leeway:.6g}"
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _read() -> dict[str, list[Judged]]:
    paintings = report.read(_FILE).get("paintings", {})
    assert isinstance(paintings, dict)
    return {key: _recall(record) for key, record in paintings.items()}


def _record(looks: Sequence[Judged]) -> _Record:
    """What painted it, and the judgements, whose seconds may be unknown."""
    values = [{name: getattr(look, name) for name in _VALUES} for look in looks]
    known = [value if math.isfinite(value["seconds"]) else {**value, "seconds": None} for value in values]
    return {"machine": looks[-1].machine, "looks": known}


def _recall(record: _Record) -> list[Judged]:
    machine, looks = record["machine"], record["looks"]
    assert isinstance(machine, str)
    assert isinstance(looks, list)
    known = [{**look, "seconds": math.nan} if look["seconds"] is None else look for look in looks]
    return [Judged(machine=machine, **look) for look in known]
