"""Who is served next."""

from dataclasses import dataclass

from styleserve.engine.scheduler import MAX_BATCH, MAX_BATCH_PIXELS, choose


@dataclass
class Waiting:
    name: str
    batch_key: str
    last_served: int = -1
    num_pixels: int = 64 * 64


def names(candidates: list[Waiting]) -> list[str]:
    return [candidate.name for candidate in choose(candidates)]


def test_the_longest_waiting_job_is_served_with_others_of_its_key():
    jobs = [Waiting("a", "small", 3), Waiting("b", "large", 1), Waiting("c", "small", 2), Waiting("d", "large", 2)]
    assert names(jobs) == ["b", "d"]


def test_ties_go_to_the_one_that_came_first():
    assert names([Waiting("a", "x"), Waiting("b", "y")]) == ["a"]


def test_a_batch_has_a_bounded_number_of_jobs_and_of_pixels():
    assert len(choose([Waiting(str(number), "x") for number in range(20)])) == MAX_BATCH
    half = MAX_BATCH_PIXELS // 2
    assert len(choose([Waiting(str(number), "x", num_pixels=half) for number in range(5)])) == 2


def test_a_job_larger_than_a_batch_may_be_is_served_alone():
    assert names([Waiting("a", "x", num_pixels=4 * MAX_BATCH_PIXELS), Waiting("b", "x")]) == ["a"]


def test_nobody_starves_when_each_step_serves_the_choice():
    jobs = [Waiting("large", "1024")] + [Waiting(f"small{number}", "128") for number in range(3)]
    served: list[str] = []
    for step in range(10):
        for job in choose(jobs):
            job.last_served = step
            served.append(job.name)
    assert served.count("large") == 5
    assert served.count("small2") == 5
