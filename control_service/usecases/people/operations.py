"""Operations: an account's pots, and what became of each, for those on call."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.limit import LimitPotKey
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.pot import Pot, PotKey, PotKind
from control_service.domain.service import Service
from control_service.usecases import limit_pots, rule_pots
from control_service.usecases.ports import ServiceFilter, Transaction

SERVICES_PER_QUERY: Final = 100
"""Maximum number of services that one query reads."""

Position = tuple[str, int, str, str, int]
"""The position of a pot in the list: its service's id (empty for money), and the place of its kind.

Of a limit's pot: the limit's uid, the member's, and the begin of the period. Limits come last, as of a service `~`:
budgets, then rate rules.
"""

_FIRST_KEY: Final = ("", "", 0)
_LIMITS: Final = "~"
_BUDGETS: Final = 0
_RULES: Final = 1
_PLACES: Final = {kind: place for place, kind in enumerate(PotKind)}


@dataclass(frozen=True, slots=True)
class PotView:
    """One pot as of one moment; `service_id` is empty for money and for limits, `limit` is None of a payer.

    See the contract's `Pot` for the amounts.
    """

    account_id: str
    service_id: str
    kind: PotKind
    capacity_units: int
    available_units: int
    leased_units: int
    held_units: int
    spent_units: int
    limit: LimitPotKey | None = None

    @property
    def position(self) -> Position:
        """The pot's position in the list."""
        if self.limit is not None:
            return _LIMITS, _RULES if self.kind.is_rule else _BUDGETS, *self.limit[1:]
        return self.service_id, _PLACES[self.kind], *_FIRST_KEY


async def list_pots(
    tx: Transaction, account_id: str, service_id: str | None, *, after: Position, limit: int, now_us: int
) -> list[PotView]:
    """Pots of an account after a position: money first, then by service, then those of limits.

    If a service is given, only its own and the account's money.

    Raises:
        ResourceNotFoundError: there is no such account.
    """
    account = await tx.accounts.get(account_id)
    held = await tx.leases.held(account_id)
    if after[0] == _LIMITS:
        key, is_rule = LimitPotKey(account_id, *after[2:]), after[1] == _RULES
        return await _of_limits(tx, key, held, limit, now_us=now_us, past_budgets=is_rule)
    found = [_money(account, held)]
    async for services in _services(tx, account_id, service_id, after[0]):
        found += await _of_services(tx, services, held, now_us)
        if len(found) > limit + len(PotKind):
            break
    page = [pot for pot in found if pot.position > after][:limit]
    if service_id is None and len(page) < limit:
        key, left = LimitPotKey(account_id, *_FIRST_KEY), limit - len(page)
        page += await _of_limits(tx, key, held, left, now_us=now_us, past_budgets=False)
    return page


async def _of_limits(
    tx: Transaction, after: LimitPotKey, held: Mapping[PotKey, int], limit: int, *, now_us: int, past_budgets: bool
) -> list[PotView]:
    """Pots of limits after a key: those of budgets, unless they are past, then those of rate rules."""
    found: list[PotView] = []
    if not past_budgets:
        budgets = await limit_pots.list_pots(tx, after, limit, now_us)
        found += [_of_limit(pot.pot_key, pot.capacity_units, pot, held) for pot in budgets]
        after = LimitPotKey(after.account_id, *_FIRST_KEY)
    if len(found) < limit:
        rules = await rule_pots.list_rule_pots(tx, after, limit - len(found), now_us)
        found += [_of_limit(pot.pot_key, pot.capacity_units, pot.units, held) for pot in rules]
    return found


def _of_limit(key: PotKey, capacity_units: int, pot: BudgetPot | Pot, held: Mapping[PotKey, int]) -> PotView:
    return PotView(
        account_id=key.account,
        service_id="",
        kind=key.kind,
        capacity_units=capacity_units,
        available_units=pot.available_units,
        leased_units=pot.leased_units,
        held_units=held.get(key, 0),
        spent_units=pot.spent_units,
        limit=key.limit,
    )


async def _services(
    tx: Transaction, account_id: str, service_id: str | None, first_id: str
) -> AsyncIterator[list[Service]]:
    """One service, or all services from the first one on, in batches."""
    first = await tx.services.find(account_id, first_id if service_id is None else service_id)
    if first is not None:
        yield [first]
    after = (account_id, first_id)
    while service_id is None:
        wanted = ServiceFilter(account_id=account_id, show_deleted=True)
        services = await tx.services.page(wanted, after, SERVICES_PER_QUERY)
        if not services:
            return
        yield services
        after = (account_id, services[-1].service_id)


async def _of_services(
    tx: Transaction, services: list[Service], held: Mapping[PotKey, int], now_us: int
) -> list[PotView]:
    keys = {
        PotKey.of(service.account_id, service.uid, kind)
        for service in services
        if service.reservation_count
        for kind in PotKind
        if kind.is_reservation
    }
    buckets = await tx.batches.buckets(keys) if keys else {}
    found = []
    for service in services:
        if service.trial is not None:
            found.append(_trial(service, held))
        for kind in PotKind:
            key = PotKey.of(service.account_id, service.uid, kind)
            if key in buckets:
                found.append(_rate(service, key, buckets[key].refilled(now_us), held))
    return found


def _money(account: Account, held: Mapping[PotKey, int]) -> PotView:
    return PotView(
        account_id=account.account_id,
        service_id="",
        kind=PotKind.MONEY,
        capacity_units=account.funds_nanos + account.credit_limit_nanos,
        available_units=account.available_nanos,
        leased_units=account.leased_nanos,
        held_units=held.get(PotKey.of(account.account_id, "", PotKind.MONEY), 0),
        spent_units=account.spent_nanos,
    )


def _trial(service: Service, held: Mapping[PotKey, int]) -> PotView:
    trial = service.trial
    assert trial is not None
    return PotView(
        account_id=service.account_id,
        service_id=service.service_id,
        kind=PotKind.TRIAL,
        capacity_units=trial.quota_tokens,
        available_units=trial.remaining_tokens - trial.leased_tokens,
        leased_units=trial.leased_tokens,
        held_units=held.get(PotKey.of(service.account_id, service.uid, PotKind.TRIAL), 0),
        spent_units=trial.spent_tokens,
    )


def _rate(service: Service, key: PotKey, bucket: Bucket, held: Mapping[PotKey, int]) -> PotView:
    return PotView(
        account_id=service.account_id,
        service_id=service.service_id,
        kind=key.kind,
        capacity_units=bucket.rate_tokens_per_minute,
        available_units=bucket.available_units,
        leased_units=bucket.leased_units,
        held_units=held.get(key, 0),
        spent_units=bucket.spent_units,
    )
