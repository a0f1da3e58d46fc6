"""Names of nodes, and who may speak for them: who has the right to, or takes care of a node that is lost."""

from collections.abc import Iterable

from control_service.domain.errors import DeniedError, Reason
from control_service.usecases.fleet.exchange_messages import ExchangeRequest
from control_service.usecases.fleet.node_liveness import NodeLiveness
from tallygate._access.rights import Rights


def require_names(rights: Rights, names: Iterable[str]) -> None:
    """Makes sure that a caller may speak for all of these nodes. Raises DeniedError: NODE_NAME_DENIED."""
    for name in names:
        if not rights.may_be_node(name):
            raise _denied(name, f"This caller may not speak for node {name}")


class NodeNames:
    """Who speaks for which node at one replica. A caretaker speaks for a lost node, and only closes its leases."""

    def __init__(self, liveness: NodeLiveness) -> None:
        self._liveness = liveness
        self._cared_for: dict[str, tuple[int, str]] = {}
        """By node, the last epoch that a caretaker registered, and the caretaker."""

    def require_hello(self, rights: Rights, name: str, epoch: int, caretaker: str) -> None:
        """Makes sure that a caller may register an epoch of this node.

        Args:
            rights: the caller's.
            name: the node's.
            epoch: of the node.
            caretaker: the node that takes this one over; empty where the node speaks for itself.

        Raises:
            DeniedError: NODE_NAME_DENIED.
        """
        if rights.may_be_node(name):
            return
        if not caretaker:
            raise _denied(name, f"This caller may not speak for node {name}")
        if not rights.may_be_node(caretaker):
            raise _denied(caretaker, f"This caller may not speak for node {caretaker}, nor for {name}")
        if not (self._liveness.is_silent(name) or self._cared_for.get(name) == (epoch, caretaker)):
            raise _denied(name, f"Node {caretaker} may not take over node {name}, which is not lost")

    def note_hello(self, name: str, epoch: int, caretaker: str) -> None:
        """Remembers who takes care of an epoch that was registered."""
        if caretaker:
            self._cared_for[name] = epoch, caretaker

    def require_exchange(self, rights: Rights, request: ExchangeRequest) -> None:
        """Makes sure that a caller may exchange for this epoch; a caretaker wants nothing.

        Raises:
            DeniedError: NODE_NAME_DENIED.
        """
        name = request.node
        if rights.may_be_node(name):
            return
        epoch, caretaker = self._cared_for.get(name, (0, ""))
        if epoch != request.epoch or not rights.may_be_node(caretaker):
            raise _denied(name, f"This caller may not speak for node {name}")
        if any(one.statement.wanted_units or one.statement.needed_units for one in request.statements):
            raise _denied(name, f"Node {caretaker} may only close the leases of node {name}, and want nothing for it")


def _denied(name: str, problem: str) -> DeniedError:
    message = f"{problem}; use a credential whose role NODE has that name."
    return DeniedError(Reason.NODE_NAME_DENIED, message, node=name)
