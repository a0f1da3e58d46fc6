"""Which nodes are live and which are lost, by what this process saw of their rows itself, on its monotonic clock.

Wall clocks jump, and those of two replicas differ. So nobody compares times that were written down: a node is as silent
as its row was seen unchanged, over successful looks at the database. A process that has just started has seen nothing
yet, and takes every node for live until it knows better.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, LostNode, Node
from tallygate._server.clock import Clock

LOOK_GAP_MAX_NS: Final = 1_000_000_000
"""No more counts between two looks: while this process slept or the database was down, no node could write."""


@dataclass(slots=True)
class _Sighting:
    """What was seen last, and for how long it has not changed."""

    heard: tuple[int, int]
    exchanged: tuple[int, int]
    unheard_ns: int = 0
    unrenewed_ns: int = 0
    # Found without open leases; it gets none without an exchange.
    is_settled: bool = False


class Sightings:
    """One for each process; the sweeper looks, others ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_ns = clock.monotonic_ns()
        self._seen: dict[str, _Sighting] = {}
        self.lost: tuple[LostNode, ...] = ()

    def look(self, nodes: Iterable[Node]) -> None:
        """Takes note of all nodes, as they are committed now."""
        now_ns = self._clock.monotonic_ns()
        passed_ns = min(now_ns - self._looked_ns, LOOK_GAP_MAX_NS)
        self._looked_ns = now_ns
        self._seen = {node.name: _again(self._seen.get(node.name), node, passed_ns) for node in nodes}

    def is_live(self, node: Node) -> bool:
        """Whether a node, as just read, was heard from of late."""
        seen = self._seen.get(node.name)
        return seen is None or seen.heard != (node.epoch, node.heard_count) or seen.unheard_ns < LIVE_NS

    def suspects(self) -> list[str]:
        """Nodes whose leases have lapsed, and that may have any."""
        return [name for name, seen in self._seen.items() if seen.unrenewed_ns >= LOST_AFTER_NS and not seen.is_settled]

    def convict(self, suspects: Collection[str], with_open_leases: Collection[str]) -> None:
        """Those of the suspects that have open leases are lost."""
        for name in suspects:
            self._seen[name].is_settled = name not in with_open_leases
        self.lost = tuple(LostNode(name, self._seen[name].exchanged[0]) for name in sorted(with_open_leases))


def _again(seen: _Sighting | None, node: Node, passed_ns: int) -> _Sighting:
    heard, exchanged = (node.epoch, node.heard_count), (node.epoch, node.exchange_number)
    if seen is None:
        return _Sighting(heard, exchanged)
    seen.unheard_ns = seen.unheard_ns + passed_ns if seen.heard == heard else 0
    if seen.exchanged == exchanged:
        seen.unrenewed_ns += passed_ns
    else:
        seen.unrenewed_ns, seen.is_settled = 0, False
    seen.heard, seen.exchanged = heard, exchanged
    return seen
