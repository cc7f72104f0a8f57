"""Previews: who wants to see which job, and when the next picture of it is due."""

import logging
from collections.abc import Callable, Sequence

from styleserve.engine.job import Job, PreviewOrder
from styleserve.engine.specification import JobSpecification, Preview
from styleserve.events import EngineEvent, Previewed

logger = logging.getLogger(__name__)


class Previews:
    """Orders of jobs that wait, until they begin, and the sending of previews of those that run."""

    def __init__(self, report: Callable[[EngineEvent], None]) -> None:
        self._report = report
        self._orders: dict[str, Preview] = {}

    def order(self, order: Preview, jobs: Sequence[Job], waiting: Sequence[JobSpecification]) -> None:
        """Note who wants to see; orders come for waiting jobs too, and for ended ones, which have none to send."""
        for job in jobs:
            if job.job_id == order.job_id:
                job.preview = _ordered(order)
                return
        if any(specification.job_id == order.job_id for specification in waiting):
            self._orders[order.job_id] = order

    def begin(self, job: Job) -> None:
        """A job that waited begins; what was ordered of it is due."""
        if order := self._orders.pop(job.job_id, None):
            job.preview = _ordered(order)

    def forget(self, job_id: str) -> None:
        """A job that waited will not begin."""
        self._orders.pop(job_id, None)

    def send(self, job: Job, now: float) -> None:
        """Send a preview of the job if one is due."""
        order = job.preview
        if order is None or now < job.previewed + order.interval_s:
            return
        job.previewed = now
        try:
            pixels = job.run.preview(order.max_side)
        except Exception:
            logger.exception("a preview of %s cannot be made", job.job_id, extra=job.specification.log_fields)
        else:
            self._report(Previewed(job.job_id, pixels))


def _ordered(order: Preview) -> PreviewOrder | None:
    return PreviewOrder(order.max_side, order.interval_s) if order.max_side > 0 else None
