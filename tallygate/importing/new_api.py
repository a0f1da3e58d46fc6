"""The plan of an import from New API's database: its tokens become keys, and each user's tokens a team.

New API keeps a token as it is, without the `sk-` that its users put before it. It is hashed as users show it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Final

from tallygate.importing.draft import Draft, LeftOutError
from tallygate.importing.plan import Period, Plan, PlannedKey, PlannedTeam, Target, one_line, resource_id
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
    draft = Draft(target, now_s)
    planner = _Planner(tables, draft)
    draft.each(_living(tables.get(USERS, ())), _called_user, planner.add_team)
    draft.each(_living(tables[KEYS]), _called, planner.add_key)
    for row in tables.get(CHANNELS, ()):
        what = f"channel {one_line(text(row, 'name') or text(row, 'id'))}"
        draft.plan.leave_out(what, "where models run, and the API key for it, are said to the proxy in front of them")
    return draft.plan


class _Planner:
    def __init__(self, tables: Tables, draft: Draft) -> None:
        self._draft = draft
        self._unit = _units_a_dollar(tables)
        self._teams: dict[str, str] = {}

    def add_team(self, what: str, row: Row) -> None:
        """Plans a team for a user, with the user's quota; keys are brought along of these alone."""
        if whole(row, "status") != _ENABLED:
            raise LeftOutError("it is disabled there, and so are its tokens")
        user, name = text(row, "id"), one_line(text(row, "username") or text(row, "id"))
        team = resource_id(_PREFIX, user)
        self._add_budget(what, f"teams/{team}", row, "quota")
        self._teams[user] = team
        self._draft.plan.teams.append(PlannedTeam(team, name))

    def add_key(self, what: str, row: Row) -> None:
        """Plans a key, with its own quota."""
        if len(text(row, "key")) < _KEY_CHARS_MIN or "*" in text(row, "key"):
            raise LeftOutError("its key is masked in this export, or too short to be safe: make a new one")
        if whole(row, "status") != _ENABLED:
            raise LeftOutError("it is disabled, used up or over there")
        team, end_s = self._teams.get(text(row, "user_id"), ""), whole(row, "expired_time")
        if not team:
            raise LeftOutError("its user is left out, or not there")
        key_id = resource_id(_PREFIX, text(row, "id"))
        made = PlannedKey(
            key_id,
            one_line(text(row, "name")),
            sha256(f"sk-{text(row, 'key')}".encode()).digest(),
            team=team,
            models=self._draft.find_models(_models(row)),
            networks=_networks(row),
            expire_time_s=self._draft.check_end(None if end_s == _NEVER else end_s),
        )
        if not truth(row, "unlimited_quota"):
            self._add_budget(what, f"keys/{key_id}", row, "remain_quota")
        self._draft.plan.keys.append(made)
        if has_content(row, "group"):
            self._draft.plan.leave_out(f"group of {what}", "a group has prices of its own: make a service for its keys")

    def _add_budget(self, what: str, place: str, row: Row, column: str) -> None:
        """A budget in all of what remains; where spent counts, of what there was, with that spent: as much remains."""
        left = max(0, whole(row, column) or 0)
        used = max(0, whole(row, "used_quota") or 0) if self._draft.target.counts_spent else 0
        amount, spent = Decimal(left + used) / self._unit, Decimal(used) / self._unit
        self._draft.budget(f"quota of {what}", place, Period.IN_ALL, amount, spent)


def _living(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if not text(row, "deleted_at"))


def _called_user(row: Row) -> str:
    return f"user {one_line(text(row, 'username') or text(row, 'id'))}"


def _called(row: Row) -> str:
    return f"token {text(row, 'id')} {one_line(text(row, 'name'))}".rstrip()


def _models(row: Row) -> list[str] | None:
    """Names of the only models of a key; None for all."""
    if not truth(row, "model_limits_enabled"):
        return None
    return [name for one in text(row, "model_limits").split(",") if (name := one.strip())]


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
