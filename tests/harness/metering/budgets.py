"""Budgets that say only what a test is about, and their pots in the books."""

from typing import Any

from control_service.domain.limit import LimitPotKey as ControlKey
from control_service.domain.pot import PotKey
from metering_service.domain.limit import Limit
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.records import RequestRecord
from tests.harness.metering.fake_control import ACCOUNT
from tests.harness.metering.node_harness import Fleet

ACCOUNT_NAME = f"accounts/{ACCOUNT}"
TOKENS, MONEY = PotKind.BUDGET_TOKENS, PotKind.BUDGET_MONEY


def put_budget(fleet: Fleet, amount_units: int, uid: str = "uid-cap", *, kind: PotKind = TOKENS, **more: Any) -> Limit:
    """A budget of the account, unless another place is said; or another one in the place of that with the same uid."""
    limit = Limit(
        uid, f"{ACCOUNT_NAME}/budgets/{uid}", kind, **{"place": ACCOUNT_NAME, **more}, amount_units=amount_units
    )
    control = fleet.control
    others = tuple(each for each in control.limits.limits if each.uid != uid)
    control.limits = control.limits._replace(limits=(*others, limit), version=control.limits.version + 1)
    for key in [key.limit for key in control.pots if key.limit is not None and key.limit.limit_uid == uid]:
        control.budget(
            uid,
            amount_units,
            kind,
            member_uid=key.member_uid,
            period_start_us=key.period_start_us,
            soft=limit.only_counts,
        )
    return limit


def drop_budget(fleet: Fleet, uid: str = "uid-cap") -> None:
    """The budget is deleted, with its pots."""
    control = fleet.control
    left = tuple(each for each in control.limits.limits if each.uid != uid)
    control.limits = control.limits._replace(limits=left, version=control.limits.version + 1)


def pot_of(
    fleet: Fleet, uid: str = "uid-cap", member: str = "", start_us: int = 0, *, kind: PotKind = TOKENS
) -> PotKey:
    """The pot as control knows it."""
    return fleet.control.limit_key(ControlKey(ACCOUNT, uid, member, start_us), kind)


def spent(fleet: Fleet, uid: str = "uid-cap", member: str = "", start_us: int = 0, *, kind: PotKind = TOKENS) -> int:
    """What was settled on a pot, with nothing of it on lease any more."""
    key = pot_of(fleet, uid, member, start_us, kind=kind)
    pot = fleet.control.pots.get(key)
    if pot is None:
        return 0
    assert pot.leased_units == 0, key
    return fleet.control.spent[key]


def booked_on(fleet: Fleet, pot: LimitPotKey) -> int:
    """What the records say that list a pot."""
    return sum(_units(record, pot.kind) for record in fleet.database.requests.values() if pot in record.pots)


def _units(record: RequestRecord, kind: PotKind) -> int:
    return record.receipt.cost_nanos if kind is MONEY else record.receipt.usage.total
