"""A gate in the toy engine's way: what a test says of a job under way holds for as long as it likes."""

import asyncio
import threading
from dataclasses import dataclass, field

LONGEST_WAIT_S = 20.0


@dataclass
class Gate:
    """Stands before every evaluation. While it is shut, the next one waits, which is then under way."""

    num_evaluations: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.opened.set()

    def __call__(self) -> None:
        self.num_evaluations += 1
        if not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(LONGEST_WAIT_S)

    def shut(self) -> None:
        self.num_evaluations = 0
        self.opened.clear()

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, LONGEST_WAIT_S)
