"""Who is served next: decisions alone, and simulations in which steps cost what a formula says."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from styleserve.engine.accounts import MAX_AWAY, Accounts
from styleserve.engine.batch_sizes import MAX_GROUPS, RARELY, BatchSizes
from styleserve.engine.scheduler import MAX_BATCH, MAX_BATCH_PIXELS, Scheduler


@dataclass(eq=False)
class Waiting:
    name: str
    batch_key: str
    last_served: int = -1
    num_pixels: int = 64 * 64
    is_in_pieces: bool = False


@dataclass(frozen=True)
class Step:
    names: tuple[str, ...]
    group: str
    begun: float
    ended: float


class Simulation:
    """Serves the scheduler's choices; a step of a group costs `cost(group, size)` seconds."""

    def __init__(self, cost: Callable[[str, int], float], max_batch: int = MAX_BATCH) -> None:
        self.scheduler = Scheduler(max_batch)
        self.jobs: list[Waiting] = []
        self.steps: list[Step] = []
        self.clock = 0.0
        self._cost = cost

    def add(self, *jobs: Waiting) -> None:
        """Jobs that came during the last step."""
        for job in jobs:
            job.last_served = len(self.steps) - 1
            self.jobs.append(job)

    def step(self) -> list[Waiting]:
        self.scheduler.gather(self.jobs)
        batch = self.scheduler.choose(self.jobs)
        assert self.scheduler.choose(self.jobs) == batch
        group, begun = batch[0].batch_key, self.clock
        self.clock += self._cost(group, len(batch))
        self.scheduler.record(group, len(batch), self.clock - begun)
        self.steps.append(Step(tuple(job.name for job in batch), group, begun, self.clock))
        for job in batch:
            job.last_served = len(self.steps)
        return batch

    def run(self, seconds: float) -> None:
        end = self.clock + seconds
        while self.clock < end:
            self.step()

    def seconds_of(self, group: str, since: float = 0.0) -> float:
        return sum(step.ended - step.begun for step in self.steps if step.group == group and step.begun >= since)

    def longest_silence(self, name: str) -> float:
        told = [0.0, *(step.ended for step in self.steps if name in step.names)]
        return max(later - earlier for earlier, later in itertools.pairwise(told))

    def sizes(self, last: int) -> Counter[int]:
        return Counter(len(step.names) for step in self.steps[-last:])


def crowd(group: str, number: int, num_pixels: int = 64 * 64) -> list[Waiting]:
    return [Waiting(f"{group}{index}", group, num_pixels=num_pixels) for index in range(number)]


def per_call(fixed: float, each: float) -> Callable[[str, int], float]:
    """A step that costs so much, and so much more a canvas."""
    return lambda group, size: fixed + each * size


def test_of_equal_groups_the_one_whose_job_has_waited_longest_comes_first():
    jobs = [Waiting("a", "small", 3), Waiting("b", "large", 1), Waiting("c", "small", 2), Waiting("d", "large", 2)]
    assert [job.name for job in Scheduler().choose(jobs)] == ["b"]
    assert [job.name for job in Scheduler().choose([Waiting("a", "x"), Waiting("b", "y")])] == ["a"]


def test_a_batch_grows_to_all_who_wait_while_each_doubling_pays():
    simulation = Simulation(per_call(0.02, 0.01))
    simulation.add(*crowd("x", 8))
    simulation.run(10)
    assert simulation.sizes(last=100)[8] > 90


def test_a_batch_stays_where_a_larger_one_does_not_pay():
    simulation = Simulation(lambda group, size: 0.01 * size + 0.02 if size <= 4 else 0.017 * size)
    simulation.add(*crowd("x", 16))
    simulation.run(10)
    assert simulation.sizes(last=100)[4] > 90


def test_noise_that_doubles_a_third_of_the_steps_does_not_keep_a_batch_small():
    random = Random(3)
    simulation = Simulation(lambda group, size: random.choice([1.0, 1.0, 2.0]) * (0.02 + 0.01 * size))
    simulation.add(*crowd("x", 8))
    simulation.run(60)
    assert simulation.sizes(last=200)[8] > 150


def test_a_batch_shrinks_again_when_it_pays_no_longer():
    costs = [per_call(0.02, 0.01)]
    simulation = Simulation(lambda group, size: costs[0](group, size))
    simulation.add(*crowd("x", 8))
    simulation.run(10)
    costs[0] = lambda group, size: 0.01 * size**1.5
    simulation.run(60)
    assert simulation.sizes(last=100)[1] > 80


def test_a_change_of_the_machines_pace_does_not_change_the_size_of_batches():
    pace = [1.0]
    simulation = Simulation(lambda group, size: pace[0] * (0.02 + 0.01 * size))
    simulation.add(*crowd("x", 8))
    simulation.run(10)
    for pace[0] in (1.7, 0.5, 1.7, 1.0):
        simulation.run(5)
        assert simulation.sizes(last=50)[8] >= 44


def test_the_first_step_of_a_size_which_has_kernels_to_build_does_not_count():
    seen: set[int] = set()

    def cost(group: str, size: int) -> float:
        building = 0.0 if size in seen else 1.0
        seen.add(size)
        return building + 0.02 + 0.01 * size

    simulation = Simulation(cost)
    simulation.add(*crowd("x", 8))
    for _ in range(12):
        simulation.step()
    assert simulation.sizes(last=4)[8] >= 3


def test_trials_of_other_sizes_become_seldom():
    sizes = BatchSizes()
    chosen = []
    for _ in range(10 * RARELY):
        size = sizes.choose("x", 2)
        chosen.append(size)
        sizes.record("x", size, 0.1 * size**1.5)
    assert chosen[-5 * RARELY :].count(2) <= 5
    assert 2 in chosen[-2 * RARELY :]


def test_a_new_group_begins_with_what_was_learnt_of_another():
    simulation = Simulation(lambda group, size: 0.02 + 0.01 * size if group == "x" else 0.01 * size**1.5)
    simulation.add(*crowd("x", 8))
    simulation.run(10)
    simulation.jobs.clear()
    simulation.add(*crowd("y", 8))
    simulation.step()
    assert len(simulation.steps[-1].names) == 8
    simulation.run(30)
    assert simulation.sizes(last=100)[1] > 80


def test_a_batch_has_a_bounded_number_of_jobs_and_of_pixels():
    half = MAX_BATCH_PIXELS // 2
    for jobs, most in ((crowd("x", 3 * MAX_BATCH), MAX_BATCH), (crowd("x", 5, half), 2), (crowd("x", 2, 4 * half), 1)):
        simulation = Simulation(per_call(1.0, 0.0))
        simulation.add(*jobs)
        simulation.run(100)
        assert max(simulation.sizes(last=100)) == most


def test_batching_can_be_switched_off():
    simulation = Simulation(per_call(1.0, 0.0), max_batch=1)
    simulation.add(*crowd("x", 8))
    simulation.run(100)
    assert simulation.sizes(last=100) == {1: 100}


def test_one_large_job_and_eight_small_ones_each_get_half_of_the_time():
    simulation = Simulation(lambda group, size: 4.0 if group == "large" else 0.01 + 0.04 * size)
    simulation.add(Waiting("large", "large", num_pixels=1024 * 1024), *crowd("small", 8, 128 * 128))
    simulation.run(200)
    assert simulation.seconds_of("small") / simulation.clock == pytest.approx(0.5, abs=0.05)
    assert max(simulation.longest_silence(job.name) for job in simulation.jobs) <= 3 * 4.0


def test_a_newcomer_is_served_next_and_gets_its_share_but_nothing_for_the_time_before_it_came():
    simulation = Simulation(lambda group, size: 4.0 if group == "large" else 0.05 * size)
    simulation.add(Waiting("large", "large"))
    simulation.run(100)
    simulation.add(*crowd("small", 4))
    came = simulation.clock
    simulation.step()
    assert simulation.steps[-1].group == "small"
    simulation.run(3.5)
    assert {step.group for step in simulation.steps if step.begun >= came} == {"small"}
    simulation.run(100)
    assert simulation.seconds_of("small", since=came) == pytest.approx(52, abs=5)
    assert simulation.longest_silence("large") <= 2 * 4.0 + 0.2


def test_a_group_that_ran_ahead_does_not_come_back_as_a_newcomer():
    accounts = Accounts()
    accounts.gather(["steady", "greedy"])
    accounts.charge("greedy", 10.0)
    accounts.gather(["steady", "greedy"])
    accounts.gather(["steady"])
    accounts.charge("steady", 1.0)
    accounts.gather(["steady", "greedy"])
    assert accounts.of("greedy") == 10.0
    accounts.charge("steady", 20.0)
    accounts.gather(["steady"])
    accounts.gather(["steady", "greedy"])
    assert accounts.of("greedy") > 10.0


def test_an_endless_line_of_newcomers_of_ever_new_shapes_holds_nobody_up():
    simulation = Simulation(lambda group, size: 5.0 if group == "large" else 0.02)
    simulation.add(Waiting("large", "large"))
    for number in range(2000):
        if len(simulation.jobs) == 1:
            simulation.add(Waiting(f"new{number}", f"shape{number}"))
        for job in simulation.step():
            if job.name != "large":
                simulation.jobs.remove(job)
    assert simulation.longest_silence("large") < 3 * 5.0
    assert simulation.seconds_of("large") == pytest.approx(0.5 * simulation.clock, rel=0.1)


def test_what_is_remembered_is_bounded():
    scheduler = Scheduler()
    for number in range(5000):
        job = Waiting("a", f"shape{number}")
        scheduler.gather([job, Waiting("b", "steady")])
        scheduler.choose([job, Waiting("b", "steady")])
        scheduler.record(job.batch_key, 1, 1000.0)
        scheduler.charge("steady", 0.001)
    assert len(scheduler._accounts._seconds) <= MAX_AWAY + 3
    assert len(scheduler._sizes._groups) <= MAX_GROUPS


@st.composite
def groups(draw):
    """Some groups: how many jobs, what a step costs and what each canvas adds."""
    number = draw(st.integers(1, 6))
    seconds = st.floats(0.01, 5.0)
    return [(draw(st.integers(1, 12)), draw(seconds), draw(seconds)) for _ in range(number)]


@settings(deadline=None, max_examples=60)
@given(groups(), st.randoms(use_true_random=False))
def test_every_job_is_served_within_a_bound(groups, random):
    """A job waits at most for the others' shares of what its group does until its turn, and for one step of each."""
    simulation = Simulation(
        lambda group, size: (groups[int(group)][1] + groups[int(group)][2] * size) * random.uniform(0.7, 1.4)
    )
    for index, (number, *_) in enumerate(groups):
        simulation.add(*(Waiting(f"{index}.{job}", str(index)) for job in range(number)))
        for _ in range(random.randrange(4)):
            simulation.step()
    for _ in range(300):
        simulation.step()
    longest_step = max(1.4 * (fixed + 12 * each) for _, fixed, each in groups)
    for job in simulation.jobs:
        steps_to_its_turn = groups[int(job.batch_key)][0] + 1
        served = [step.ended for step in simulation.steps if job.name in step.names]
        if not served:
            assert simulation.clock <= 2 * longest_step * len(groups) * steps_to_its_turn
            continue
        silences = [*(b - a for a, b in itertools.pairwise(served)), simulation.clock - served[-1]]
        assert max(silences) <= 2 * longest_step * len(groups) * steps_to_its_turn
