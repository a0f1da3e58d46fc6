"""Limits: rate rules and budgets, what they hang on, and the pots that they have.

A request must pass every limit that applies to it, and nothing is charged unless all pass. Money is in nanos of the
account's currency, times are microseconds since 1970, UTC.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from control_service.domain.names import (
    account_name,
    api_key_name,
    budget_name,
    model_name,
    rate_rule_name,
    service_name,
    team_name,
)

FOR_EVER: Final = 0
"""Start of the period of a limit that has none: a rate rule, a budget in all."""


class PlaceKind(enum.StrEnum):
    """The kinds of resources that a limit may hang on."""

    MODEL = "MODEL"
    ACCOUNT = "ACCOUNT"
    TEAM = "TEAM"
    SERVICE = "SERVICE"
    KEY = "KEY"


class Place(NamedTuple):
    """What a limit hangs on.

    `account_id` is empty of a model. `resource_id` is the id of the model, team, service or key; empty of an account.
    `uid` is the unique id of the service or key; of a team its id.
    """

    kind: PlaceKind
    account_id: str = ""
    resource_id: str = ""
    uid: str = ""

    @property
    def name(self) -> str:
        """The resource name of the model, account, team, service or key."""
        match self.kind:
            case PlaceKind.MODEL:
                return model_name(self.resource_id)
            case PlaceKind.ACCOUNT:
                return account_name(self.account_id)
            case PlaceKind.TEAM:
                return team_name(self.account_id, self.resource_id)
            case PlaceKind.SERVICE:
                return service_name(self.account_id, self.resource_id)
            case PlaceKind.KEY:
                return api_key_name(self.account_id, self.resource_id)

    @property
    def subject(self) -> LimitSubject:
        """The account or model in whose name its limits lie."""
        return LimitSubject(self.account_id, self.resource_id if self.kind is PlaceKind.MODEL else "")


class LimitSubject(NamedTuple):
    """An account or a model: all limits of one are told to nodes together. Exactly one of the two is given."""

    account_id: str = ""
    model_id: str = ""

    @property
    def name(self) -> str:
        """`accounts/{account}` or `models/{model}`."""
        return model_name(self.model_id) if self.model_id else account_name(self.account_id)


class LimitMember(enum.StrEnum):
    """What a limit counts together: all that comes to its place, or each member of the place for itself."""

    SHARED = "SHARED"
    EACH_KEY = "EACH_KEY"
    EACH_SERVICE = "EACH_SERVICE"
    EACH_TEAM = "EACH_TEAM"


class RateMetric(enum.StrEnum):
    """What a rate rule counts."""

    REQUESTS = "REQUESTS"
    INPUT_TOKENS = "INPUT_TOKENS"
    OUTPUT_TOKENS = "OUTPUT_TOKENS"
    TOTAL_TOKENS = "TOTAL_TOKENS"
    CONCURRENT_REQUESTS = "CONCURRENT_REQUESTS"


class BudgetUnit(enum.StrEnum):
    """What a budget is counted in."""

    TOKENS = "TOKENS"
    MONEY = "MONEY"


class BudgetPeriod(enum.StrEnum):
    """How often a budget begins anew; weeks are those of ISO 8601."""

    IN_ALL = "IN_ALL"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class RateRule:
    """So many units a period, refilled all the time, of which `burst_units` gather at most.

    Of CONCURRENT_REQUESTS: so many requests at once; period and burst are 0. `model_id`: only requests of this model
    count; empty for all. `dry_run`: it is counted, and refuses nothing.
    """

    rule_id: str
    uid: str
    place: Place
    metric: RateMetric
    limit_units: int
    period_us: int
    burst_units: int
    model_id: str = ""
    dry_run: bool = False
    create_us: int = 0
    update_us: int = 0
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """`accounts/{account}/rateRules/{rate_rule}`, or `models/{model}/rateRules/{rate_rule}`."""
        return rate_rule_name(self.place.subject.name, self.rule_id)

    @property
    def deleted(self) -> bool:
        """Whether only its tombstone is left, or that of what it hung on."""
        return self.delete_us is not None


@dataclass(frozen=True, slots=True)
class Budget:
    """So many tokens, or so much money, a period.

    `raised_units` hold in place of `amount_units` until `raised_until_us`, if that is given. `initial_spent_units`
    count as spent in the period in which it was made. `soft`: it is counted and told of, and refuses nothing.
    `threshold_percents` are ascending.
    """

    budget_id: str
    uid: str
    place: Place
    unit: BudgetUnit
    amount_units: int
    period: BudgetPeriod
    time_zone: str = "UTC"
    member: LimitMember = LimitMember.SHARED
    soft: bool = False
    raised_units: int = 0
    raised_until_us: int | None = None
    initial_spent_units: int = 0
    threshold_percents: tuple[int, ...] = ()
    create_us: int = 0
    update_us: int = 0
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """`accounts/{account}/budgets/{budget}`."""
        return budget_name(self.place.account_id, self.budget_id)

    @property
    def deleted(self) -> bool:
        """Whether only its tombstone is left, or that of what it hung on."""
        return self.delete_us is not None

    def amount_at(self, now_us: int) -> int:
        """The amount in force, a raise included."""
        is_raised = self.raised_until_us is not None and now_us < self.raised_until_us
        return self.raised_units if is_raised else self.amount_units


Limit: TypeAlias = RateRule | Budget


class LimitPotKey(NamedTuple):
    """Which pot of a limit: it belongs to one account, also that of a model's rule.

    `member_uid`: of which key, service or team; empty of a shared one. `period_start_us`: `FOR_EVER` of a limit without
    periods.
    """

    account_id: str
    limit_uid: str
    member_uid: str = ""
    period_start_us: int = FOR_EVER
