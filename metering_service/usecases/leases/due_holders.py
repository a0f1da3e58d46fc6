"""Whose leases an exchange goes through: a bounded number, however many services are in use at once."""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from metering_service.usecases.node import Node
from metering_service.usecases.state.lease_holder import LeaseHolder

VISITED_MIN = 256
"""Minimum of services at rest whose leases one exchange goes through."""
ROUND_EXCHANGES_MAX: Final = 32
"""Maximum of exchanges in which the leases of all services at rest are gone through."""
MOVED_MAX: Final = 500
"""Maximum of services to which something happened whose leases one exchange goes through: as many as fit in it."""


class DueHolders:
    """Those to whose leases something happened, and some of the others in turn: time alone may make a lease idle."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._round: deque[LeaseHolder] = deque()

    @property
    def are_too_many(self) -> bool:
        """Whether more happened than one exchange goes through."""
        return len(self._node.lease_index.moved) > MOVED_MAX

    def next(self, now_ns: int) -> list[LeaseHolder]:
        """Those of one exchange. Whoever is left out comes with the next ones."""
        index, are_too_many = self._node.lease_index, self.are_too_many
        leased = index.holders
        due = dict.fromkeys(self._first_moved() if are_too_many else index.moved.values())
        if len(leased) <= VISITED_MIN:
            self._round.clear()
            due |= dict.fromkeys(leased.values())
        else:
            self._round = self._round or deque(leased.values())
            count = VISITED_MIN if are_too_many else max(VISITED_MIN, len(leased) // ROUND_EXCHANGES_MAX)
            some = [self._round.popleft() for _ in range(min(count, len(self._round)))]
            due |= dict.fromkeys(holder for holder in some if holder.next_look_ns <= now_ns)
        return [holder for holder in due if leased.get(holder.name) is holder]

    def _first_moved(self) -> Iterable[LeaseHolder]:
        """Those that requests wait for, but at least half of the room for the others; each in the order of events."""
        node, moved = self._node, self._node.lease_index.moved
        gone = [holder for holder in islice(moved.values(), MOVED_MAX) if holder.name not in node.lease_index.holders]
        for holder in gone:
            del moved[holder.name]
        short = dict.fromkeys(holder for service in node.waiting.values() for holder in service.short_holders())
        if len(short) > MOVED_MAX // 2:
            short = dict.fromkeys(islice((holder for holder in moved.values() if holder in short), MOVED_MAX // 2))
        return [*short, *islice((holder for holder in moved.values() if holder not in short), MOVED_MAX - len(short))]
