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
from tests.simulation.people import ACCOUNTS, SERVICES, TEAMS

if TYPE_CHECKING:
    from tests.simulation.chance import Chance
    from tests.simulation.simulation_harness import World

RULES_MAX = 2
"""Maximum number of rules of an account."""
MINUTE_US = 60_000_000
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


class RateRules:
    """All rules, and what people do with them."""

    def __init__(self, world: "World", chance: "Chance", asker: Any) -> None:
        self._world = world
        self._chance = chance
        self._asker = asker
        self._rules: list[KeptRule] = []
        self._made = 0

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

    def check_rest(self) -> None:
        """At rest nothing of a rule is on lease: no slot is lost, and none is held for a request that has ended."""
        stuck = self._world.control.rows("SELECT limit_uid, kind, leased_units FROM rule_pots WHERE leased_units > 0")
        self._world.check(not stuck, f"{len(stuck)} pots of rules are on lease for ever, first {_row(stuck)}")


def _row(rows: list) -> dict | None:  # type: ignore[type-arg]
    return dict(rows[0]) if rows else None
