"""The plan of an import: what will be made in one account, and what cannot be, each with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from enum import Enum
from hashlib import sha256
from typing import Final

from tallygate._wire.amounts import NANOS
from tallygate._wire.names import ID_MAX

_NO_ID: Final = re.compile(r"[^a-z0-9]+")
_HASH_CHARS: Final = 12
_AMOUNT_MAX: Final = 10**18
"""Maximum amount of a budget, in nanos."""


class Period(Enum):
    """How often a budget begins anew."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    IN_ALL = "in all"


class Metric(Enum):
    """What a rule counts: requests or tokens a minute, or requests at once."""

    REQUESTS = "requests a minute"
    TOKENS = "tokens a minute"
    CONCURRENT = "requests at once"


@dataclass(frozen=True, slots=True)
class PlannedTeam:
    """A team, by its id."""

    id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class PlannedKey:
    """A key, by its id.

    Attributes:
        secret_sha256: What is known of its secret.
        team: Id of its team; empty for none.
        models: Ids of the only models that it opens; empty for all.
        networks: The only networks that it may be used from; empty for any.
        expire_time_s: When it ends, in seconds since 1970; 0 for never.
    """

    id: str
    display_name: str
    secret_sha256: bytes = field(repr=False)
    team: str = ""
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expire_time_s: int = 0


@dataclass(frozen=True, slots=True)
class PlannedBudget:
    """A budget of money, by its id, on `teams/{id}` or `keys/{id}`; `spent_nanos` counts as spent from the start."""

    id: str
    place: str
    amount_nanos: int
    period: Period
    spent_nanos: int = 0


@dataclass(frozen=True, slots=True)
class PlannedRule:
    """A rate rule, by its id, on `teams/{id}` or `keys/{id}`; `model`: the id of the only one that counts, if any."""

    id: str
    place: str
    metric: Metric
    limit_units: int
    model: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not brought along, and why."""

    what: str
    why: str


@dataclass(slots=True)
class Plan:
    """All of it, in the order in which it is made."""

    teams: list[PlannedTeam] = field(default_factory=list)
    keys: list[PlannedKey] = field(default_factory=list)
    budgets: list[PlannedBudget] = field(default_factory=list)
    rules: list[PlannedRule] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def places(self) -> set[str]:
        """Places that have limits, `teams/{id}` and `keys/{id}`."""
        return {budget.place for budget in self.budgets} | {rule.place for rule in self.rules}

    def leave_out(self, what: str, why: str) -> None:
        """Says that something is not brought along."""
        self.left_out.append(LeftOut(what, why))


@dataclass(frozen=True, slots=True)
class Target:
    """What an import has to know of where it goes to.

    Attributes:
        models: Ids of models by all names that they have.
        has_dollars: The account is kept in US dollars, as budgets of other gateways are.
        counts_spent: What was spent there counts here, too.
    """

    models: Mapping[str, str]
    has_dollars: bool
    counts_spent: bool

    def find_models(self, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of models of these names, each once, and those names that no model has."""
        known = tuple(dict.fromkeys(self.models[name] for name in names if name in self.models))
        return known, tuple(name for name in names if name not in self.models)


def resource_id(prefix: str, source_id: str) -> str:
    """An id that follows from another system's, the same each time; a hash makes it unique where letters are lost."""
    plain = _NO_ID.sub("-", source_id.lower()).strip("-")
    made = f"{prefix}-{plain}"
    if plain == source_id and len(made) <= ID_MAX:
        return made
    tail = sha256(source_id.encode()).hexdigest()[:_HASH_CHARS]
    return f"{made[: ID_MAX - _HASH_CHARS - 1].rstrip('-')}-{tail}"


def limit_id(place: str, what: str) -> str:
    """The id of a limit on a place, or on a place and something more, behind another slash."""
    kind, _, owner = place.partition("/")
    return resource_id(f"{what}-{kind.removesuffix('s')}", owner)


def nanos_of(amount: Decimal) -> int:
    """An amount of money in nanos, rounded down; as much as can be where it is more than that."""
    return min(_AMOUNT_MAX, int((amount * NANOS).to_integral_value(ROUND_DOWN)))


def one_line(name: str) -> str:
    """A name for people as it may be here: 256 characters on one line."""
    return " ".join(name.split())[:256]
