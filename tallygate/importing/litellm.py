"""The plan of an import from LiteLLM's database (1.108 to 1.110): its teams and its virtual keys, with their limits.

LiteLLM keeps of a key the SHA-256 of its whole secret, as this project does: users go on with the keys that they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from tallygate.importing.plan import (
    Metric,
    Period,
    Plan,
    PlannedBudget,
    PlannedKey,
    PlannedTeam,
    Target,
    limit_id,
    nanos_of,
    one_line,
    resource_id,
)
from tallygate.importing.tables import Tables
from tallygate.importing.values import (
    Row,
    UnreadableValueError,
    decimal,
    has_content,
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
_UNSAID: Final[Mapping[str, str]] = {
    "aliases": "names of models of its own: give models these aliases",
    "allowed_routes": "a list of routes: routes are the inference server's, for all keys",
    "budget_limits": "several budgets side by side: create them with `tallygate budget create`",
    "config": "settings of LiteLLM's own",
    "model_max_budget": "budgets for single models: use rate rules with a model, or a service for each model",
    "object_permission_id": "permissions on tools and stores, which are not metered",
    "permissions": "permissions within LiteLLM",
    "soft_budget": "a soft budget: create one with `tallygate budget create --soft`",
    "tpd_limit": "tokens a day: create a budget of tokens with `tallygate budget create --every day`",
}


def plan_litellm(tables: Tables, target: Target, now_s: int) -> Plan:
    """Plans it; `now_s` tells which keys have ended."""
    return _Planner(tables, target, now_s).plan_all()


class _Planner:
    def __init__(self, tables: Tables, target: Target, now_s: int) -> None:
        self._tables = tables
        self._target = target
        self._now_s = now_s
        self._plan = Plan()
        self._teams = {text(row, "team_id"): row for row in tables.get(TEAMS, ())}
        self._shut: dict[str, str] = {}
        self._budgets = {text(row, "budget_id"): row for row in tables.get(BUDGETS, ())}

    def plan_all(self) -> Plan:
        for team, row in self._teams.items():
            self._add_team(team, row)
        for row in self._tables[KEYS]:
            if text(row, "team_id") != _SESSIONS:
                try:
                    self._add_key(row)
                except UnreadableValueError as error:
                    self._plan.leave_out(_called(row), str(error))
        for row in self._tables.get(USERS, ()):
            if has_content(row, "max_budget"):
                what = f"budget of user {text(row, 'user_id')}"
                self._plan.leave_out(what, "it is for several keys together: put them into a team, with a budget")
        for row in self._tables.get(ORGANISATIONS, ()):
            what = f"organization {text(row, 'organization_id')}"
            self._plan.leave_out(what, "what is above teams is an account: import its teams into one of its own")
        return self._plan

    def _add_team(self, team: str, row: Row) -> None:
        name = one_line(text(row, "team_alias") or team)
        made = PlannedTeam(resource_id(_PREFIX, team), name)
        try:
            why = _shut(row, {})
            if not why:
                self._add_limits(f"team {name}", f"teams/{made.id}", row, {})
        except UnreadableValueError as error:
            why = f"cannot be read: {error}"
        if why:
            self._shut[team] = why
            self._plan.leave_out(f"team {name}", f"it {why}; its keys are left out, too")
        else:
            self._plan.teams.append(made)

    def _add_key(self, row: Row) -> None:
        what, token, end_s = _called(row), text(row, "token").lower(), moment_s(row, "expires")
        team, table = text(row, "team_id"), self._budgets.get(text(row, "budget_id"), {})
        if why := self._why_not(row, table) or ("it has ended" if end_s and end_s <= self._now_s else ""):
            self._plan.leave_out(what, why)
            return
        names = _models(row, self._teams.get(team, {}))
        models, unknown = self._target.find_models(names or ())
        if unknown:
            self._plan.leave_out(what, f"it is for models that are not in the catalogue: {', '.join(unknown)}")
            return
        if names == []:
            self._plan.leave_out(what, "it may use no model: none of its own is one of its team's")
            return
        key_id = f"{_PREFIX}-{token[:_ID_CHARS]}"
        # First, since what cannot be read there leaves the key out.
        self._add_limits(what, f"keys/{key_id}", row, table)
        self._plan.keys.append(
            PlannedKey(
                key_id,
                one_line(text(row, "key_alias") or text(row, "key_name")),
                bytes.fromhex(token),
                team=resource_id(_PREFIX, team) if team else "",
                models=models,
                expire_time_s=end_s,
            )
        )

    def _why_not(self, row: Row, table: Row) -> str:
        team = text(row, "team_id")
        if _SHA256.fullmatch(text(row, "token").lower()) is None:
            return "its token is no SHA-256: keys that LiteLLM kept as they are have to be made anew"
        if why := _shut(row, table):
            return f"it {why}"
        if team and team not in self._teams:
            return "its team is not there"
        if team in self._shut:
            return f"its team {self._shut[team]}"
        return "it may use no model" if "no-default-models" in texts(row, "models") else ""

    def _add_limits(self, what: str, place: str, row: Row, table: Row) -> None:
        """Limits in the row itself, and where it has none in the row of the budget that it names.

        Raises:
            UnreadableValueError: One cannot be read; none is planned.
        """
        plan = self._plan
        limits = [(metric, _either(row, table, column)) for column, metric in _RATES.items()]
        holder = row if decimal(row, "max_budget") is not None else table
        amount, spent = decimal(holder, "max_budget"), decimal(row, "spend") or Decimal(0)
        for metric, limit in limits:
            plan.limit(place, metric, limit)
        for column, why in _UNSAID.items():
            if has_content(row, column) or has_content(table, column):
                plan.leave_out(f"{column} of {what}", why)
        if amount is None:
            return
        length = text(holder, "budget_duration")
        period = _PERIODS.get(length)
        if not self._target.has_dollars:
            plan.leave_out(f"budget of {what}", "it is in US dollars, and the account is not")
        elif period is None:
            plan.leave_out(f"budget of {what}", f"it begins anew every {length}: there are days, weeks and months")
        elif amount < 0:
            plan.leave_out(f"budget of {what}", "its amount is below 0")
        else:
            counted = nanos_of(max(spent, Decimal(0))) if self._target.counts_spent else 0
            plan.budgets.append(PlannedBudget(limit_id(place, "money"), place, nanos_of(amount), period, counted))


def _shut(row: Row, table: Row) -> str:
    """Why LiteLLM lets nothing through for a key or a team, if that is so."""
    if truth(row, "blocked"):
        return "is blocked there"
    for column in _RATES:
        limit = _either(row, table, column)
        if limit is not None and limit < 1:
            return f"has {column} {limit} there"
    return ""


def _models(row: Row, team: Row) -> list[str] | None:
    """Names of the only models of a key; None for all. LiteLLM asks the key for each, and then its team."""
    own, teams = _only(row), _only(team)
    if own is None or teams is None:
        return teams if own is None else own
    return [name for name in own if any(fnmatchcase(name, pattern) for pattern in teams)]


def _only(row: Row) -> list[str] | None:
    names = texts(row, "models")
    return names if names and not _ANY_MODEL.intersection(names) else None


def _either(row: Row, table: Row, column: str) -> int | None:
    own = whole(row, column)
    return whole(table, column) if own is None else own


def _called(row: Row) -> str:
    """A key as people know it, without its hash, which would be enough to look for it elsewhere."""
    token = text(row, "token").lower()
    shown = token[:8] if _SHA256.fullmatch(token) else "without a name"
    return f"key {one_line(text(row, 'key_alias') or text(row, 'key_name') or shown)}"
