"""The epochs of nodes: how one begins, and what is known of those that are over."""

from typing import Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from metering_service.domain.records import EpochMark
from metering_service.storage.failures import database_answers
from metering_service.storage.schema import epochs, nodes
from tallygate._server.database.engine import read_only
from tallygate._server.database.upsert import dialect_insert

NodeRow = Row[tuple[str, int, int, str, int, int, int]]

KEPT: Final = 100
"""Number of past epochs of a node that are remembered."""


async def ensured(connection: AsyncConnection, node: str) -> NodeRow:
    """The node's row, made if it was not there, locked until the transaction ends."""
    # Two processes of a new name may get here at once.
    new = dialect_insert(connection.dialect, nodes).values(node=node, epoch=0, commit_no=0, holder="")
    await connection.execute(new.on_conflict_do_nothing())
    row = await locked(connection, node)
    assert row is not None
    return row


async def locked(connection: AsyncConnection, node: str) -> NodeRow | None:
    """The node's row, locked until the transaction ends."""
    query = select(nodes).where(nodes.c.node == node).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def begin_epoch(connection: AsyncConnection, row: NodeRow, epoch: int, holder: str) -> int:
    """Begin an epoch of a node whose row is locked, and remember how far the one before had got. Returns the epoch."""
    if row.epoch:
        mark = _present(row)
        past = {"epoch": mark.epoch, "commit_no": mark.commit_no, "exchange_answered": mark.exchange_answered}
        await connection.execute(insert(epochs).values(node=row.node, **past))
        await connection.execute(delete(epochs).where(epochs.c.node == row.node, epochs.c.epoch <= epoch - KEPT))
    raised = update(nodes).where(nodes.c.node == row.node).values(epoch=epoch, commit_no=0, holder=holder)
    await connection.execute(raised)
    return epoch


async def close_leases(connection: AsyncConnection, row: NodeRow, epoch: int) -> None:
    """From the next epoch on, leases of this one, and of those before it, are known to be closed."""
    closed_below_epoch = max(row.closed_below_epoch, epoch + 1)
    await connection.execute(
        update(nodes).where(nodes.c.node == row.node).values(closed_below_epoch=closed_below_epoch)
    )


async def history_of(engine: AsyncEngine, node: str) -> list[EpochMark]:
    """Read how far past epochs got: the node's own, and of others the last answered exchange."""
    async with database_answers(engine), read_only(engine) as connection:
        rows = (await connection.execute(select(nodes).order_by(nodes.c.node))).all()
        past = await connection.execute(select(epochs).where(epochs.c.node == node).order_by(epochs.c.epoch))
        mine = [EpochMark(*row) for row in past]
    others = [EpochMark(row.node, row.answered_epoch, 0, row.exchange_answered) for row in rows if row.node != node]
    return [*mine, *(_present(row) for row in rows if row.node == node), *others]


def _present(row: NodeRow) -> EpochMark:
    answered = row.exchange_answered if row.answered_epoch == row.epoch else 0
    return EpochMark(row.node, row.epoch, row.commit_no, answered)
