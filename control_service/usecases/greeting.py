"""A node says hello."""

from __future__ import annotations

from control_service.domain.errors import Reason, RefusedError
from control_service.domain.node import greeted
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock


def fenced(name: str, epoch: int, known_epoch: int | None = None) -> RefusedError:
    """The error for whoever speaks for an epoch that is over."""
    newer = "A newer epoch" if known_epoch is None else f"Epoch {known_epoch}"
    return RefusedError(
        Reason.NODE_FENCED, f"{newer} of node {name} is known, so {epoch} must stop using its leases.", node=name
    )


class Greeting:
    """The use case."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def greet(self, name: str, epoch: int, metering_database_id: str) -> None:
        """Notes that this epoch of a node is there, which fences all lower ones.

        Raises:
            RefusedError: NODE_FENCED for an epoch below the known one, METERING_DATABASE_MISMATCH where the fleet
                writes to another database than this node.
        """
        async with self._database.writing() as tx:
            expected = await tx.nodes.remember_database(metering_database_id)
            if expected != metering_database_id:
                raise RefusedError(
                    Reason.METERING_DATABASE_MISMATCH,
                    f"The fleet writes to metering database {expected}, but node {name} to {metering_database_id}; "
                    f"start it with the fleet's database.",
                    expected=expected,
                    actual=metering_database_id,
                )
            known = await tx.nodes.lock(name)
            if known is not None and epoch < known.epoch:
                raise fenced(name, epoch, known.epoch)
            await tx.nodes.save(greeted(known, name, epoch, self._clock.now_us()))
