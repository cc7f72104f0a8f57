"""Engines that come after one another: what one wrote down the next goes on from, or does without."""

import dataclasses
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest

from styleserve.costs import Line
from styleserve.engine.checkpoints import CheckpointFolder, Checkpoints
from styleserve.engine.engine import Engine
from styleserve.engine.specification import JobSpecification
from styleserve.events import EngineEvent, Failed, Finished, Progress, Progressed, Resumed
from styleserve.optimizers.adam import Adam
from styleserve.optimizers.table import every_optimizer
from styleserve.presets import resolve
from styleserve.recipes import OPTIMIZERS, RecipeChanges
from support.damage import DAMAGES, mutated, rewrite
from support.toy import TOY_COST, TOY_COSTS, ToyEvaluator, WavyEvaluator, plain_image, plain_style

CONTENT = np.random.default_rng(1).random((128, 96, 3)).astype(np.float32)
ITERATIONS = 24


class Workshop:
    """One folder, one clock, and the engines that come after one another; a step takes a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.copy_s = 0.0
        self.num_writes = 0
        self.begin_engine()

    def begin_engine(self, network: str = "toy", checkpoint_s: float = 0.0, costs=TOY_COSTS) -> Engine:
        self.events: list[EngineEvent] = []
        self.evaluator = LookingEvaluator(before_step=self._judge)
        optimizers = every_optimizer(self.evaluator) | {"adam": SlowAdam(self, self.evaluator)}
        self.engine = PatientEngine(
            self.evaluator,
            optimizers,
            self.events.append,
            lambda: self.now,
            costs,
            checkpoints=CountedCheckpoints(self, network),
            checkpoint_s=checkpoint_s,
        )
        return self.engine

    def _judge(self) -> None:
        self.now += 1.0

    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.engine.step()

    def run(self) -> None:
        while self.engine.step():
            pass

    def progress(self, job_id: str = "job-1") -> list[Progress]:
        return [event.progress for event in self.events if isinstance(event, Progressed) and event.job_id == job_id]

    def last(self, job_id: str = "job-1") -> EngineEvent:
        return [event for event in self.events if getattr(event, "job_id", None) == job_id][-1]


class LookingEvaluator(WavyEvaluator):
    """Takes a pass of the network to look at the content."""

    def calibrate(self, content, recipe):
        return recipe, 1


class PatientEngine(Engine):
    """Waits for what is being written after each step, so that it is the same each time what is written when."""

    def step(self) -> bool:
        is_busy = super().step()
        if self._chronicle._under_way is not None:
            self._chronicle._under_way.writing.wait()
        return is_busy


class SlowAdam(Adam):
    """Takes the workshop's time for a snapshot."""

    def __init__(self, workshop: Workshop, evaluator: ToyEvaluator) -> None:
        super().__init__(evaluator)
        self._workshop = workshop

    def snapshot(self, run):
        self._workshop.now += self._workshop.copy_s
        return super().snapshot(run)


class CountedCheckpoints(Checkpoints):
    """The workshop's folder, and how often something was written there."""

    def __init__(self, workshop: Workshop, network: str) -> None:
        super().__init__(CheckpointFolder(workshop.folder), network)
        self._workshop = workshop

    def write(self, job_id, checkpoint, *settle) -> bool:
        is_kept = super().write(job_id, checkpoint, *settle)
        self._workshop.num_writes += 1
        return is_kept


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    return Workshop(tmp_path)


def job(optimizer: str = "adam", iterations: int = ITERATIONS, job_id: str = "job-1", **changes) -> JobSpecification:
    recipe = resolve(RecipeChanges(), RecipeChanges(iterations=iterations, optimizer=optimizer))
    return JobSpecification(job_id, CONTENT, (plain_style(0.6),), recipe, **changes)


def undisturbed(folder: Path, specification: JobSpecification) -> Workshop:
    workshop = Workshop(folder / "undisturbed")
    workshop.engine.accept(specification)
    workshop.run()
    return workshop


@pytest.mark.parametrize(
    ("iterations", "words"), [(ITERATIONS, "job-1 goes on at iteration"), (ITERATIONS + 1, "is of no use")]
)
def test_what_is_said_of_a_job_that_is_taken_up_again_names_its_caller_who_decides_nothing(
    workshop, caplog, iterations, words
):
    workshop.engine.accept(job())
    workshop.step(4)
    workshop.engine.close()
    caplog.set_level("INFO")
    workshop.begin_engine().accept(job(iterations=iterations, caller="alice", trace=f"00-{'a' * 32}-{'b' * 16}-01"))
    workshop.step(1)
    (record,) = [record for record in caplog.records if words in record.getMessage()]
    assert (record.job, record.caller, record.trace) == ("job-1", "alice", "a" * 32)


@pytest.mark.parametrize("steps", [1, 4, 11, 17, 25])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_next_engine_goes_on_where_a_closed_one_was(tmp_path, workshop, optimizer, steps):
    alone = undisturbed(tmp_path, job(optimizer))
    workshop.engine.accept(job(optimizer))
    workshop.step(steps)
    before = workshop.progress()
    workshop.engine.close()
    workshop.begin_engine()
    workshop.engine.accept(job(optimizer))
    workshop.run()
    after, finished = workshop.progress(), workshop.last()
    assert 0 <= after[0].iteration - before[-1].iteration <= 1
    assert [p.evaluations for p in before + after] == list(range(1, len(before + after) + 1))
    assert [p.iteration for p in before + after] == sorted(p.iteration for p in before + after)
    assert {p.total_iterations for p in after} == {ITERATIONS}
    assert (finished.stop_reason, finished.progress.iteration) == ("completed", ITERATIONS)
    wanted = alone.last()
    if optimizer == "adam":
        np.testing.assert_array_equal(finished.pixels, wanted.pixels)
        assert before + after == [
            dataclasses.replace(p, eta_s=after_p.eta_s)
            for p, after_p in zip(alone.progress(), before + after, strict=True)
        ]
    assert finished.progress.losses.total < max(1.01 * wanted.progress.losses.total, 0.01 * before[0].losses.total)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_engine_that_was_killed_costs_the_moves_since_its_last_checkpoint(workshop, optimizer):
    workshop.begin_engine(checkpoint_s=5.0)
    workshop.engine.accept(job(optimizer))
    workshop.step(13)
    reached = workshop.progress()[-1].iteration
    workshop.engine._jobs[0].run.close()
    workshop.begin_engine()
    workshop.engine.accept(job(optimizer))
    workshop.run()
    assert reached - 5 <= workshop.progress()[0].iteration <= reached
    assert workshop.last().progress.iteration == ITERATIONS


def test_time_and_passes_of_the_network_are_counted_on(tmp_path, workshop):
    alone = undisturbed(tmp_path, job())
    workshop.engine.accept(job())
    workshop.step(8)
    workshop.engine.close()
    workshop.now += 500
    workshop.begin_engine()
    workshop.engine.accept(job())
    workshop.run()
    finished, wanted = workshop.last(), alone.last()
    num_scales = len({p.width for p in alone.progress()})
    assert finished.progress.elapsed_s == wanted.progress.elapsed_s == ITERATIONS + num_scales
    assert finished.engine_s == wanted.engine_s == finished.progress.elapsed_s
    (resumed,) = (event for event in workshop.events if isinstance(event, Resumed))
    assert resumed.engine_s == 8.0
    assert wanted.network_passes == 1 + num_scales + wanted.progress.evaluations
    # It is looked at the content again, and the targets of the scale where it goes on are computed again.
    assert finished.network_passes == wanted.network_passes + 2


def test_engines_that_end_again_and_again_get_a_job_done(tmp_path, workshop):
    alone = undisturbed(tmp_path, job())
    for _ in range(100):
        workshop.begin_engine()
        workshop.engine.accept(job())
        workshop.step(2)
        if isinstance(workshop.last(), Finished):
            break
        workshop.engine.close()
    np.testing.assert_array_equal(workshop.last().pixels, alone.last().pixels)


def test_jobs_beside_each_other_all_go_on(workshop):
    specifications = [job(optimizer, job_id=f"job-{optimizer}") for optimizer in OPTIMIZERS]
    for specification in specifications:
        workshop.engine.accept(specification)
    workshop.step(20)
    reached = {each.job_id: workshop.progress(each.job_id)[-1].iteration for each in specifications}
    workshop.engine.close()
    workshop.begin_engine()
    for specification in specifications:
        workshop.engine.accept(specification)
    workshop.run()
    for job_id, iteration in reached.items():
        assert 0 < iteration <= workshop.progress(job_id)[0].iteration <= iteration + 1
        assert isinstance(workshop.last(job_id), Finished)


def begun_anew(workshop: Workshop, specification: JobSpecification, network: str = "toy") -> bool:
    """Whether a new engine makes the picture from its beginning; it has to make it."""
    workshop.begin_engine(network)
    workshop.engine.accept(specification)
    workshop.run()
    assert isinstance(workshop.last(), Finished)
    assert workshop.last().progress.iteration == specification.recipe.iterations
    return workshop.progress()[0].evaluations == 1


def leave_checkpoint(workshop: Workshop, specification: JobSpecification, steps: int = 22) -> Path:
    workshop.engine.accept(specification)
    workshop.step(steps)
    workshop.engine.close()
    return workshop.folder / "job-1.npz"


#: What a file that is sound may say that is not true of the job.
UNTRUTHS = {
    "another job's": lambda data: rewrite(data, {"identity": "another"}),
    "more iterations than the recipe": lambda data: rewrite(data, {"iterations": 10**9}),
    "more scales than the recipe": lambda data: rewrite(data, {"scales": [*scales_of(data), [512, 384, 9]]}),
    "other scales": lambda data: rewrite(data, {"scales": [[32, 24, 5], *scales_of(data)[1:]]}),
    "more moves than planned": lambda data: rewrite(data, {"numbers": numbers_of(data) | {"moves": 10**6}}),
    "no moves": lambda data: rewrite(data, {"numbers": {}}),
    "no moment": lambda data: rewrite(data, first_moment=None),
    "no canvas": lambda data: rewrite(data, canvas=None),
    "a canvas of no numbers": lambda data: rewrite(data, canvas=np.full_like(canvas_of(data), np.nan)),
    "a canvas out of bounds": lambda data: rewrite(data, canvas=canvas_of(data) + 1),
    "an infinite moment": lambda data: rewrite(data, first_moment=np.full_like(canvas_of(data), np.inf)),
    "a negative second moment": lambda data: rewrite(data, second_moment=-np.ones_like(canvas_of(data))),
}


def facts_of(data: bytes) -> dict:
    with np.load(io.BytesIO(data)) as file:
        return json.loads(file["facts"].tobytes())


def scales_of(data: bytes) -> list:
    return facts_of(data)["scales"]


def numbers_of(data: bytes) -> dict:
    return facts_of(data)["numbers"]


def canvas_of(data: bytes) -> np.ndarray:
    with np.load(io.BytesIO(data)) as file:
        return file["canvas"]


@pytest.mark.parametrize("damage", (DAMAGES | UNTRUTHS).values(), ids=(DAMAGES | UNTRUTHS).keys())
def test_from_a_checkpoint_that_is_of_no_use_a_job_begins_anew(workshop, damage):
    path = leave_checkpoint(workshop, job())
    path.write_bytes(damage(path.read_bytes()))
    assert begun_anew(workshop, job())


def test_whatever_became_of_a_checkpoint_the_picture_is_made(workshop):
    specification = dataclasses.replace(job(iterations=6), content=plain_image(0.2, 4, 4))
    whole, chance = leave_checkpoint(workshop, specification, steps=3).read_bytes(), random.Random(5)
    workshop.begin_engine(checkpoint_s=1e9)
    for number in range(200):
        job_id = f"job-{number}"
        (workshop.folder / f"{job_id}.npz").write_bytes(mutated(whole, chance))
        workshop.engine.accept(dataclasses.replace(specification, job_id=job_id))
        workshop.run()
        assert workshop.last(job_id).progress.iteration == 6


@pytest.mark.parametrize(
    "other",
    [
        job(iterations=ITERATIONS + 1),
        dataclasses.replace(job(), content=CONTENT[::-1].copy()),
        dataclasses.replace(job(), content=CONTENT[:96].copy()),
        dataclasses.replace(job(), styles=(plain_style(0.1),)),
    ],
    ids=["recipe", "content", "size", "style"],
)
def test_a_checkpoint_serves_no_other_job_of_its_id(workshop, other):
    leave_checkpoint(workshop, job())
    assert begun_anew(workshop, other)
    leave_checkpoint(workshop, job())
    assert not begun_anew(workshop, job())


def test_a_checkpoint_of_another_network_is_not_used(workshop):
    leave_checkpoint(workshop, job())
    assert begun_anew(workshop, job(), network="another")


def test_a_disk_that_takes_nothing_ends_no_job(workshop):
    workshop.folder = workshop.folder / "kept"
    workshop.folder.write_text("a file in the way")
    assert begun_anew(workshop, job())
    assert workshop.num_writes > ITERATIONS


def test_a_closed_engine_writes_down_what_was_judged_and_nothing_else(workshop):
    workshop.begin_engine(checkpoint_s=1e9)
    workshop.engine.accept(job())
    workshop.engine.accept(job(job_id="job-2"))
    workshop.step(1)
    workshop.engine.accept(job(job_id="job-3"))
    workshop.engine.close()
    assert [path.name for path in workshop.folder.iterdir()] == ["job-1.npz"]


def test_what_is_written_down_already_is_not_written_again_at_the_end(workshop):
    workshop.engine.accept(job())
    workshop.step(3)
    assert workshop.num_writes == 3
    workshop.engine.close()
    assert workshop.num_writes == 3


def test_the_engine_removes_nothing(workshop):
    path = leave_checkpoint(workshop, job())
    begun_anew(workshop, job())
    assert path.exists()


def test_an_engine_without_a_folder_writes_nothing(workshop):
    evaluator = ToyEvaluator()
    engine = Engine(evaluator, {"adam": Adam(evaluator)}, workshop.events.append, checkpoint_s=0.0)
    engine.accept(job())
    while engine.step():
        pass
    engine.close()
    assert list(workshop.folder.iterdir()) == []


@pytest.mark.parametrize("copy_s", [0.0, 0.05, 1.5])
def test_checkpoints_take_their_share_of_the_engines_time_at_most(workshop, copy_s):
    workshop.begin_engine(checkpoint_s=10.0)
    workshop.copy_s = copy_s
    for name in ("job-1", "job-2"):
        workshop.engine.accept(job(iterations=600, job_id=name))
    begun = workshop.now
    workshop.run()
    duration = workshop.now - begun
    assert copy_s * workshop.num_writes <= 0.02 * duration + copy_s  # the last one may have its rest still to come
    most = 2 * duration / 10
    assert 0.8 * min(most, 0.02 * duration / max(copy_s, 1e-9)) <= workshop.num_writes <= most


def test_jobs_are_written_down_in_turns_when_there_is_time_for_few(workshop):
    workshop.begin_engine(checkpoint_s=10.0)
    workshop.copy_s = 1.0
    small = dataclasses.replace(job(iterations=600, job_id="job-2"), content=CONTENT[:64, :64].copy())
    workshop.engine.accept(job(iterations=600))
    workshop.engine.accept(small)
    ages = []
    while len(workshop.engine._jobs) + len(workshop.engine._waiting) == 2:
        workshop.engine.step()
        ages += [workshop.now - each.written for each in workshop.engine._jobs]
    assert max(ages) < 2 * 50 + 20


def test_a_deadline_is_not_missed_for_a_checkpoint(workshop):
    workshop.begin_engine(checkpoint_s=10.0)
    workshop.copy_s = 30.0
    # The first one takes until 1040, and the next may begin at 2510.
    workshop.engine.accept(job("adam", 5000, deadline=2530.5))
    workshop.run()
    assert isinstance(workshop.last(), Finished)
    assert workshop.num_writes == 1
    assert 2520 < workshop.now <= 2530.5


def test_a_job_that_comes_back_late_still_returns_its_canvas(workshop):
    specification = job(iterations=400, deadline=workshop.now + 100.5)
    leave_checkpoint(workshop, specification, steps=30)
    reached = workshop.progress()[-1]
    workshop.begin_engine()
    workshop.now += 80
    workshop.engine.accept(specification)
    workshop.run()
    finished = workshop.last()
    assert finished.stop_reason == "deadline"
    assert finished.pixels.shape == CONTENT.shape
    assert finished.progress.losses == reached.losses
    assert finished.progress.iteration == reached.iteration


def test_a_job_with_a_deadline_goes_on_within_it_by_a_plan_for_the_pace_that_it_had(workshop):
    specification = job(iterations=400, deadline=workshop.now + 150.5)
    leave_checkpoint(workshop, specification, steps=40)
    workshop.begin_engine()
    workshop.now += 20
    workshop.engine.accept(specification)
    workshop.run()
    assert workshop.progress()[0].total_iterations < 400
    assert isinstance(workshop.last(), Finished)
    assert 1150.5 - 3 <= workshop.now <= 1150.5
    assert workshop.last().progress.width == CONTENT.shape[1]


def test_a_resumed_job_has_worked_at_its_scale_as_long_as_it_had(workshop):
    workshop.engine.accept(job())
    workshop.step(23)
    (left,) = workshop.engine._jobs
    workshop.engine.close()
    workshop.begin_engine()
    workshop.engine.accept(job())
    workshop.engine.step()
    (resumed,) = workshop.engine._jobs
    assert (resumed.started, resumed.scale_started) == (left.started, left.scale_started)
    assert resumed.scale_started > resumed.started


def test_the_look_at_the_content_of_a_job_that_goes_on_misses_nobodys_deadline(workshop):
    cost = dataclasses.replace(TOY_COST, seconds=Line(1.0, 0.0), content_seconds=Line(0.0, 1e-3))
    costs = dataclasses.replace(TOY_COSTS, costs=tuple((recipe, cost) for recipe, _ in TOY_COSTS.costs))
    leave_checkpoint(workshop, job())
    workshop.begin_engine(costs=costs)
    other = dataclasses.replace(job(iterations=400, job_id="job-2"), content=CONTENT[:64, :48].copy())
    workshop.engine.accept(dataclasses.replace(other, deadline=workshop.now + 100.5))
    while workshop.now < 1000 + 22 + 85:
        workshop.engine.step()
    workshop.engine.accept(job())
    workshop.engine.step()
    # The look takes 12 s, so that 18 s are allowed for.
    while not isinstance(workshop.last("job-2"), Finished):
        assert not any(isinstance(event, Resumed) for event in workshop.events)
        workshop.engine.step()
    assert 1122.5 - 3 <= workshop.now <= 1122.5
    workshop.run()
    assert any(isinstance(event, Resumed) for event in workshop.events)


def test_a_job_that_fails_is_not_written_down_any_more(workshop):
    workshop.engine.accept(dataclasses.replace(job(), content=np.full_like(CONTENT, np.nan)))
    workshop.run()
    workshop.engine.close()
    assert isinstance(workshop.last(), Failed)
    assert list(workshop.folder.iterdir()) == []
