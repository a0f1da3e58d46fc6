"""Slots of silent nodes: none comes back before the moment that control has named as the earliest.

What was said is void once the silent node is heard again in the same epoch, which may give back what it likes; and
once a database was put back to an older copy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from control_service.usecases.fleet.node_liveness import NodeLiveness
from metering_service.domain.rate_rule import RateMetric

if TYPE_CHECKING:
    from tallygate.metering.v1 import decision_pb2
    from tests.simulation.simulation_harness import World

BOUND_S = 3.0
"""Earlier than that: by two clocks that run apart, and a hello that takes its time."""
LEAST_MS = 1_000
ON_LEASE = """
    SELECT lease_id, node, epoch, max(0, granted_units - consumed_units - returned_units) AS units
    FROM leases WHERE kind = 'SLOTS'
"""


class _Said(NamedTuple):
    """What was said of the leases of an epoch: until when none comes back, and how its node was known by then."""

    until_s: float
    row: tuple[int, int]
    by_silence: bool


class SlotReturns:
    """What control has said, and what slots are on lease."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._said: dict[tuple[str, int], dict[tuple[tuple[int, int], bool], _Said]] = {}
        self._on_lease: dict[str, int] = {}
        self._copies: Any = None
        self.said = 0
        """Number of times that control has said it."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While a seed runs."""
        real = NodeLiveness.returns_after_us

        def returns_after_us(liveness: NodeLiveness, node: Any, epoch: int) -> int | None:
            after_us = real(liveness, node, epoch)
            if after_us is not None:
                self.said += 1
                row, by_silence = (node.epoch, node.heard_count), not liveness.is_live(node)
                until_s = self._world.loop.now_s + after_us / 1_000_000
                said = self._said.setdefault((node.name, epoch), {})
                before_s = said[row, by_silence].until_s if (row, by_silence) in said else 0.0
                said[row, by_silence] = _Said(max(until_s, before_s), row, by_silence)
            return after_us

        with patch.object(NodeLiveness, "returns_after_us", returns_after_us):
            yield

    def check(self) -> None:
        """At every moment: what came off a lease came when it could."""
        world = self._world
        copies = (world.control.restored, world.metering.restored, world.people.are_forgotten, world.restoring)
        if copies != self._copies:
            self._copies, self._on_lease = copies, {}
            self._said.clear()
        now = {row["lease_id"]: row for row in world.control.rows(ON_LEASE)}
        for lease_id, row in now.items():
            if row["units"] < self._on_lease.get(lease_id, 0):
                self._came_back(row["node"], row["epoch"])
        self._on_lease = {lease_id: row["units"] for lease_id, row in now.items()}

    def _came_back(self, node: str, epoch: int) -> None:
        world = self._world
        (known,) = world.control.rows("SELECT epoch, heard_count FROM nodes WHERE node = ?", node)
        for said in self._said.pop((node, epoch), {}).values():
            is_void = said.by_silence and known["epoch"] == said.row[0] and known["heard_count"] > said.row[1]
            early_s = said.until_s - world.loop.now_s
            world.check(
                is_void or early_s <= BOUND_S, f"slots of {node}.{epoch} come back {early_s:.1f} s before it was said"
            )

    def hear(self, decision: "decision_pb2.Decision") -> None:
        """A server hears a denial: nobody is told to come again at once for a slot."""
        if decision.rate.metric == RateMetric.CONCURRENT_REQUESTS and decision.retryable:
            wait_ms = decision.retry_after.ToMilliseconds()
            self._world.check(wait_ms >= LEAST_MS, f"{decision.request_id} is to come again for a slot in {wait_ms} ms")
