"""Registration of nodes, and the errors for nodes that must register, are fenced, or show that a database is older."""

from __future__ import annotations

from collections.abc import Sequence

from control_service.domain.backup_detection import Mark, forgotten_exchange, has_forgotten_commits
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.node import Node, is_plausible, registered
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock


def fenced(name: str, epoch: int, known_epoch: int | None = None) -> RefusedError:
    """The error for a node whose epoch a newer one has replaced."""
    newer = "A newer epoch" if known_epoch is None else f"Epoch {known_epoch}"
    return RefusedError(
        Reason.NODE_FENCED, f"{newer} of node {name} is known, so {epoch} must stop using its leases.", node=name
    )


def control_went_backwards(mark: Mark) -> RefusedError:
    """The error for a node that has the answer to an exchange which the control database lacks."""
    return RefusedError(
        Reason.CONTROL_WENT_BACKWARDS,
        f"The control database does not know of exchange {mark.exchange_number} in epoch {mark.epoch} of node "
        f"{mark.node}, which it had answered: it is another one, or was restored from an older copy; put back the "
        f"right one, or run `tallygate recover`.",
        node=mark.node,
    )


def metering_went_backwards(node: Node) -> RefusedError:
    """The error for a node whose metering database lacks a commit that was reported to control."""
    return RefusedError(
        Reason.METERING_WENT_BACKWARDS,
        f"The metering database does not know of commit {node.commit_no} in epoch {node.epoch} of node {node.name}, "
        f"which control was told of: it was restored from an older copy; put back the right one, or run "
        f"`tallygate recover`.",
        node=node.name,
    )


def implausible(name: str, epoch: int, known_epoch: int) -> RefusedError:
    """The error for an epoch that would fence all that the node ever comes to."""
    return RefusedError(
        Reason.EPOCH_IMPLAUSIBLE,
        f"Epoch {epoch} of node {name} is far above {known_epoch}, the last one that is known; look at what the "
        f"metering database has as the node's epoch.",
        node=name,
        known=str(known_epoch),
    )


def not_registered(name: str, epoch: int) -> RefusedError:
    """The error for a node that exchanges leases and has not registered."""
    return RefusedError(
        Reason.NODE_NOT_REGISTERED,
        f"Epoch {epoch} of node {name} is not known; open WatchConfig and say hello first.",
        node=name,
    )


class NodeRegistration:
    """The use case: a node registers an epoch, and so fences all lower ones."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def register(
        self,
        name: str,
        epoch: int,
        metering_database_id: str,
        history: Sequence[Mark] = (),
        leases_kept_us: int | None = None,
    ) -> Node:
        """Registers an epoch of a node.

        Args:
            name: the node's name.
            epoch: raised by the node with every start.
            metering_database_id: of the database that the node writes to.
            history: the watermarks of all nodes in that database.
            leases_kept_us: how long it leaves the leases of earlier epochs open at the least; None: not known.

        Returns:
            The node as stored.

        Raises:
            RefusedError: EPOCH_IMPLAUSIBLE for an epoch far above the known one, NODE_FENCED for one below it,
                METERING_DATABASE_MISMATCH where the fleet writes to another database than this node,
                CONTROL_WENT_BACKWARDS and METERING_WENT_BACKWARDS where one of the two databases lacks what was
                reported from it to the other one.
        """
        async with self._database.writing() as tx:
            known = await tx.nodes.lock(name)
            known_epoch = 0 if known is None else known.epoch
            if not is_plausible(known_epoch, epoch):
                raise implausible(name, epoch, known_epoch)
            expected = await tx.nodes.remember_database(metering_database_id)
            if expected != metering_database_id:
                raise RefusedError(
                    Reason.METERING_DATABASE_MISMATCH,
                    f"The fleet writes to metering database {expected}, but node {name} to {metering_database_id}; "
                    f"start it with the fleet's database.",
                    expected=expected,
                    actual=metering_database_id,
                )
            forgotten = forgotten_exchange({node.name: node for node in await tx.nodes.every()}, history)
            if forgotten is not None:
                raise control_went_backwards(forgotten)
            if known is not None and has_forgotten_commits(known, epoch, history):
                raise metering_went_backwards(known)
            if known is not None and epoch < known.epoch:
                raise fenced(name, epoch, known.epoch)
            node = registered(known, name, epoch, self._clock.now_us(), leases_kept_us)
            await tx.nodes.save(node)
            return node
