"""The plan of an import from New API's database: its tokens become keys, and each user's tokens a team.

New API keeps a token as it is, without the `sk-` that its users put before it. It is hashed as users show it.
"""

from __future__ import annotations

import ipaddress
from decimal import Decimal
from hashlib import sha256
from typing import Final

from tallygate.importing.plan import (
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
from tallygate.importing.values import Row, UnreadableValueError, has_content, text, truth, whole

KEYS: Final = "tokens"
USERS: Final = "users"
CHANNELS: Final = "channels"
OPTIONS: Final = "options"
OTHERS: Final = (USERS, CHANNELS, OPTIONS)

_PREFIX: Final = "new-api"
_ENABLED: Final = 1
_NEVER: Final = -1
"""End of a token that has none. With 0 it has ended long ago."""
_UNITS_A_DOLLAR: Final = Decimal(500_000)
"""Units of quota for a US dollar, unless the option QuotaPerUnit says otherwise."""
_KEY_CHARS_MIN: Final = 32


def plan_new_api(tables: Tables, target: Target, now_s: int) -> Plan:
    """Plans it; `now_s` tells which keys have ended."""
    return _Planner(tables, target, now_s).plan_all()


class _Planner:
    def __init__(self, tables: Tables, target: Target, now_s: int) -> None:
        self._tables = tables
        self._target = target
        self._now_s = now_s
        self._plan = Plan()
        self._unit = _units_a_dollar(tables)
        self._teams: dict[str, str] = {}

    def plan_all(self) -> Plan:
        for row in self._tables.get(USERS, ()):
            if not text(row, "deleted_at"):
                self._add_team(row)
        for row in self._tables[KEYS]:
            if not text(row, "deleted_at"):
                what = f"token {text(row, 'id')} {one_line(text(row, 'name'))}".rstrip()
                try:
                    self._add_key(what, row)
                except UnreadableValueError as error:
                    self._plan.leave_out(what, str(error))
        for row in self._tables.get(CHANNELS, ()):
            what = f"channel {one_line(text(row, 'name') or text(row, 'id'))}"
            self._plan.leave_out(
                what, "where models run, and the API key for it, are said to the proxy in front of them"
            )
        return self._plan

    def _add_team(self, row: Row) -> None:
        user, name = text(row, "id"), one_line(text(row, "username") or text(row, "id"))
        if whole(row, "status") != _ENABLED:
            self._plan.leave_out(f"user {name}", "it is disabled there, and so are its tokens")
            return
        team = self._teams[user] = resource_id(_PREFIX, user)
        self._plan.teams.append(PlannedTeam(team, name))
        self._add_budget(f"user {name}", f"teams/{team}", row, "quota")

    def _add_key(self, what: str, row: Row) -> None:
        team, said_s = self._teams.get(text(row, "user_id"), ""), whole(row, "expired_time")
        end_s = _NEVER if said_s is None else said_s
        if why := _why_not(row, team) or ("it has ended" if _NEVER != end_s <= self._now_s else ""):
            self._plan.leave_out(what, why)
            return
        is_limited = truth(row, "model_limits_enabled")
        names = [name for one in text(row, "model_limits").split(",") if (name := one.strip())] if is_limited else []
        models, unknown = self._target.find_models(names)
        if unknown or (is_limited and not names):
            self._plan.leave_out(
                what, f"it is for models that are not in the catalogue: {', '.join(unknown) or 'it names none'}"
            )
            return
        key_id = resource_id(_PREFIX, text(row, "id"))
        secret_sha256, networks = sha256(f"sk-{text(row, 'key')}".encode()).digest(), _networks(row)
        # First, since a quota that cannot be read leaves the key out.
        if not truth(row, "unlimited_quota"):
            self._add_budget(what, f"keys/{key_id}", row, "remain_quota")
        self._plan.keys.append(
            PlannedKey(
                key_id,
                one_line(text(row, "name")),
                secret_sha256,
                team=team,
                models=models,
                networks=networks,
                expire_time_s=max(0, end_s),
            )
        )
        if has_content(row, "group"):
            self._plan.leave_out(f"group of {what}", "a group has prices of its own: make a service for its keys")

    def _add_budget(self, what: str, place: str, row: Row, column: str) -> None:
        """A budget in all of what remains; where spent counts, of what there was, with that spent: as much remains."""
        if not self._target.has_dollars:
            self._plan.leave_out(f"quota of {what}", "it stands for US dollars, and the account is not in these")
            return
        left = max(0, whole(row, column) or 0)
        used = max(0, whole(row, "used_quota") or 0) if self._target.counts_spent else 0
        amount, spent = nanos_of(Decimal(left + used) / self._unit), nanos_of(Decimal(used) / self._unit)
        self._plan.budgets.append(PlannedBudget(limit_id(place, "money"), place, amount, Period.IN_ALL, spent))


def _why_not(row: Row, team: str) -> str:
    if len(text(row, "key")) < _KEY_CHARS_MIN or "*" in text(row, "key"):
        return "its key is masked in this export, or too short to be safe: make a new one"
    if whole(row, "status") != _ENABLED:
        return "it is disabled, used up or over there"
    return "" if team else "its user is disabled or not there"


def _networks(row: Row) -> tuple[str, ...]:
    """Networks of the addresses that are allowed, one in a line.

    Raises:
        UnreadableValueError: One is none.
    """
    found = []
    for line in text(row, "allow_ips").replace(",", "\n").split():
        try:
            found.append(str(ipaddress.ip_network(line, strict=False)))
        except ValueError:
            raise UnreadableValueError("allow_ips", "a list of addresses") from None
    return tuple(found)


def _units_a_dollar(tables: Tables) -> Decimal:
    said = next((text(row, "value") for row in tables.get(OPTIONS, ()) if text(row, "key") == "QuotaPerUnit"), "")
    try:
        unit = Decimal(said) if said else _UNITS_A_DOLLAR
    except ArithmeticError:
        return _UNITS_A_DOLLAR
    return unit if unit > 0 else _UNITS_A_DOLLAR
