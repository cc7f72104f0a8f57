"""Which picture answers for which requests: whatever determines a picture makes another one of it, and nothing else."""

import dataclasses
from types import MappingProxyType

import pytest

from styleserve.jobs import picture_index
from styleserve.jobs.job import Job
from styleserve.jobs.picture_index import PictureIndex
from styleserve.jobs.pictures import trace_back
from styleserve.jobs.status import StoredImage
from support.some_jobs import PROGRESS, submission
from support.toy import TOY_INFO

ASKED = submission()
STYLE, OTHER_STYLE = ASKED.styles


def made() -> Job:
    """A job that made the picture that was asked for."""
    job = Job.admit("maker", 1, ASKED, retention_s=60.0)
    provenance = trace_back(ASKED, ASKED.recipe, TOY_INFO, network_passes=7, is_whole=True)
    job.succeed(StoredImage("d" * 64, "image/jpeg", 32, 24, 100), PROGRESS, "completed", provenance)
    return job


def of_style(**changes: object) -> dict[str, object]:
    return {"styles": (dataclasses.replace(STYLE, **changes), OTHER_STYLE)}


def of_output(**changes: object) -> dict[str, object]:
    return {"output": dataclasses.replace(ASKED.output, **changes)}


SAME_PICTURE: dict[str, dict[str, object]] = {
    "the same request": {},
    "another request": {"fingerprint": "g" * 64, "request_id": "r-2"},
    "a chosen job": {"job_id": "mine"},
    "a priority": {"priority": 3},
    "a time": {"run_timeout_s": 5.0},
    "other labels": {"labels": MappingProxyType({})},
    "a download": of_output(max_inline_bytes=10),
}
OTHER_PICTURE: dict[str, dict[str, object]] = {
    "another caller": {"caller": "rival"},
    "another content": {"content_digest": "e" * 64},
    "fewer styles": {"styles": (STYLE,)},
    "another style": of_style(digest="e" * 64),
    "another version of the style": of_style(name="styles/a@2"),
    "another share": of_style(weight=0.5),
    "another size of texture": of_style(scale=3.0),
    "another recipe": {"recipe": dataclasses.replace(ASKED.recipe, seed=1)},
    "another height": of_output(height=48),
    "another width": of_output(width=64),
    "another format": of_output(image_format="png"),
    "another quality": of_output(quality=90),
    "no provenance in it": of_output(carries_provenance=False),
}
OTHER_ENGINE = {"weights": "other@sha256:000000000000", "device": "gpu:0", "precision": "bfloat16"}


@pytest.mark.parametrize("name", SAME_PICTURE)
def test_a_request_for_the_same_picture_is_answered_by_it_whatever_else_it_says(name):
    maker = made()
    assert PictureIndex([maker]).find(submission(**SAME_PICTURE[name]), TOY_INFO) is maker


@pytest.mark.parametrize("name", OTHER_PICTURE)
def test_whatever_determines_a_picture_makes_another_one_of_it(name):
    assert PictureIndex([made()]).find(submission(**OTHER_PICTURE[name]), TOY_INFO) is None


@pytest.mark.parametrize("name", OTHER_ENGINE)
def test_another_engine_makes_another_picture(name):
    assert PictureIndex([made()]).find(ASKED, dataclasses.replace(TOY_INFO, **{name: OTHER_ENGINE[name]})) is None


def test_another_version_of_the_server_makes_another_picture(monkeypatch):
    index = PictureIndex([made()])
    monkeypatch.setattr(picture_index, "version", lambda: "another")
    assert index.find(ASKED, TOY_INFO) is None
