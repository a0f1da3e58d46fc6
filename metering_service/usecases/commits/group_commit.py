"""The one writer: it takes what gathered, commits it, and reports that. Decisions never wait for it."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Final

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.records import CommitBatch
from metering_service.usecases.commits.checkpoints import Checkpoints
from metering_service.usecases.commits.commit_counts import CommitCounts
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.ports import Recorder, RequestName
from metering_service.usecases.settings import NodeSettings

COMMIT_INTERVAL_S: Final = 0.005
"""Minimum interval of commits."""
HEARTBEAT_S: Final = 2.0
"""Interval of heartbeats: even an empty batch is committed, so that other nodes see that this one is alive."""

CHECKPOINT_REST: Final = 3
"""Rest after a checkpoint, as a multiple of how long it took: the database has other work, too."""
CHECKPOINT_MAX_S: Final = 0.4
"""Maximum interval between the beginnings of two checkpoints."""

RETRY_FIRST_S: Final = 0.05
"""First delay before a failed commit is tried again."""
RETRY_MAX_S: Final = 1.0
"""Maximum of that delay, which doubles."""


class GroupCommitter:
    """Commits one batch at a time. A commit whose outcome is unknown is repeated with its number: applied once."""

    def __init__(
        self,
        buffer: WriteBuffer,
        checkpoints: Checkpoints,
        storage: Recorder,
        *,
        node: str,
        epoch: int,
        settings: NodeSettings,
        commit_no: int = 0,
    ) -> None:
        self._buffer = buffer
        self._checkpoints = checkpoints
        self._storage = storage
        self._node = node
        self._epoch = epoch
        self._checkpoint_interval_s = settings.checkpoint_interval_ns / 1e9
        self.commit_no = commit_no
        self.exchange_answered = 0
        """The last exchange that control answered. The next commit notes it: then it cannot be forgotten unseen."""
        self.closed_below_epoch = 0
        """Epoch below which control has closed all leases; each commit notes it for the node that settles the rest."""
        self.is_answered = True
        """Whether the last commit was."""
        self.counts = CommitCounts()
        self._work = asyncio.Event()
        buffer.on_work = self._wake

    async def run(self) -> None:
        """Commit until cancelled. Raises NodeFencedError when another epoch has taken over."""
        loop = asyncio.get_running_loop()
        checkpoint_began = next_checkpoint = loop.time()
        is_checkpointing = False
        next_heartbeat = loop.time() + HEARTBEAT_S
        while True:
            next_s = min(next_checkpoint, next_heartbeat) if self._checkpoints.has_dirty else next_heartbeat
            await self._wait_for_work(next_s - loop.time())
            self._work.clear()
            began = loop.time()
            due = began >= next_checkpoint and not is_checkpointing
            if due:
                checkpoint_began, is_checkpointing = began, True
            if await self._commit(checkpoints=due, even_nothing=began >= next_heartbeat):
                next_heartbeat = loop.time() + HEARTBEAT_S
            if self._checkpoints.is_sweeping:
                self._work.set()
            elif is_checkpointing:
                next_checkpoint, is_checkpointing = self._next_checkpoint(checkpoint_began, loop.time()), False
            # A commit costs some processor however little is in it: let some more gather.
            pause_s = 0.0 if is_checkpointing else began + COMMIT_INTERVAL_S - loop.time()
            await asyncio.sleep(max(0.0, pause_s))

    def _next_checkpoint(self, began: float, ended: float) -> float:
        """When another one may begin: one after the other would be most of what the database does."""
        return began + min(CHECKPOINT_MAX_S, max(self._checkpoint_interval_s, (1 + CHECKPOINT_REST) * (ended - began)))

    async def _wait_for_work(self, seconds: float) -> None:
        # Not asyncio.wait_for: before Python 3.12 that loses a cancellation that comes with the work.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._work.wait()

    async def _commit(self, *, checkpoints: bool, even_nothing: bool) -> bool:
        """Commit what has gathered; whether there was anything to commit."""
        for _ in self._checkpoints.sweep(begins=checkpoints):
            await asyncio.sleep(0)
        pending = self._buffer.begin_commit()
        if pending is None and not even_nothing:
            return False
        batch = pending.batch(self.commit_no + 1) if pending is not None else CommitBatch(self.commit_no + 1)
        batch = replace(batch, exchange_answered=self.exchange_answered, closed_below_epoch=self.closed_below_epoch)
        kept = await self._write(batch)
        self.commit_no = batch.commit_no
        if pending is not None:
            self._buffer.end_commit(kept)
        return True

    async def _write(self, batch: CommitBatch) -> Collection[RequestName] | None:
        """Until the database has it."""
        delay_s = RETRY_FIRST_S
        while True:
            sent_ns = self._buffer.now_ns()
            try:
                kept = await self._storage.commit(self._node, self._epoch, batch)
            except StorageUnavailableError:
                self.is_answered = False
                self.counts.retries += 1
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)
            else:
                self.is_answered = True
                self._buffer.alone_ns = sent_ns
                self.counts.note(batch, self._buffer.now_ns() - sent_ns)
                return kept

    def _wake(self) -> None:
        self._work.set()
