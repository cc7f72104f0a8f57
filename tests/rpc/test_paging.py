"""Pages end by their entries and by their bytes, and the next begins where one ended."""

from types import MappingProxyType

from styleserve.jobs.job import Job
from styleserve.rpc import responses
from styleserve.rpc.paging import MAX_PAGE, fill_page
from styleserve.rpc.requests import MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS
from styleserve.v1 import job_pb2, style_transfer_pb2
from styleserve_client import AsyncClient
from support.service import request, running
from support.some_jobs import job

#: What a client of gRPC takes unless it is told otherwise.
MESSAGE_BYTES = 4 * 1024 * 1024
#: A character of four bytes.
WIDE = "\U0001f3a8"


def pages(jobs: list[Job], size: int) -> list[list[job_pb2.Job]]:
    made = []
    while jobs:
        made.append(fill_page((responses.job(job.status) for job in jobs), size))
        jobs = jobs[len(made[-1]) :]
    return made


async def test_pages_of_jobs_with_the_longest_labels_are_messages_that_every_client_takes():
    labels = {f"{index:02}".ljust(MAX_LABEL_KEY, WIDE): WIDE * MAX_LABEL_VALUE for index in range(MAX_LABELS)}
    jobs = [job(number, labels=MappingProxyType(labels)) for number in range(500)]
    made = pages(jobs, MAX_PAGE)
    assert 1 < len(made) < 10
    assert all(style_transfer_pb2.ListJobsResponse(jobs=page).ByteSize() < MESSAGE_BYTES for page in made)
    assert [each.name for page in made for each in page] == [each.status.name for each in jobs]


async def test_what_is_small_makes_pages_of_the_size_asked_for():
    assert [len(page) for page in pages([job(number) for number in range(7)], 3)] == [3, 3, 1]
    assert [len(page) for page in pages([job(number) for number in range(6)], 3)] == [3, 3]


async def test_an_entry_that_is_larger_than_a_page_has_one_for_itself(monkeypatch):
    monkeypatch.setattr("styleserve.rpc.paging.MAX_PAGE_BYTES", 1)
    assert [len(page) for page in pages([job(number) for number in range(3)], 3)] == [1, 1, 1]


async def test_jobs_and_styles_are_listed_to_the_end_by_pages_that_end_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("styleserve.rpc.paging.MAX_PAGE_BYTES", 1)
    async with running(tmp_path) as service:
        names = [(await service.transfer.Stylize(request(1))).job.name for _ in range(3)]
        async with AsyncClient(service.address) as client:
            assert [job.name async for job in client.jobs()] == names[::-1]
            listed = [style.name async for style in client.styles()]
        assert len(listed) == len(set(listed)) == 18
