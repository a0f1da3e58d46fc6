"""Rate rules of the two accounts and of their model, where accounts have limits: what people do with them.

Beside them nothing that runs is ever cut by a rule, and at rest every slot is free again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from control_service.domain.account import Account
from control_service.domain.limit import LimitSubject, Place, PlaceKind, RateMetric
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limits.rate_rules import (
    NewRateRule,
    RateRuleUpdate,
    create_rate_rule,
    delete_rate_rule,
    update_rate_rule,
)
from control_service.usecases.ports import Transaction
from metering_service.domain.rate_charges import Slots
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateMetric as Counted
from metering_service.domain.request import Request
from tests.simulation.people import ACCOUNTS, SERVICES, TEAMS

if TYPE_CHECKING:
    from metering_service.usecases.node import Node
    from tests.simulation.chance import Chance
    from tests.simulation.simulation_harness import World

RULES_MAX = 2
"""Maximum number of rules of an account."""
MINUTE_US = 60_000_000
DRIFT = 1.05
"""More than clocks run fast."""
OUTSTANDING = "max(0, granted_units + refunded_units - consumed_units - returned_units)"
FIGURES = {
    RateMetric.REQUESTS: (3, 20, 200),
    RateMetric.INPUT_TOKENS: (1_000, 10_000, 100_000),
    RateMetric.OUTPUT_TOKENS: (1_000, 10_000, 100_000),
    RateMetric.TOTAL_TOKENS: (2_000, 20_000, 200_000),
    RateMetric.CONCURRENT_REQUESTS: (1, 3, 20),
}


@dataclass(slots=True)
class KeptRule:
    """A rule that people have made."""

    account_id: str
    rule_id: str
    metric: RateMetric


@dataclass(slots=True)
class _Bucket:
    """Requests that may yet begin under a rule, at the most."""

    now_s: float
    left: float = 0.0
    burst: int = 0
    limit: int = 0

    def take(self, limit: int, burst: int, now_s: float) -> float:
        """One more begins; what is left then, clocks that run fast included."""
        self.left += max(0, burst - self.burst)
        self.burst, self.limit = max(self.burst, burst), max(self.limit, limit)
        self.left = min(self.burst, self.left + (now_s - self.now_s) * self.limit / 60 * DRIFT) - 1
        self.now_s = now_s
        return self.left


class RateRules:
    """All rules, and what people do with them."""

    def __init__(self, world: "World", chance: "Chance", asker: Any) -> None:
        self._world = world
        self._chance = chance
        self._asker = asker
        self._rules: list[KeptRule] = []
        self._made = 0
        self._passed: dict[str, _Bucket] = {}
        self._slots: dict[str, int] = {}
        """The most that each rule of slots ever had, by its uid."""
        self._beyond: set[tuple[str, str]] = set()
        """Requests that a node let in on its own, while it was cut off."""
        self._excuses = (0, 0)

    async def found(self) -> None:
        """None to two in each account."""
        for account_id in ACCOUNTS:
            for _ in range(self._chance.integer(0, RULES_MAX)):
                await self._make(account_id)

    async def change(self) -> None:
        """Another limit, or a dry run."""
        kept = self._drawn()
        figure = self._chance.pick(FIGURES[kept.metric])
        update = RateRuleUpdate(limit_units=figure, dry_run=self._chance.once_in(4))
        subject = LimitSubject(kept.account_id)

        async def change(tx: Transaction, _: Account, act: Act) -> Any:
            return await update_rate_rule(tx, subject, kept.rule_id, update, asker=self._asker, act=act)

        await self._world.people.of_account(kept.account_id, change)

    async def replace(self) -> None:
        """One is deleted, and another one made."""
        kept = self._drawn()

        async def delete(tx: Transaction, _: Account, act: Act) -> Any:
            return await delete_rate_rule(tx, LimitSubject(kept.account_id), kept.rule_id, self._asker, act)

        await self._world.people.of_account(kept.account_id, delete)
        self._rules.remove(kept)
        await self._make(kept.account_id)

    @property
    def are_there(self) -> bool:
        """Whether there is any."""
        return bool(self._rules)

    def _drawn(self) -> KeptRule:
        return self._chance.pick(self._rules)

    async def _make(self, account_id: str) -> None:
        chance = self._chance
        self._made += 1
        metric = chance.pick(list(RateMetric))
        service = chance.pick([service_id for its, service_id in SERVICES if its == account_id])
        place = chance.pick(
            (
                Place(PlaceKind.ACCOUNT, account_id),
                Place(PlaceKind.TEAM, account_id, chance.pick(TEAMS)),
                Place(PlaceKind.SERVICE, account_id, service),
                *self._world.keys.places_of(account_id),
            )
        )
        new = NewRateRule(
            f"rule{self._made}",
            place,
            metric,
            chance.pick(FIGURES[metric]),
            period_us=0 if metric is RateMetric.CONCURRENT_REQUESTS else MINUTE_US,
            dry_run=chance.once_in(6),
        )

        async def create(tx: Transaction, _: Account, act: Act) -> Any:
            return await create_rate_rule(tx, new, self._asker, act)

        await self._world.people.of_account(account_id, create)
        self._rules.append(KeptRule(account_id, new.rule_id, metric))

    def check_pots(self) -> None:
        """At every moment: leased is what leases have outstanding, and what is there is within the burst."""
        world = self._world
        leased = {
            row["limit_uid"]: row["leased"]
            for row in world.control.rows(
                f"SELECT limit_uid, sum({OUTSTANDING}) leased FROM leases"  # noqa: S608
                " WHERE kind IN ('RATE', 'SLOTS') GROUP BY 1"
            )
        }
        for row in world.control.rows("SELECT * FROM rule_pots"):
            uid, out = row["limit_uid"], leased.get(row["limit_uid"], 0)
            world.check(row["leased_units"] == out, f"{uid}: leased {row['leased_units']}, on leases {out}")
            if row["kind"] == "RATE":
                available = row["level_parts"] // row["period_ms"]
                most = max(row["burst_units"], out)
                world.check(available + out <= most, f"{uid}: {available} available, {out} on lease, at most {most}")
        world.slot_returns.check()

    def begun(self, node: "Node", request: Request) -> None:
        """A node has let a new request begin: there was room for it, whatever node had the others."""
        if request.rules is None:
            return
        if not node.leases_valid:
            self._beyond.add((request.service, request.request_id))
            return
        for lease in request.rules.enforced:
            if lease.rule.metric is Counted.REQUESTS:
                self._pass(lease)
        for slots in request.rules.slots:
            if not slots.rule.only_counts:
                self._take_slot(slots, request)

    def _pass(self, lease: RateLease) -> None:
        """No more requests pass than the burst and what has accrued, by the most that the rule ever allowed."""
        world = self._world
        excuses = (world.chance.struck["clock jump"], world.control.restored)
        if excuses != self._excuses:
            # Nobody knows what accrued, or what was spent since the copy.
            self._excuses = excuses
            self._passed.clear()
        assert lease.limit_pot is not None
        bucket = self._passed.setdefault(lease.limit_pot.limit_uid, _Bucket(world.loop.now_s))
        left = bucket.take(lease.rule.limit_units, lease.rule.burst_units, world.loop.now_s)
        if left < -1:
            world.wrongs.append(f"{-left:.1f} more requests have begun than {lease.rule.name} allows")

    def _take_slot(self, slots: Slots, request: Request) -> None:
        """No more requests run than there are slots; those that moved took theirs along, be there any or not."""
        world, lease = self._world, slots.mine
        assert lease.limit_pot is not None
        uid = lease.limit_pot.limit_uid
        most = self._slots[uid] = max(slots.rule.limit_units, self._slots.get(uid, 0))
        # A part that nobody had authorised has no name, and no slot.
        rows = world.metering.rows(
            "SELECT service, request_id, node, epoch, pots FROM requests WHERE state = 'open' AND part <> ''"
        )
        running = {
            (row["service"], row["request_id"]) for row in rows if uid in row["pots"] and not self._has_ended(row)
        }
        running -= {(request.service, request.request_id), *self._beyond}
        if len(running) >= most and not world.people.are_forgotten and not world.lost_records:
            world.wrongs.append(
                f"{request.request_id} begins beside {len(running)} others, {slots.rule.name} has {most}"
            )

    def _has_ended(self, row: Any) -> bool:
        """Whether its node has heard the end of a request on record, and its commit is on the way: its slot is free."""
        process = self._world.nodes.get(row["node"])
        node = process.assembly.node if process is not None and process.assembly is not None else None
        service = node.services.get(row["service"]) if node is not None and node.epoch == row["epoch"] else None
        return service is not None and row["request_id"] in service.finished

    def check_rest(self) -> None:
        """At rest nothing of a rule is on lease: no slot is lost, and none is held for a request that has ended."""
        stuck = self._world.control.rows("SELECT limit_uid, kind, leased_units FROM rule_pots WHERE leased_units > 0")
        self._world.check(not stuck, f"{len(stuck)} pots of rules are on lease for ever, first {_row(stuck)}")


def _row(rows: list) -> dict | None:  # type: ignore[type-arg]
    return dict(rows[0]) if rows else None
