"""Feed: what happens to one job, for any number of watchers at their own pace.

Changes of state are kept, all of them, and told at once. Progress, previews and places in the queue are conflated: a
newer one takes the place of an older that nobody fetched, and the gap in `sequence` says so; the more watch, the less
often each hears of those. Telling never waits for a watcher.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from styleserve import images
from styleserve.errors import RequestError
from styleserve.events import Progress
from styleserve.images import Encoded
from styleserve.jobs.crowd import Crowd
from styleserve.jobs.frames import Frames, PreviewWish
from styleserve.jobs.status import JobStatus, StoredImage
from styleserve.observing.observer import SILENCE, Observer

Kind: TypeAlias = Literal["state", "position", "progress", "preview", "result"]
Thumbnail: TypeAlias = npt.NDArray[np.uint8]

#: The longest silence of a stream.
IDLE_S = 15.0


@dataclass(frozen=True, slots=True)
class Update:
    """One event; `content` is the whole job's status, progress, a preview, or the result, as `kind` says."""

    sequence: int
    kind: Kind
    content: JobStatus | Progress | Encoded | StoredImage


@dataclass(frozen=True, slots=True)
class _Told:
    sequence: int
    kind: Kind
    content: JobStatus | Progress | Thumbnail | StoredImage


class Feed:
    """The events of one job, numbered from after `last_sequence`."""

    def __init__(self, last_sequence: int = 0) -> None:
        self._sequence = last_sequence
        self._status: JobStatus | None = None
        self._states: list[_Told] = []
        self._latest: dict[Kind, _Told] = {}
        self._encoded: dict[tuple[int, int], asyncio.Task[Encoded]] = {}
        self._changed = asyncio.Event()
        self._crowd = Crowd()
        self._wishes: list[PreviewWish] = []
        self._fulfilled: list[PreviewWish] = []
        self._frames: list[Frames] = []
        self._interruption: RequestError | None = None
        self.is_closed = False

    @classmethod
    def ended_at(cls, last_sequence: int, status: JobStatus) -> Self:
        """The feed of a job that ended so, whose last event has this number."""
        num_events = 1 if status.result is None else 3
        feed = cls(last_sequence - num_events)
        if status.result is not None:
            feed.tell_result(status.result)
        feed.tell_state(status)
        feed.close()
        return feed

    @property
    def last_sequence(self) -> int:
        """The number of the newest event."""
        return self._sequence

    @property
    def previews_wanted(self) -> PreviewWish | None:
        """The largest and most frequent previews that any watcher still wants; None when nobody does."""
        wishes = Counter(self._wishes) - Counter(self._fulfilled)
        if not wishes:
            return None
        return PreviewWish(max(wish.max_side for wish in wishes), min(wish.interval_s for wish in wishes))

    def wish(self, wish: PreviewWish) -> None:
        """Somebody wants previews."""
        self._wishes.append(wish)

    def withdraw(self, wish: PreviewWish) -> None:
        """One who wanted previews does not any more."""
        self._wishes.remove(wish)

    def tell_state(self, status: JobStatus) -> None:
        """The state changed; never dropped."""
        self._status = status
        self._latest.pop("position", None)
        self._states.append(self._tell("state", status))
        self._crowd.press()

    def tell_position(self, status: JobStatus) -> None:
        """The place in the queue changed."""
        self._status = status
        self._latest["position"] = self._tell("position", status)

    def tell_progress(self, status: JobStatus) -> None:
        """The job came further, or it is known what it will take."""
        assert status.progress is not None
        self._status = status
        self._latest["progress"] = self._tell("progress", status.progress)

    def tell_preview(self, thumbnail: Thumbnail) -> None:
        """There is something to see, uint8 RGB [h, w, 3]."""
        self._encoded.clear()
        self._drop_preview()
        self._latest["preview"] = self._tell("preview", thumbnail)

    def tell_result(self, result: StoredImage) -> None:
        """The picture is there; the state's last change follows. Who comes after it finds a place before it free."""
        self._sequence += 1
        self._latest["result"] = self._tell("result", result)

    def close(self) -> None:
        """Nothing more will be told."""
        self._encoded.clear()  # the feed is kept as long as the job
        self._drop_preview()
        self.is_closed = True
        self._wake()
        self._crowd.press()

    def interrupt(self, error: RequestError) -> None:
        """End every watch with `error`, which is about the watching and not about the job."""
        self._interruption = error
        self._wake()
        self._crowd.press()

    async def watch(
        self,
        after_sequence: int = 0,
        wish: PreviewWish | None = None,
        idle_s: float = IDLE_S,
        observer: Observer = SILENCE,
    ) -> AsyncGenerator[Update]:
        """Everything after `after_sequence`: first the whole job, last the whole job, in between what is newest.

        A number that no event has yet is another job's, so that all of this one is told.
        After `idle_s` of silence the last progress comes again, or the whole job while nothing else came. `observer` is
        told of previews that are sent and of those that give way to newer ones.
        """
        frames = Frames(wish, observer, self._sequence)
        self._frames.append(frames)
        try:
            async with contextlib.aclosing(self._follow(after_sequence, frames, idle_s)) as updates:
                async for update in updates:
                    yield update
        finally:
            self._frames.remove(frames)
            if wish is not None and frames.has_all:
                self._fulfilled.remove(wish)

    async def _follow(self, after_sequence: int, frames: Frames, idle_s: float) -> AsyncGenerator[Update]:
        cursor = after_sequence if after_sequence <= self._sequence else 0
        is_first = True
        heard: set[Kind] = set()  # since the last rest
        clock = asyncio.get_running_loop().time
        spoke = clock()
        with self._crowd.joined() as watcher:
            while True:
                changed = self._changed
                told = self._whole_job(cursor) if is_first else self._next(cursor, frames)
                if told is not None:
                    is_first, cursor = False, told.sequence
                    yield await self._publish(told, frames)
                    spoke = clock()
                    heard.add(told.kind)
                    if not self._must_tell(cursor) and not self._is_incomplete(heard, cursor, frames):
                        await watcher.rest()
                        heard.clear()
                elif self.is_closed:
                    return
                elif self._interruption is not None:
                    raise self._interruption
                else:
                    try:
                        async with asyncio.timeout_at(spoke + idle_s):
                            await changed.wait()
                    except TimeoutError:
                        yield self._repeat(is_first)
                        is_first, spoke = False, clock()

    async def ended(self) -> None:
        """Wait until nothing more will be told; raises the interruption when there is one."""
        while not self.is_closed:
            if self._interruption is not None:
                raise self._interruption
            await self.changed()

    async def changed(self) -> None:
        """Wait until anything more is told."""
        await self._changed.wait()

    def _must_tell(self, cursor: int) -> bool:
        """Whether there is news after `cursor` that must not wait: a change of state, or the end."""
        is_settled = self.is_closed or self._interruption is not None
        return is_settled or any(state.sequence > cursor for state in self._states[-1:])

    def _is_incomplete(self, heard: set[Kind], cursor: int, frames: Frames) -> bool:
        """Whether there is something after `cursor` of another kind than those `heard`, such as a step's preview."""
        upcoming = self._next(cursor, frames)
        return upcoming is not None and upcoming.kind not in heard

    def _tell(self, kind: Kind, content: JobStatus | Progress | Thumbnail | StoredImage) -> _Told:
        assert not self.is_closed
        self._sequence += 1
        told = _Told(self._sequence, kind, content)
        self._wake()
        return told

    def _drop_preview(self) -> None:
        """The newest preview gives way; who has not had it will not."""
        told = self._latest.pop("preview", None)
        if told is not None:
            for frames in self._frames:
                frames.miss(told.sequence)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _whole_job(self, cursor: int) -> _Told | None:
        """The job as it is now, as the first event; it stands for all that was told before it.

        When a picture is still to be told of, the first event stands before it, so that the last one follows it.
        """
        if self._status is None or self._sequence <= cursor:
            return None
        result = self._latest.get("result")
        if result is None or cursor >= result.sequence:
            return _Told(self._sequence, "state", self._status)
        place_before = result.sequence - 1
        return _Told(place_before, "state", self._status) if cursor < place_before else result

    def _next(self, cursor: int, frames: Frames) -> _Told | None:
        """The oldest event after `cursor` that the watcher wants and may have now."""
        candidates = [told for told in (*self._states, *self._latest.values()) if told.sequence > cursor]
        wanted = [told for told in candidates if told.kind != "preview" or frames.is_due()]
        return min(wanted, key=lambda told: told.sequence, default=None)

    async def _publish(self, told: _Told, frames: Frames) -> Update:
        if told.kind != "preview":
            assert not isinstance(told.content, np.ndarray)
            return Update(told.sequence, told.kind, told.content)
        assert isinstance(told.content, np.ndarray)
        wish = frames.take(told.sequence)
        if frames.has_all:
            self._fulfilled.append(wish)
        encoded = await self._encode(told.sequence, told.content, wish.max_side)
        return Update(told.sequence, "preview", encoded)

    async def _encode(self, sequence: int, thumbnail: Thumbnail, max_side: int) -> Encoded:
        """A preview of one size is encoded once, off the event loop, for all who watch."""
        key = sequence, max_side
        if key not in self._encoded:
            self._encoded[key] = asyncio.create_task(asyncio.to_thread(images.encode_preview, thumbnail, max_side))
        return await asyncio.shield(self._encoded[key])

    def _repeat(self, is_first: bool) -> Update:
        """The last progress again, under its own sequence; while there is none, and at first, the job as it is now.

        That has the number of its last change of state or place.
        """
        progress = None if is_first else self._latest.get("progress")
        told = progress or self._latest.get("position") or self._states[-1]
        content = self._status if progress is None else progress.content
        assert content is not None
        assert not isinstance(content, np.ndarray)
        return Update(told.sequence, told.kind, content)
