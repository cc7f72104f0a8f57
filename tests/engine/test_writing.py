"""Checkpoints are written beside the engine's steps: a slow disk delays none, and what is kept is as it was."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from styleserve.engine import chronicle
from styleserve.engine.checkpoints import Checkpoint, CheckpointFolder, Checkpoints
from styleserve.engine.engine import Engine
from styleserve.engine.specification import Cancel, JobSpecification
from styleserve.events import Checkpointed, EngineEvent, Finished, Progressed
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import resolve
from styleserve.recipes import OPTIMIZERS, RecipeChanges
from support.toy import WavyEvaluator, plain_image, plain_style


class SlowDisk(Checkpoints):
    """Takes nothing until it `goes_on`; `began` is set by a write, and `arrays` are those that it was to keep."""

    def __init__(self, folder: Path) -> None:
        super().__init__(CheckpointFolder(folder), "toy")
        self.began, self.goes_on = threading.Event(), threading.Event()
        self.num_writes = 0

    def write(self, job_id, checkpoint: Checkpoint, *settle) -> bool:
        self.num_writes += 1
        self.began.set()
        assert self.goes_on.wait(30)
        return super().write(job_id, checkpoint, *settle)


class Bench:
    """An engine over a slow disk, which wants to write after every step."""

    def __init__(self, folder: Path) -> None:
        self.events: list[EngineEvent] = []
        self.disk = SlowDisk(folder)
        evaluator = WavyEvaluator()
        self.engine = Engine(
            evaluator,
            every_optimizer(evaluator),
            self.events.append,
            lambda: 0.0,
            checkpoints=self.disk,
            checkpoint_s=0.0,
        )

    def heard(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.disk.goes_on.set()
    bench.engine.close()


def job(iterations: int, optimizer: str = "adam", job_id: str = "job-1") -> JobSpecification:
    recipe = resolve(RecipeChanges(preset="classic"), RecipeChanges(iterations=iterations, optimizer=optimizer))
    return JobSpecification(job_id, plain_image(0.2, 32, 32), (plain_style(0.6),), recipe)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_engine_goes_on_while_the_disk_is_slow_and_what_is_kept_is_as_it_was(bench, optimizer):
    bench.engine.accept(job(50, optimizer))
    bench.engine.step()
    (working,) = bench.engine._jobs
    before = {name: array.copy() for name, array in working.checkpoint(0.0).snapshot.arrays.items()}
    for _ in range(3):
        bench.engine.step()
    assert bench.disk.began.wait(10)
    assert len(bench.heard(Progressed)) == 4
    assert bench.heard(Checkpointed) == []
    bench.disk.goes_on.set()
    bench.engine._chronicle._under_way.writing.wait()
    kept = bench.disk.read("job-1").snapshot.arrays
    assert kept.keys() == before.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(kept[name], array)
    bench.engine.step()
    assert [(told.iteration, told.is_kept) for told in bench.heard(Checkpointed)] == [(0, True)]


def test_one_file_is_written_at_a_time(bench):
    for name in ("job-1", "job-2"):
        bench.engine.accept(job(50, job_id=name))
    for _ in range(6):
        bench.engine.step()
    assert bench.disk.num_writes == 1


@pytest.mark.parametrize("end", ["finished", "cancelled"])
def test_what_is_written_of_a_job_that_is_over_does_not_come_to_its_place(bench, tmp_path, end):
    bench.engine.accept(job(3 if end == "finished" else 50))
    bench.engine.step()
    assert bench.disk.began.wait(10)
    if end == "cancelled":
        bench.engine.accept(Cancel("job-1"))
    else:
        while bench.engine.step():
            pass
        assert bench.heard(Finished)
    bench.disk.goes_on.set()
    bench.engine.close()
    assert list(tmp_path.iterdir()) == []
    assert bench.heard(Checkpointed) == []


def test_a_job_that_was_cancelled_while_it_was_written_takes_no_memory(bench):
    bench.engine.accept(job(50))
    bench.engine.step()
    assert bench.disk.began.wait(10)
    (working,) = bench.engine._jobs
    content = weakref.ref(working.specification.content)
    del working
    bench.engine.accept(Cancel("job-1"))
    bench.disk.goes_on.set()
    bench.engine._chronicle._under_way.writing.wait()
    bench.engine.step()
    gc.collect()
    assert content() is None


def test_an_engine_that_is_closed_waits_for_what_is_written_and_writes_the_rest(bench):
    for name in ("job-1", "job-2"):
        bench.engine.accept(job(50, job_id=name))
    for _ in range(3):
        bench.engine.step()
    assert bench.disk.began.wait(10)
    iterations = {event.job_id: event.progress.iteration for event in bench.heard(Progressed)}
    bench.disk.goes_on.set()
    bench.engine.close()
    for name, iteration in iterations.items():
        assert bench.disk.read(name).snapshot.numbers["iteration"] == iteration


def test_what_is_too_large_to_be_kept_twice_is_written_while_the_engine_waits(bench, monkeypatch):
    monkeypatch.setattr(chronicle, "MOST_COPIED_BYTES", 0)
    bench.disk.goes_on.set()
    bench.engine.accept(job(50))
    for number in range(3):
        bench.engine.step()
        assert bench.disk.read("job-1").snapshot.numbers["iteration"] == number
