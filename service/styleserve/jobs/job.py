"""Job: one picture's life as its callers see it, and its feed; the event loop alone touches it."""

import time
from dataclasses import replace
from typing import Self

from styleserve import logs
from styleserve.errors import EngineError, RequestError, RetryLaterError
from styleserve.events import Planned, Progress, Resumed
from styleserve.images import Picture, Pixels
from styleserve.jobs.feed import Feed
from styleserve.jobs.journal import Journal
from styleserve.jobs.status import PREFIX, JobStatus, Provenance, StopReason, StoredImage
from styleserve.jobs.submission import Submission
from styleserve.observing.happenings import (
    Advanced,
    BegunAnew,
    Climbed,
    Ended,
    EndState,
    FirstJudged,
    JobHappening,
    LostEngine,
    TakenUp,
    Waits,
)
from styleserve.observing.observer import SILENCE, Observer

#: More events than a job has between two changes of its state, so that none of them gets the number of another.
_UNSAVED_EVENTS = 1_000_000


class Job:
    """A job: what was asked, how it stands, and who watches.

    `number` grows with every job admitted. `num_waiting` callers wait for it or watch it. `num_losses` engines were
    lost under it since it last came further, `lost_at` is the iteration that it had reached then. `is_cancel_wanted`
    once it is to be cancelled; `is_orphaned` if that is only because its last caller left. `content` is the content at
    the size of the result, while an engine works on it, and `colours` the same made small, where previews are to wear
    them. `journal` says in words what happened to it, and `observer` is told of it. `engine_s` are seconds that engines
    worked for it, also those that were lost with an engine.
    """

    def __init__(
        self, job_id: str, number: int, submission: Submission, status: JobStatus, feed: Feed, retention_s: float
    ) -> None:
        self.job_id = job_id
        self.number = number
        self.submission = submission
        self.feed = feed
        self.num_waiting = 0
        self.num_losses = 0
        self.lost_at = -1
        self.is_cancel_wanted = False
        self.is_orphaned = False
        self.content: Picture | None = None
        self.colours: Pixels | None = None
        self.journal = Journal()
        self.observer: Observer = SILENCE
        self.engine_s = 0.0
        self._lost_s = 0.0
        self._tenths = 0
        self._is_taken_up_again = False
        self._waiting_since = 0.0
        self._status = status
        self._retention_s = retention_s

    @classmethod
    def admit(cls, job_id: str, number: int, submission: Submission, retention_s: float) -> Self:
        """A new job."""
        labels = tuple(submission.labels.items())
        status = JobStatus(name=PREFIX + job_id, state="queued", create_time=time.time(), labels=labels)
        return cls(job_id, number, submission, status, Feed(), retention_s)

    @classmethod
    def restore(
        cls, job_id: str, number: int, submission: Submission, status: JobStatus, last_sequence: int, retention_s: float
    ) -> Self:
        """A job as it stood when `last_sequence` was the number of its newest event that is known.

        Of one that has ended everything is known, so that its last events get the numbers that they had.
        """
        if not status.has_ended:
            feed = Feed(last_sequence + _UNSAVED_EVENTS)
            feed.tell_state(status)
        else:
            feed = Feed.ended_at(last_sequence, status)
        return cls(job_id, number, submission, status, feed, retention_s)

    @property
    def status(self) -> JobStatus:
        """How it stands."""
        return self._status

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self._status.has_ended

    @property
    def is_to_be_made_anew(self) -> bool:
        """Whether it has no picture, or will have none, for a reason that need not hold for another attempt."""
        is_given_up = self.is_orphaned and self._status.state != "succeeded"
        return is_given_up or isinstance(self._status.error, RetryLaterError)

    @property
    def log_fields(self) -> dict[str, str]:
        """What every line of the log about it carries."""
        submission = self.submission
        return logs.job_fields(self.job_id, submission.caller, submission.trace)

    def note(self, happening: JobHappening) -> None:
        """Something happened to it: its journal and the observer are told."""
        self.journal.note(happening)
        self.observer.hear(happening)

    def begin_waiting(self) -> None:
        """It has come to the queue."""
        self._waiting_since = time.time()
        self.note(Waits(self.job_id, self.submission.trace, self._status.queue_position))

    def wait_at(self, position: int) -> None:
        """It stands at `position` of the queue, from 1; one that its engine lost waits again."""
        before = self._status
        if position == before.queue_position:
            return
        self._status = replace(before, state="queued", queue_position=position)
        if before.queue_position == 0:
            self.feed.tell_state(self._status)
        else:
            self.feed.tell_position(self._status)

    def leave_queue(self) -> None:
        """It is on its way to an engine, which has yet to take it up."""
        self._status = replace(self._status, queue_position=0)
        self.feed.tell_position(self._status)

    def start(self) -> None:
        """An engine takes it up; after a lost engine, again."""
        now = time.time()
        self.note(TakenUp(self.job_id, max(0.0, now - self._waiting_since)))
        self._is_taken_up_again = self._status.start_time is not None
        start_time = self._status.start_time or now
        self._tell(replace(self._status, state="running", queue_position=0, start_time=start_time))

    def resume(self, resumed: Resumed) -> None:
        """An engine goes on from its checkpoint; what was done after that is lost."""
        self._is_taken_up_again = False
        self._lost_s = max(0.0, self.engine_s - resumed.engine_s)
        self.note(resumed)

    def count_work(self, engine_s: float) -> None:
        """The engine that has it knows of so many seconds that were worked for it."""
        self.engine_s = self._lost_s + engine_s

    def lose_engine(self) -> None:
        """The engine was lost under it."""
        self._lost_s = self.engine_s
        reached = 0 if self._status.progress is None else self._status.progress.iteration
        self.num_losses = 1 if reached > self.lost_at else self.num_losses + 1
        self.lost_at = max(self.lost_at, reached)
        self.note(LostEngine(self.job_id))

    def plan(self, planned: Planned) -> None:
        """An engine knows what it will take; how far the job was in an engine that was lost says more."""
        self._note_if_begun_anew()
        self.note(planned)
        self.look(planned.progress)

    def look(self, progress: Progress) -> None:
        """The engine works at its targets; how far the job was in an engine that was lost says more than nothing."""
        if progress.losses is not None or not self._has_been_judged:
            self._show(progress)

    def advance(self, progress: Progress) -> None:
        """A canvas of it was judged."""
        assert progress.losses is not None
        self._note_if_begun_anew()
        before = self._status.progress if self._has_been_judged else None
        if before is None:
            self.note(FirstJudged(self.job_id, max(0.0, time.time() - self._status.create_time)))
        if before is None or (before.width, before.height) != (progress.width, progress.height):
            self.note(Climbed(self.job_id, progress.iteration, progress.width, progress.height))
        tenths = 10 * progress.iteration // max(1, progress.total_iterations)
        if tenths > self._tenths:
            self._tenths = tenths
            self.note(Advanced(self.job_id, progress.iteration, progress.evaluations, progress.losses, self.engine_s))
        self._show(progress)

    def succeed(self, result: StoredImage, progress: Progress, stop_reason: StopReason, provenance: Provenance) -> None:
        """Its picture is made and stored."""
        self._status = replace(
            self._status, result=result, progress=progress, stop_reason=stop_reason, provenance=provenance
        )
        self.feed.tell_result(result)
        self._end("succeeded")

    def fail(self, error: RequestError, provenance: Provenance | None = None) -> None:
        """It ends without a picture."""
        error = EngineError(self.job_id) if isinstance(error, EngineError) else error.afresh()
        self._status = replace(self._status, error=error, provenance=provenance)
        self._end("failed")

    def cancel(self, provenance: Provenance | None = None) -> None:
        """Somebody stopped it, or nobody waits for it any more."""
        self._status = replace(self._status, stop_reason="cancelled", provenance=provenance)
        self._end("cancelled")

    @property
    def _has_been_judged(self) -> bool:
        """Whether a canvas of it was, in whatever engine."""
        return self._status.progress is not None and self._status.progress.losses is not None

    def _note_if_begun_anew(self) -> None:
        """It is, if an engine took it up again and told of no checkpoint before it told of anything else."""
        if self._is_taken_up_again:
            self._is_taken_up_again = False
            self.note(BegunAnew(self.job_id))

    def _show(self, progress: Progress) -> None:
        self._status = replace(self._status, progress=progress)
        self.feed.tell_progress(self._status)

    def _end(self, state: EndState) -> None:
        now = time.time()
        seconds = max(0.0, now - self._status.create_time)
        reason = "" if self._status.error is None else self._status.error.reason
        self.note(Ended(self.job_id, state, seconds, self.engine_s, reason))
        self._tell(
            replace(self._status, state=state, queue_position=0, end_time=now, expire_time=now + self._retention_s)
        )
        self.content = self.colours = None
        self.feed.close()

    def _tell(self, status: JobStatus) -> None:
        self._status = status
        self.feed.tell_state(status)
