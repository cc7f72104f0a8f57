"""Turns: which job the engine gets next: by the order of the queue, the quotas of callers, and the room there is."""

from collections import Counter
from collections.abc import Sequence

from styleserve.costs import CostModel, Footprint
from styleserve.jobs.job import Job
from styleserve.jobs.queue import JobQueue
from styleserve.jobs.quotas import Quotas
from styleserve.jobs.submission import Submission


class Turns:
    """Chooses from `queue`, for an engine that runs at most `max_running` jobs side by side."""

    def __init__(self, queue: JobQueue, quotas: Quotas, max_running: int) -> None:
        self._queue = queue
        self._quotas = quotas
        self._max_running = max_running

    def next(self, inside: Sequence[Job], costs: CostModel) -> Job | None:
        """The job that may join those inside the engine; None while none may. A large one is not overtaken.

        A caller who has as many jobs inside as it may lets others go first.
        """
        num_inside = Counter(job.submission.caller for job in inside)
        for job in self._queue.in_order():
            caller = job.submission.caller
            if self._quotas.may_run(caller, num_inside[caller]):
                return job if self._may_join(job, inside, costs) else None
        return None

    def has_room(self, submission: Submission, inside: Sequence[Job], costs: CostModel) -> bool:
        """Whether the engine may run a job beside those it has: within their number, and within its memory.

        Alone, any job that was admitted may run; one under which an engine was lost shares it with nobody.
        """
        if not inside:
            return True
        if len(inside) >= self._max_running or any(each.num_losses > 0 for each in inside):
            return False
        return costs.have_room([_footprint(each, costs) for each in (*(job.submission for job in inside), submission)])

    def _may_join(self, job: Job, inside: Sequence[Job], costs: CostModel) -> bool:
        return self.has_room(job.submission, inside, costs) and (job.num_losses == 0 or not inside)


def _footprint(submission: Submission, costs: CostModel) -> Footprint:
    """The memory that a job takes."""
    output = submission.output
    return costs.job_footprint(submission.recipe, output.height, output.width, submission.style_scales)
