"""The plan of an import from LiteLLM's database (1.108 to 1.110): its teams and its virtual keys, with their limits.

LiteLLM keeps of a key the SHA-256 of its whole secret, as this project does: users go on with the keys that they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
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
_ALL_MODELS: Final = frozenset({"all-proxy-models", "*"})
_TEAMS_MODELS: Final = "all-team-models"
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
        try:
            if truth(row, "blocked"):
                self._plan.leave_out(f"team {name}", "it is blocked there, and so are its keys")
                return
            made = PlannedTeam(resource_id(_PREFIX, team), name)
            self._plan.teams.append(made)
            self._add_limits(f"team {name}", f"teams/{made.id}", row, {})
        except UnreadableValueError as error:
            self._plan.leave_out(f"limits of team {name}", str(error))

    def _add_key(self, row: Row) -> None:
        what, token, end_s = _called(row), text(row, "token").lower(), moment_s(row, "expires")
        team = self._teams.get(text(row, "team_id"), {})
        if why := _why_not(row, team, token) or ("it has ended" if end_s and end_s <= self._now_s else ""):
            self._plan.leave_out(what, why)
            return
        models, unknown = self._target.find_models(_models(row, team))
        if unknown:
            self._plan.leave_out(what, f"it is for models that are not in the catalogue: {', '.join(unknown)}")
            return
        key_id = f"{_PREFIX}-{token[:_ID_CHARS]}"
        self._plan.keys.append(
            PlannedKey(
                key_id,
                one_line(text(row, "key_alias") or text(row, "key_name")),
                bytes.fromhex(token),
                team=resource_id(_PREFIX, text(row, "team_id")) if team else "",
                models=models,
                expire_time_s=end_s,
            )
        )
        self._add_limits(what, f"keys/{key_id}", row, self._budgets.get(text(row, "budget_id"), {}))

    def _add_limits(self, what: str, place: str, row: Row, table: Row) -> None:
        """Limits in the row itself, and where it has none in the row of the budget that it names."""
        plan = self._plan
        plan.limit(place, Metric.REQUESTS, _either(row, table, "rpm_limit"))
        plan.limit(place, Metric.TOKENS, _either(row, table, "tpm_limit"))
        plan.limit(place, Metric.CONCURRENT, _either(row, table, "max_parallel_requests"))
        for column, why in _UNSAID.items():
            if has_content(row, column) or has_content(table, column):
                plan.leave_out(f"{column} of {what}", why)
        holder = row if decimal(row, "max_budget") is not None else table
        amount = decimal(holder, "max_budget")
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
            spent = (decimal(row, "spend") or Decimal(0)) if self._target.counts_spent else Decimal(0)
            budget = limit_id(place, "money")
            plan.budgets.append(
                PlannedBudget(budget, place, nanos_of(amount), period, nanos_of(max(spent, Decimal(0))))
            )


def _why_not(row: Row, team: Row, token: str) -> str:
    if _SHA256.fullmatch(token) is None:
        return "its token is no SHA-256: keys that LiteLLM kept as they are have to be made anew"
    if truth(row, "blocked"):
        return "it is blocked there"
    if truth(team, "blocked"):
        return "its team is blocked there"
    return "it may use no model" if "no-default-models" in texts(row, "models") else ""


def _models(row: Row, team: Row) -> list[str]:
    """Names of the only models of a key; none for all. One that names none has those of its team."""
    own = texts(row, "models")
    names = texts(team, "models") if not own or _TEAMS_MODELS in own else own
    return [] if _ALL_MODELS.intersection(names) else names


def _either(row: Row, table: Row, column: str) -> int | None:
    own = whole(row, column)
    return whole(table, column) if own is None else own


def _called(row: Row) -> str:
    """A key as people know it, without its hash, which would be enough to look for it elsewhere."""
    return f"key {one_line(text(row, 'key_alias') or text(row, 'key_name') or text(row, 'token')[:8])}"
