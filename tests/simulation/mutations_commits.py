"""Bugs planted in what the metering service writes, and when."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from sqlalchemy import or_

from metering_service.domain import counts, counts_page, lease, request, running_counts
from metering_service.domain.errors import NodeFencedError, StorageUnavailableError
from metering_service.storage import fenced_commit, rows, statements
from metering_service.storage.schema import leases
from metering_service.usecases.commits import checkpoints, group_commit, write_buffer
from tests.simulation.planting import mutation, together


@mutation
def no_fence() -> AbstractContextManager[Any]:
    """A commit is written although another epoch has taken over."""

    def advances(connection: Any, name: str, _epoch: int, batch: Any) -> bool:
        connection.execute("UPDATE nodes SET commit_no = ? WHERE node = ?", (batch.commit_no, name))
        return True

    return patch.object(fenced_commit, "_advances", advances)


@mutation
def commit_applied_twice() -> AbstractContextManager[Any]:
    """A commit whose outcome was unknown is written again, though it had succeeded."""

    def advances(connection: Any, name: str, epoch: int, batch: Any) -> bool:
        mine = (batch.commit_no, name, epoch)
        if connection.execute("UPDATE nodes SET commit_no = ? WHERE node = ? AND epoch = ?", mine).rowcount == 0:
            raise NodeFencedError("fenced")
        return True

    return patch.object(fenced_commit, "_advances", advances)


@mutation
def revision_not_checked() -> AbstractContextManager[Any]:
    """Of two nodes that revise a record at the same moment, both do."""
    return patch.object(fenced_commit, "_check_revision", lambda *_args: None)


@mutation
def consumption_added() -> AbstractContextManager[Any]:
    """What was consumed on a lease is added to what is on record, not raised to it."""

    def raise_leases(statement: Any) -> Any:
        new = statement.excluded
        return statement.on_conflict_do_update(
            index_elements=list(leases.primary_key),
            set_={
                "consumed_units": leases.c.consumed_units + new.consumed_units,
                "closed": or_(leases.c.closed, new.closed),
            },
        )

    return patch.object(statements, "_raise_leases", raise_leases)


@mutation
def durable_before_commit() -> AbstractContextManager[Any]:
    """A report is called durable as soon as its commit is asked for."""
    real = checkpoints.Checkpoints.add

    def add(self: Any, its: Any, when_done: Any = None) -> None:
        real(self, its)
        if when_done is not None:
            when_done()

    return patch.multiple(checkpoints.Checkpoints, add=add, when_checkpointed=lambda _self, _callback: False)


@mutation
def fast_counts_not_checkpointed() -> AbstractContextManager[Any]:
    """Counts of requests that are on record are called durable, but left out of the checkpoint."""

    def pack(self: Any, slots: Any, _number: int) -> None:
        for slot in slots.tolist():
            self.dirty[slot] = 0

    return patch.object(running_counts.RunningCounts, "_pack", pack)


@mutation
def receipt_before_commit() -> AbstractContextManager[Any]:
    """A finish is called durable as soon as it is booked in memory."""
    return patch.multiple(
        write_buffer.WriteBuffer,
        when_durable=lambda _self, _request, callback: callback(),
        when_gathered=lambda _self, callback: callback(),
    )


@mutation
def consumption_told_before_commit() -> AbstractContextManager[Any]:
    """Control hears of consumption that is not in the metering database yet."""
    real = lease.Lease.statement

    def statement(self: Any, now_ns: int, *, idle: bool) -> Any:
        said = real(self, now_ns, idle=idle)
        return said if said is None else said._replace(consumed_units=self.booked)

    return patch.object(lease.Lease, "statement", statement)


@mutation
def checkpoints_without_counts() -> AbstractContextManager[Any]:
    """What is checkpointed of a running request is that it runs, not what it used."""
    real, real_pack = request.Request.record, running_counts.RunningCounts._pack

    def record(self: Any, *where: Any) -> Any:
        made = real(self, *where)
        return made._replace(counts=counts.ZERO) if self.is_open else made

    def pack(self: Any, slots: Any, number: int) -> None:
        real_pack(self, slots, number)
        for slot in slots.tolist():
            self.write(self.place_of(slot), counts.ZERO)

    return together(
        patch.object(request.Request, "record", record), patch.object(running_counts.RunningCounts, "_pack", pack)
    )


@mutation
def commits_give_up() -> AbstractContextManager[Any]:
    """A commit that fails is dropped, and its reports are called durable."""
    real = group_commit.GroupCommitter._commit

    async def commit(self: Any, **what: Any) -> bool:
        storage = self._storage

        class Once:
            async def commit(self, *args: Any) -> None:
                try:
                    await storage.commit(*args)
                except StorageUnavailableError:
                    return

        self._storage = Once()
        try:
            return await real(self, **what)
        finally:
            self._storage = storage

    return patch.object(group_commit.GroupCommitter, "_commit", commit)


@mutation
def place_not_checked() -> AbstractContextManager[Any]:
    """Counts on a page are taken for those of whoever has the slot now."""

    def counts_at(data: Any, place: Any) -> Any:
        if data is None or place is None:
            return None
        _, *kinds = counts_page.ENTRY.unpack_from(data, (place & counts_page._INDEX_MASK) * counts_page.ENTRY.size)
        return counts.Counts(*kinds)

    return patch.object(rows, "counts_at", counts_at)
