"""Who was told lately that a budget has nothing for it now: they hear at once when it has something again."""

from __future__ import annotations

from collections.abc import Collection

from control_service.domain.budget import BudgetKey
from tallygate._server.clock import Clock

REMEMBERED_NS = 5_000_000_000
"""Nodes ask again by themselves; so long ago nobody waits any more."""


class Shortages:
    """In the memory of this process, because nodes that are not told only learn a little later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_ns: dict[BudgetKey, dict[str, int]] = {}

    def told(self, budget: BudgetKey, service_uid: str) -> None:
        """A node was told that this budget falls short of what this service needs."""
        self._told_ns.setdefault(budget, {})[service_uid] = self._clock.monotonic_ns()

    def ended(self, came_back: Collection[BudgetKey]) -> set[str]:
        """Services for which to ask again, now that these budgets got something back. What is too old is forgotten."""
        since_ns = self._clock.monotonic_ns() - REMEMBERED_NS
        uids: set[str] = set()
        for budget in came_back:
            told = self._told_ns.pop(budget, {})
            uids.update(uid for uid, told_ns in told.items() if told_ns > since_ns)
        self._told_ns = {budget: told for budget, told in self._told_ns.items() if max(told.values()) > since_ns}
        return uids
