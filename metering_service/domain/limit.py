"""Limits as this node knows them, which of them apply to a request, and which pot of each is charged.

A limit hangs on a place: a model, the account, a team, a service, an API key. All that hang on what a request touches
apply at once. A model's rules spare a service that an operator has exempted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from metering_service.domain.pot import BUDGETS, LimitPotKey, PotKind
from metering_service.domain.service import ServiceConfig
from metering_service.domain.stamp import HOUR_US

NEVER_NS: Final = 1 << 62
"""Moment that does not come."""


class Member(Enum):
    """What a limit counts together: all that comes to its place, or each member of the place for itself."""

    SHARED = "SHARED"
    EACH_KEY = "EACH_KEY"
    EACH_SERVICE = "EACH_SERVICE"
    EACH_TEAM = "EACH_TEAM"


class Period(NamedTuple):
    """A period of a budget. It is current from `from_ns` to before `to_ns`, of this node's monotonic clock.

    `start_us`: when it begins by control's clock, 0 where it is for ever; `end_us`: when it ends, None if never.
    """

    start_us: int = 0
    end_us: int | None = None
    from_ns: int = 0
    to_ns: int = NEVER_NS


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate rule or a budget.

    `name`: its resource name. `place_uid`: unique id of the service or key, id of the team; empty of the others.
    `model`: only requests of this model count; empty for all. `only_counts`: it refuses nothing. `metric`,
    `limit_units`, `period_ms`, `burst_units` are those of a rate rule; `amount_units`, `periods` those of a budget.
    """

    uid: str
    name: str
    kind: PotKind
    place: str
    place_uid: str = ""
    model: str = ""
    member: Member = Member.SHARED
    only_counts: bool = False
    metric: str = ""
    limit_units: int = 0
    period_ms: int = 0
    burst_units: int = 0
    amount_units: int = 0
    periods: tuple[Period, ...] = (Period(),)

    def ends_us(self, start_us: int) -> int | None:
        """When the period that begins then is over, and the budget begins anew; None of one that is for ever.

        The end of one that is not told of any more is not known, only that another one has begun since.
        """
        end_us = next((period.end_us for period in self.periods if period.start_us == start_us), None)
        later = (period.start_us for period in self.periods if period.start_us > start_us)
        return min(later, default=None) if end_us is None else end_us

    def is_stricter_than(self, before: "Limit | None") -> bool:
        """Whether a budget lets less be spent than before: its amount was lowered, or it refuses and only counted.

        So may be one that was not known for a while.
        """
        if self.kind not in BUDGETS:
            return False
        return (
            before is None or self.amount_units < before.amount_units or (before.only_counts and not self.only_counts)
        )

    def period_at(self, now_ns: int) -> Period | None:
        """The current period; where none is known any more, the one that was current last."""
        begun = [period for period in self.periods if period.from_ns <= now_ns]
        return max(begun, key=lambda period: period.from_ns, default=None)


class LimitSet(NamedTuple):
    """All limits of an account, `accounts/{account}`, or all rules of a model, `models/{model}`."""

    name: str
    limits: tuple[Limit, ...]
    version: int


class Charge(NamedTuple):
    """A limit that applies to a request, and the pot that is charged."""

    limit: Limit
    pot: LimitPotKey


class Applying(NamedTuple):
    """What applies to a request of one service and key.

    Attributes:
        budgets: Budgets, each with the pot of the current period.
        rules: Rate rules.
        until_ns: At this moment of the monotonic clock a period begins, and it is to be worked out again.
        hour_from_us: The current periods have begun by then; 0 where there is none.
        hour_until_us: The first of them ends then; None where none does.
        pots: The pots that requests are stamped with: what they have of them is settled with their records.
    """

    budgets: tuple[Charge, ...] = ()
    rules: tuple[Charge, ...] = ()
    until_ns: int = NEVER_NS
    hour_from_us: int = 0
    hour_until_us: int | None = None
    pots: tuple[LimitPotKey, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether no limit applies."""
        return not (self.budgets or self.rules)

    def hour_at(self, hour_us: int) -> int:
        """The hour of authorisation, by this node's wall clock, or the nearest that lies in all current periods.

        Periods are control's to say, and its clock may be ahead of this node's, or behind it. So what is summed by the
        hour for a period is what the period's pot was charged.
        """
        hour_us = max(hour_us, self.hour_from_us)
        return hour_us if self.hour_until_us is None else min(hour_us, self.hour_until_us - HOUR_US)


NOTHING_APPLIES: Final = Applying()


def applying(limits: Iterable[Limit], service: ServiceConfig, key_uid: str, key_team: str, now_ns: int) -> Applying:
    """Which of these limits apply to a request of a service with a key, or without one where its uid is empty."""
    budgets, rules, until_ns = list[Charge](), list[Charge](), NEVER_NS
    hour_from_us, ends_us = 0, list[int]()
    for limit in limits:
        members = tuple(_members(limit, service, key_uid, key_team))
        if not members:
            continue
        until_ns = min([until_ns, *(each.from_ns for each in limit.periods if each.from_ns > now_ns)])
        period = limit.period_at(now_ns)
        if period is None:
            continue
        charges = (Charge(limit, LimitPotKey(limit.kind, limit.uid, each, period.start_us)) for each in members)
        if limit.kind in BUDGETS:
            budgets += charges
            hour_from_us = max(hour_from_us, period.start_us)
            if period.end_us is not None:
                ends_us.append(period.end_us)
        else:
            rules += charges
    pots = *(each.pot for each in budgets), *(each.pot for each in rules if each.pot.kind is PotKind.SLOTS)
    return Applying(tuple(budgets), tuple(rules), until_ns, hour_from_us, min(ends_us, default=None), pots)


def _members(limit: Limit, service: ServiceConfig, key_uid: str, key_team: str) -> Iterator[str]:
    """The members of a limit that a request counts for: "" of one that is shared; none where it does not apply."""
    teams = {team: None for team in (service.team, key_team) if team}
    if (limit.model and limit.model != service.model) or not _touches(limit, service, key_uid, teams):
        return
    is_team = _kind_of(limit.place) == "teams"
    match limit.member:
        case Member.SHARED:
            yield ""
        case Member.EACH_KEY if key_uid and (not is_team or limit.place_uid == key_team):
            yield key_uid
        case Member.EACH_SERVICE if not is_team or limit.place_uid == service.team:
            yield service.uid
        case Member.EACH_TEAM:
            yield from teams


def _touches(limit: Limit, service: ServiceConfig, key_uid: str, teams: Iterable[str]) -> bool:
    """Whether a request touches the place that a limit hangs on."""
    match _kind_of(limit.place):
        case "models":
            return limit.place == service.model and not service.exempt_from_model_rules
        case "accounts":
            return service.name.startswith(f"{limit.place}/")
        case "teams":
            return limit.place_uid in teams
        case "services":
            return limit.place_uid == service.uid
        case "keys":
            return limit.place_uid == key_uid != ""
        case _:
            return False


def _kind_of(place: str) -> str:
    """The collection that a resource name ends in, such as `teams`."""
    segments = place.split("/")
    return segments[-2] if len(segments) > 1 else ""
