"""The plan of an import from LiteLLM's database (1.108 to 1.110): its teams and its virtual keys, with their limits.

LiteLLM keeps of a key the SHA-256 of its whole secret, as this project does: users go on with the keys that they have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from tallygate.importing.draft import Draft, LeftOutError
from tallygate.importing.plan import Metric, Period, Plan, PlannedKey, PlannedTeam, Target, one_line, resource_id
from tallygate.importing.tables import Tables
from tallygate.importing.values import (
    Row,
    decimal,
    has_content,
    members,
    moment_s,
    text,
    texts,
    truth,
    whole,
)

KEYS: Final = "LiteLLM_VerificationToken"
TEAMS: Final = "LiteLLM_TeamTable"
BUDGETS: Final = "LiteLLM_BudgetTable"
USERS: Final = "LiteLLM_UserTable"
ORGANISATIONS: Final = "LiteLLM_OrganizationTable"
OTHERS: Final = (TEAMS, BUDGETS, USERS, ORGANISATIONS)

_SESSIONS: Final = "litellm-dashboard"
"""Team of the keys by which people are signed in to LiteLLM's own pages."""
_PREFIX: Final = "litellm"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ID_CHARS: Final = 16
_PERIODS: Final[Mapping[str, Period]] = {
    "": Period.IN_ALL,
    "1d": Period.DAY,
    "24h": Period.DAY,
    "7d": Period.WEEK,
    "1w": Period.WEEK,
    "30d": Period.MONTH,
    "1mo": Period.MONTH,
}
"""Periods that begin where ours begin: LiteLLM's 7 days end on Mondays, and its 30 days on the first of a month."""
_ANY_MODEL: Final = frozenset({"all-proxy-models", "all-team-models", "*"})
_RATES: Final[Mapping[str, Metric]] = {
    "rpm_limit": Metric.REQUESTS,
    "tpm_limit": Metric.TOKENS,
    "max_parallel_requests": Metric.CONCURRENT,
}
"""Columns with limits, for all models together; in metadata, with `model_` before, for single ones."""
_OF_MEMBERS: Final = "team_member_"
_UNSAID: Final[Mapping[str, str]] = {
    "aliases": "names of models of its own: give models these aliases",
    "allowed_routes": "a list of routes: routes are the inference server's, for all keys",
    "budget_limits": "several budgets side by side: create them with `tallygate budget create`",
    "config": "settings of LiteLLM's own",
    "model_max_budget": "budgets for single models: make a service for each, with a budget",
    "object_permission_id": "permissions on tools and stores, which are not metered",
    "permissions": "permissions within LiteLLM",
    "soft_budget": "a soft budget: create one with `tallygate budget create --soft`",
    "tpd_limit": "tokens a day: create a budget of tokens with `tallygate budget create --every day`",
}


def plan_litellm(tables: Tables, target: Target, now_s: int) -> Plan:
    """Plans it; `now_s` tells which keys have ended."""
    draft = Draft(target, now_s)
    planner = _Planner(tables, draft)
    draft.each(tables.get(TEAMS, ()), _called_team, planner.add_team)
    keys = (row for row in tables[KEYS] if text(row, "team_id") != _SESSIONS)
    draft.each(keys, _called, planner.add_key)
    for row in tables.get(USERS, ()):
        if has_content(row, "max_budget"):
            what = f"budget of user {text(row, 'user_id')}"
            draft.plan.leave_out(what, "it is for several keys together: put them into a team, with a budget")
    for row in tables.get(ORGANISATIONS, ()):
        what = f"organization {text(row, 'organization_id')}"
        draft.plan.leave_out(what, "what is above teams is an account: import its teams into one of its own")
    return draft.plan


class _Planner:
    def __init__(self, tables: Tables, draft: Draft) -> None:
        self._draft = draft
        self._budgets = {text(row, "budget_id"): row for row in tables.get(BUDGETS, ())}
        self._teams: dict[str, Row] = {}

    def add_team(self, what: str, row: Row) -> None:
        """Plans a team with its limits; keys are brought along of these teams alone."""
        team = text(row, "team_id")
        made = PlannedTeam(resource_id(_PREFIX, team), one_line(text(row, "team_alias") or team))
        self._add_limits(what, f"teams/{made.id}", row, {})
        self._teams[team] = row
        self._draft.plan.teams.append(made)

    def add_key(self, what: str, row: Row) -> None:
        """Plans a key with its limits."""
        token, team = text(row, "token").lower(), text(row, "team_id")
        if _SHA256.fullmatch(token) is None:
            raise LeftOutError("its token is no SHA-256: keys that LiteLLM kept as they are have to be made anew")
        if team and team not in self._teams:
            raise LeftOutError("its team is left out, or not there")
        key_id = f"{_PREFIX}-{token[:_ID_CHARS]}"
        made = PlannedKey(
            key_id,
            one_line(text(row, "key_alias") or text(row, "key_name")),
            bytes.fromhex(token),
            team=resource_id(_PREFIX, team) if team else "",
            models=self._draft.find_models(_models(row, self._teams.get(team, {}))),
            expire_time_s=self._draft.check_end(moment_s(row, "expires") or None),
        )
        self._add_limits(what, f"keys/{key_id}", row, self._budgets.get(text(row, "budget_id"), {}))
        self._draft.plan.keys.append(made)

    def _add_limits(self, what: str, place: str, row: Row, table: Row) -> None:
        """Limits in the row itself, and where it has none in the row of the budget that it names.

        Raises:
            LeftOutError: It lets nothing through there.
            UnreadableValueError: One cannot be read; none is planned.
        """
        if truth(row, "blocked"):
            raise LeftOutError("it is blocked there")
        limits = {column: limit for column in _RATES if (limit := _either(row, table, column)) is not None}
        of_models = _model_limits(row)
        shut = [f"{column} {limit}" for column, limit in limits.items() if limit < 1]
        shut += [
            f"{limit} {metric.value} for {name}"
            for (metric, name), limit in of_models.items()
            if limit < 1 and name in self._draft.target.models
        ]
        if shut:
            raise LeftOutError(f"it has {shut[0]} there")
        holder = row if decimal(row, "max_budget") is not None else table
        amount, spent = decimal(holder, "max_budget"), decimal(row, "spend") or Decimal(0)
        for column, limit in limits.items():
            self._draft.rate(place, _RATES[column], limit)
        self._draft.model_rates(what, place, of_models)
        for name, why in _unsaid(row, table):
            self._draft.plan.leave_out(f"{name} of {what}", why)
        if amount is not None:
            self._add_budget(f"budget of {what}", place, text(holder, "budget_duration"), amount, spent)

    def _add_budget(self, what: str, place: str, length: str, amount: Decimal, spent: Decimal) -> None:
        period = _PERIODS.get(length)
        if period is None:
            self._draft.plan.leave_out(what, f"it begins anew every {length}: there are days, weeks and months")
        elif amount < 0:
            self._draft.plan.leave_out(what, "its amount is below 0")
        else:
            self._draft.budget(what, place, period, amount, spent)


def _model_limits(row: Row) -> dict[tuple[Metric, str], int]:
    """Limits for single models, by metric and name: in the metadata, or else beside budgets for single models."""
    metadata, budgets, found = members(row, "metadata"), members(row, "model_max_budget"), {}
    for column, metric in _RATES.items():
        name = f"model_{column}"
        limits = members(metadata, name) or {
            model: budget[column]
            for model, budget in budgets.items()
            if isinstance(budget, Mapping) and column in budget
        }
        for model in limits:
            limit = whole(limits, model)
            if limit is not None:
                found[metric, model] = limit
    return found


def _unsaid(row: Row, table: Row) -> Iterator[tuple[str, str]]:
    """What of a team or a key is not brought along, and why."""
    for column, why in _UNSAID.items():
        if has_content(row, column) or has_content(table, column):
            yield column, why
    metadata = members(row, "metadata")
    for name in metadata:
        if name.startswith(_OF_MEMBERS) and has_content(metadata, name):
            yield name, "a setting for each member of a team: put limits on their keys"


def _models(row: Row, team: Row) -> list[str] | None:
    """Names of the only models of a key; None for all. LiteLLM asks the key for each, and then its team.

    Raises:
        LeftOutError: There is none.
    """
    if "no-default-models" in texts(row, "models"):
        raise LeftOutError("it may use no model")
    own, teams = _only(row), _only(team)
    if own is None or teams is None:
        return teams if own is None else own
    both = [name for name in own if any(fnmatchcase(name, pattern) for pattern in teams)]
    if not both:
        raise LeftOutError("it may use no model: none of its own is one of its team's")
    return both


def _only(row: Row) -> list[str] | None:
    names = texts(row, "models")
    return names if names and not _ANY_MODEL.intersection(names) else None


def _either(row: Row, table: Row, column: str) -> int | None:
    own = whole(row, column)
    return whole(table, column) if own is None else own


def _called_team(row: Row) -> str:
    return f"team {one_line(text(row, 'team_alias') or text(row, 'team_id'))}"


def _called(row: Row) -> str:
    """A key as people know it, without its hash, which would be enough to look for it elsewhere."""
    token = text(row, "token").lower()
    shown = token[:8] if _SHA256.fullmatch(token) else "without a name"
    return f"key {one_line(text(row, 'key_alias') or text(row, 'key_name') or shown)}"
