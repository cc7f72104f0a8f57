"""Outlook: when a job that came now could have a picture; by that it is admitted or refused. Arithmetic only."""

from dataclasses import dataclass

from styleserve.engine.planning import with_reserve_s


@dataclass(frozen=True, slots=True)
class Outlook:
    """Seconds of each part of the way to the least picture, at most.

    The engine is at others for `busy_s`; meanwhile nothing can be done. Then the job gets there in `way_in_s`, has a
    picture after `engine_s`, and that is with the caller after `way_out_s`.
    """

    busy_s: float
    way_in_s: float
    engine_s: float
    way_out_s: float

    @property
    def run_s(self) -> float:
        """How long the job has to be let run."""
        return with_reserve_s(self.engine_s)

    @property
    def call_s(self) -> float:
        """How long a call for it has to wait, from when the engine is free for it."""
        return with_reserve_s(self.way_in_s + self.engine_s) + self.way_out_s
