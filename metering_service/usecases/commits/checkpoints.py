"""Checkpoints: counts of running requests reach the database before long, so that a crash can book what ran.

Requests whose counts changed wait by the place of their counts: in any order of reports, a checkpoint writes each page
once or twice.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from metering_service.domain.counts_page import NOWHERE, neighbourhood_of
from metering_service.domain.request import Request
from metering_service.usecases.commits.pending_commit import Callbacks
from metering_service.usecases.commits.write_buffer import WriteBuffer, await_counts

CHECKPOINT_SLICE = 2_048
"""Maximum of requests whose counts go into one commit."""
CHECKPOINT_STEP = 256
"""Number of requests that are gathered at a time, with decisions in between."""
RECORD_COST: Final = 16
"""Number of counts that take as long as one whole record."""


class Checkpoints:
    """Which requests' counts wait for a checkpoint, and how far the checkpoint that goes on has got."""

    def __init__(self, buffer: WriteBuffer) -> None:
        self._buffer = buffer
        self._dirty: defaultdict[int, list[Request]] = defaultdict(list)
        self._when_checkpointed: Callbacks = {}
        self._sweep: list[list[Request]] = []
        self._when_swept: Callbacks = {}

    def begin(self, request: Request) -> None:
        """A request began. One that goes on from another node's part is on record at once, so that all nodes know."""
        if request.predecessor_part is None:
            self.add(request)
        else:
            self._buffer.put(request)
            self._buffer.on_work()

    def add(self, request: Request, when_done: Callable[[], None] | None = None) -> None:
        """A request began, or its counts changed: commit that before long, so that a crash can book it.

        `when_done` is called as `add_callback` says.
        """
        if not request.dirty:
            self.note_counts(request)
        if when_done is not None:
            await_counts(request, when_done)
        self._buffer.on_work()

    def note_counts(self, request: Request) -> None:
        """Counts of a request that was not dirty changed: the next checkpoint has them. Callers say when to wake."""
        request.dirty = True
        place = request.place
        self._dirty[NOWHERE if place is None else neighbourhood_of(place)].append(request)

    def when_checkpointed(self, callback: Callable[[], None]) -> bool:
        """Call back once all counts as they are now are committed. False: it will be called anyway, once."""
        if callback in self._when_checkpointed:
            return False
        self._when_checkpointed[callback] = None
        self._buffer.on_work()
        return True

    def sweep(self, *, begins: bool) -> Iterator[None]:
        """Gather a part of the checkpoint that goes on, or `begins`: no more than a commit should take.

        Step by step, so that decisions need not wait for all of it.
        """
        if begins and not self.is_sweeping:
            self._sweep, self._dirty = list(self._dirty.values()), defaultdict(list)
            self._when_swept, self._when_checkpointed = self._when_checkpointed, {}
        room = CHECKPOINT_SLICE
        self._checkpoint(CHECKPOINT_STEP)
        while self._sweep and (room := room - CHECKPOINT_STEP) > 0:
            yield
            self._checkpoint(CHECKPOINT_STEP)
        if not self._sweep:
            self._buffer.await_commit(self._when_swept)
            self._when_swept.clear()

    @property
    def idle(self) -> bool:
        """Whether everything is in the database."""
        return self._buffer.idle and not self.has_dirty and not self.is_sweeping

    @property
    def has_dirty(self) -> bool:
        """Whether counts of running requests wait for a checkpoint to begin."""
        return bool(self._dirty or self._when_checkpointed)

    @property
    def is_sweeping(self) -> bool:
        """Whether a checkpoint has begun, and needs more commits to end."""
        return bool(self._sweep or self._when_swept)

    def _checkpoint(self, room: int) -> None:
        """Gather the counts of this many requests, or fewer records."""
        sweep, number = self._sweep, self._buffer.number
        write = self._buffer.pages.write
        while sweep and room > 0:
            request = sweep[-1].pop()
            if not sweep[-1]:
                sweep.pop()
            if not request.dirty:
                continue  # Its whole record was put since.
            if request.on_record and request.place is not None:
                write(request.place, request.latest)
                request.packed_in = number
                request.dirty = False
                if request.durable_callbacks is not None:
                    self._buffer.take_callbacks(request)
                room -= 1
            else:
                self._buffer.put(request)
                room -= RECORD_COST
