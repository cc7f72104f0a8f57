"""Jobs as tests of the store and of what uses it need them, with something in every field."""

import dataclasses
from types import MappingProxyType

from styleserve.costs import Estimate
from styleserve.evaluation import Losses
from styleserve.events import Progress
from styleserve.jobs.job import Job
from styleserve.jobs.status import Provenance
from styleserve.jobs.submission import ChosenStyle, Output, Submission
from styleserve.presets import PRESETS

PROGRESS = Progress(3, 10, 4, Losses(1.5, 0.5, 1.0, 0.0), 8, 6, 1.0, 2.0, Estimate(10**9, 12.5, 320))
PROVENANCE = Provenance("0.1", "toy", "cpu", "float32", "{}", ("styles/a@1",), 7)


def submission(**changes: object) -> Submission:
    made = Submission(
        content_digest="c" * 64,
        styles=(
            ChosenStyle("a" * 64, "styles/a@1", True, 0.25, 1.0),
            ChosenStyle("b" * 64, "images/" + "b" * 64, False, 0.75, 2.0),
        ),
        recipe=PRESETS["standard"],
        output=Output(24, 32, "jpeg", 80),
        fingerprint="f" * 64,
        request_id="r-1",
        labels=MappingProxyType({"team": "mobile"}),
    )
    return dataclasses.replace(made, **changes)


def job(number: int = 1, retention_s: float = 60.0, **changes: object) -> Job:
    return Job.admit(f"job-{number}", number, submission(**changes), retention_s)
