"""Checkpoints: counts of running requests reach the database before long, so that a crash can book what ran.

Requests whose counts changed wait by slot, marked in the arrays of counts: in any order of reports, a checkpoint writes
each page once or twice.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from metering_service.domain.request import Request
from metering_service.usecases.commits.pending_commit import Callbacks
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.state.waiter import PendingCommits

CHECKPOINT_SLICE = 16_384
"""Maximum of requests whose counts go into one commit."""
CHECKPOINT_STEP = 2_048
"""Number of requests that are gathered at a time, with decisions in between."""
RECORD_COST: Final = 128
"""Number of counts that take as long as one whole record."""


class Checkpoints:
    """Which requests' counts wait for a checkpoint, and how far the checkpoint that goes on has got."""

    def __init__(self, buffer: WriteBuffer) -> None:
        self._buffer = buffer
        self.running = buffer.running
        self._when_checkpointed: Callbacks = {}
        self._whole: deque[Request] = deque()
        """Requests that the checkpoint came to, whose whole record is to be written."""
        self._when_swept: Callbacks = {}

    def begin(self, request: Request) -> None:
        """A request began. One that goes on from another node's part is on record at once, so that all nodes know."""
        request.run_in(self.running)
        if request.predecessor_part is None:
            self.add(request)
        else:
            self._buffer.put(request)
            self._buffer.on_work()

    def add(self, request: Request, when_done: Callable[[], None] | None = None) -> None:
        """A request began, or its counts changed: commit that before long, so that a crash can book it.

        `when_done` is called as `add_callback` says.
        """
        self.note_counts(request.slot)
        if when_done is not None:
            self._buffer.await_counts(request.slot, when_done)
        self._buffer.on_work()

    def note_counts(self, slot: int) -> None:
        """Counts of a running request changed: the next checkpoint has them. Callers say when to wake."""
        self.running.dirty[slot] = 1

    def when_checkpointed(self, callback: Callable[[], None]) -> bool:
        """Call back once all counts as they are now are committed. False: it will be called anyway, once."""
        if callback in self._when_checkpointed:
            return False
        self._when_checkpointed[callback] = None
        self._buffer.on_work()
        return True

    def await_counts(self, pending: PendingCommits) -> None:
        """A message is durable once all counts as they are now are committed."""
        if self.when_checkpointed(pending.done):
            pending.expect()

    def sweep(self, *, begins: bool) -> Iterator[None]:
        """Gather a part of the checkpoint that goes on, or `begins`: no more than a commit should take.

        Step by step, so that decisions need not wait for all of it.
        """
        if begins and not self.is_sweeping:
            self.running.begin_sweep()
            self._when_swept, self._when_checkpointed = self._when_checkpointed, {}
        room = CHECKPOINT_SLICE
        self._checkpoint(CHECKPOINT_STEP)
        while self._has_left and (room := room - CHECKPOINT_STEP) > 0:
            yield
            self._checkpoint(CHECKPOINT_STEP)
        if not self._has_left:
            self._buffer.await_commit(self._when_swept)
            self._when_swept.clear()

    @property
    def idle(self) -> bool:
        """Whether everything is in the database."""
        return self._buffer.idle and not self.has_dirty and not self.is_sweeping

    @property
    def has_dirty(self) -> bool:
        """Whether counts of running requests wait for a checkpoint to begin."""
        return bool(self._when_checkpointed) or self.running.has_dirty

    @property
    def is_sweeping(self) -> bool:
        """Whether a checkpoint has begun, and needs more commits to end."""
        return self._has_left or bool(self._when_swept)

    @property
    def _has_left(self) -> bool:
        return bool(self._whole or self.running.sweep_left)

    def _checkpoint(self, room: int) -> None:
        """Gather the counts of this many requests, or fewer records."""
        buffer = self._buffer
        while self._whole and room > 0:
            request = self._whole.popleft()
            if request.dirty:  # Else its whole record was put since.
                buffer.put(request)
            room -= RECORD_COST
        if room > 0 and self.running.sweep_left:
            slots, whole = self.running.pack_next(room, buffer.number)
            buffer.take_callbacks_of(slots)
            self._whole.extend(whole)
