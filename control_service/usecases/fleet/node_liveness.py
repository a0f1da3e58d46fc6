"""Liveness of nodes: which are live and which are lost, by this process's own observations of their rows.

Wall clocks jump, and those of two replicas differ, so stored times are not compared. A node is silent for as long as
its row was observed unchanged, on this process's monotonic clock, over successful reads of the database. A process that
has just started takes every node for live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, RESUME_WINDOW_NS, LostNode, Node
from control_service.usecases.pulse_ports import NodeSigns
from tallygate._server.clock import NS_PER_US, Clock

OBSERVATION_GAP_MAX_NS: Final = 1_000_000_000
"""Maximum silence that counts between two observations: while the database was down, no node could write to it."""


@dataclass(slots=True)
class _Observation:
    """A node's row as observed last, and for how long its signs of life and its exchanges have not changed.

    `heard_after_ns`: a moment before its last sign of life; None where that came before this process began to observe.
    `kept_until_ns`: until when its epoch leaves the leases of those before open at the least; None: not known.
    """

    heard: tuple[int, int]
    exchanged: tuple[int, int]
    heard_after_ns: int | None
    kept_until_ns: int | None
    unheard_ns: int = 0
    unrenewed_ns: int = 0
    # The node has no open leases, and gets none without an exchange.
    holds_nothing: bool = False


class NodeLiveness:
    """The observations of one process. The sweeper observes; other use cases query."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._observed_ns: int | None = None
        self._seen: dict[str, _Observation] = {}
        self.lost: tuple[LostNode, ...] = ()

    def observe(self, nodes: Iterable[Node | NodeSigns]) -> None:
        """Observes the rows of all nodes, as they are committed now."""
        since_ns, now_ns = self._observed_ns, self._clock.monotonic_ns()
        passed_ns = 0 if since_ns is None else min(now_ns - since_ns, OBSERVATION_GAP_MAX_NS)
        self._observed_ns = now_ns
        self._seen = {node.name: _observed(self._seen.get(node.name), node, since_ns, passed_ns) for node in nodes}

    def is_live(self, node: Node) -> bool:
        """Whether a node, whose row was just read, gave a sign of life within `LIVE_NS`."""
        seen = self._seen.get(node.name)
        return seen is None or seen.heard != (node.epoch, node.heard_count) or seen.unheard_ns < LIVE_NS

    def returns_after_us(self, node: Node, epoch: int) -> int | None:
        """The time until what a lease of this epoch has can come back at the earliest, as long as its node is silent.

        None where it may come back at any moment, as the node, whose row was just read, is live and its epoch runs; and
        where this process cannot tell. A node that is heard again may give it back before.
        """
        seen, moments = self._seen.get(node.name), []
        if seen is None or seen.heard[0] != node.epoch:
            return None
        if epoch < node.epoch and seen.kept_until_ns is not None:
            moments.append(seen.kept_until_ns)
        if not self.is_live(node) and seen.heard_after_ns is not None:
            moments.append(seen.heard_after_ns + RESUME_WINDOW_NS)
        return max(0, max(moments) - self._clock.monotonic_ns()) // NS_PER_US if moments else None

    def states(self) -> dict[str, int]:
        """Number of nodes that are live, lost, and neither: silent."""
        lost = {node.name for node in self.lost}
        states = {"live": 0, "silent": 0, "lost": len(lost)}
        for name, seen in self._seen.items():
            if name not in lost:
                states["live" if seen.unheard_ns < LIVE_NS else "silent"] += 1
        return states

    def is_silent(self, name: str) -> bool:
        """Whether the leases of a node have lapsed, whether or not it has open ones; False for unknown nodes."""
        seen = self._seen.get(name)
        return seen is not None and seen.unrenewed_ns >= LOST_AFTER_NS

    def suspects(self) -> list[str]:
        """Nodes whose leases have lapsed, and that may have open ones."""
        return [
            name for name, seen in self._seen.items() if seen.unrenewed_ns >= LOST_AFTER_NS and not seen.holds_nothing
        ]

    def mark_lost(self, suspects: Collection[str], with_open_leases: Collection[str]) -> None:
        """Marks those of the suspects as lost that have open leases."""
        for name in suspects:
            self._seen[name].holds_nothing = name not in with_open_leases
        self.lost = tuple(LostNode(name, self._seen[name].exchanged[0]) for name in sorted(with_open_leases))


def _observed(seen: _Observation | None, node: Node | NodeSigns, since_ns: int | None, passed_ns: int) -> _Observation:
    """The observation after this one; `since_ns` is when the one before it was, and `passed_ns` what counts since."""
    heard, exchanged = (node.epoch, node.heard_count), (node.epoch, node.exchange_number)
    if seen is None:
        return _Observation(heard, exchanged, since_ns, _kept_until_ns(node, since_ns))
    if seen.heard == heard:
        seen.unheard_ns += passed_ns
    else:
        seen.unheard_ns, seen.heard_after_ns = 0, since_ns
    if seen.heard[0] != node.epoch:
        seen.kept_until_ns = _kept_until_ns(node, since_ns)
    if seen.exchanged == exchanged:
        seen.unrenewed_ns += passed_ns
    else:
        seen.unrenewed_ns, seen.holds_nothing = 0, False
    seen.heard, seen.exchanged = heard, exchanged
    return seen


def _kept_until_ns(node: Node | NodeSigns, since_ns: int | None) -> int | None:
    """Until when the epoch of a node, which began after `since_ns`, leaves the leases of those before open."""
    if since_ns is None or node.leases_kept_us is None:
        return None
    return since_ns + node.leases_kept_us * NS_PER_US
