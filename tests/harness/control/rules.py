"""Rate rules for tests of what nodes lease of them."""

from dataclasses import replace

from control_service.domain.lease import Statement
from control_service.domain.limit import LimitPotKey, Place, PlaceKind, RateMetric, RateRule
from control_service.domain.pot import PotKey, Quantity
from control_service.domain.rate_pot import RatePot
from control_service.domain.rule_pot import RulePot, kind_of
from control_service.usecases.fleet.exchange_messages import LeaseAnswer
from control_service.usecases.fleet.lease_statement import LeaseStatement
from tests.harness.control.fleet_harness import FleetNode, Kit

ACCOUNT = Place(PlaceKind.ACCOUNT, "acme")
MODEL = Place(PlaceKind.MODEL, resource_id="llama")
MINUTE_US = 60_000_000


class Rules:
    """The rate rules of a kit's database, and their pots."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    async def make(
        self,
        limit: int,
        *,
        uid: str = "rule-uid",
        metric: RateMetric = RateMetric.TOTAL_TOKENS,
        burst: int | None = None,
        period_us: int = MINUTE_US,
        place: Place = ACCOUNT,
        dry_run: bool = False,
    ) -> RateRule:
        """A new rule, a minute's worth of burst unless it is said otherwise."""
        has_period = metric is not RateMetric.CONCURRENT_REQUESTS
        rule = RateRule(
            rule_id=uid,
            uid=uid,
            place=place,
            metric=metric,
            limit_units=limit,
            period_us=period_us if has_period else 0,
            burst_units=(limit if burst is None else burst) if has_period else 0,
            dry_run=dry_run,
            create_us=self.kit.now_us,
            update_us=self.kit.now_us,
        )
        async with self.kit.database.writing() as tx:
            await tx.rate_rules.add(rule)
        return rule

    async def change(self, rule: RateRule, **facts: object) -> RateRule:
        """Other facts of a rule; with `delete_us` it is gone."""
        changed = replace(rule, **facts)  # type: ignore[arg-type]  # the test knows its facts
        async with self.kit.database.writing() as tx:
            await tx.accounts.lock("acme")
            await tx.rate_rules.save(changed)
        return changed

    async def find(self, rule: RateRule, account_id: str = "acme") -> RulePot:
        """The rule's pot as it is stored."""
        key = LimitPotKey(account_id, rule.uid)
        async with self.kit.database.reading() as tx:
            return (await tx.rule_pots.find([key]))[key]

    async def rate(self, rule: RateRule) -> RatePot:
        """What has accrued, as it is stored."""
        units = (await self.find(rule)).units
        assert isinstance(units, RatePot)
        return units

    async def slots(self, rule: RateRule) -> Quantity:
        """The slots, as they are stored."""
        units = (await self.find(rule)).units
        assert isinstance(units, Quantity)
        return units

    async def assert_conserved(self, rule: RateRule, account_id: str = "acme") -> None:
        """Leased is what leases have outstanding; with what is available that is never more than the rule has."""
        pot = await self.find(rule, account_id)
        key = PotKey.of_limit(LimitPotKey(account_id, rule.uid), kind_of(rule))
        mine = [lease for lease in await self.kit.read_leases() if lease.pot == key]
        assert pot.units.leased_units == sum(lease.outstanding_units for lease in mine)
        assert pot.units.available_units + pot.units.leased_units <= max(pot.capacity_units, pot.units.leased_units)


def state(node: FleetNode, rule: RateRule, *, account_id: str = "acme", **stated: int | bool) -> LeaseStatement:
    """The node's statement on the lease that it has, or wants, of a rule's pot."""
    lease_id = f"{node.name}-{node.epoch}-{account_id}-{rule.uid}"
    return LeaseStatement(
        node=node.name,
        epoch=node.epoch,
        service_name="",
        service_uid="",
        kind=kind_of(rule),
        statement=Statement(lease_id, **stated),  # type: ignore[arg-type]  # levels are ints
        limit=LimitPotKey(account_id, rule.uid),
    )


async def exchange(node: FleetNode, rule: RateRule, *, account_id: str = "acme", **stated: int | bool) -> LeaseAnswer:
    """An exchange about one lease."""
    (answer,) = await node.exchange(state(node, rule, account_id=account_id, **stated))
    return answer
