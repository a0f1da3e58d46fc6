"""Scopes: the platform, an account, a team of an account. What is within is narrower."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tallygate._wire.names import ACCOUNT_ID, TEAM_ID

_SCOPE: Final = re.compile(f"accounts/({ACCOUNT_ID})(?:/teams/({TEAM_ID}))?")
_WITHIN_SCOPE: Final = re.compile(f"accounts/({ACCOUNT_ID})(?:/teams/({TEAM_ID}))?(?:/.*)?", re.DOTALL)
NAMES_MAX: Final = 4_096
"""Maximum number of names whose scope is remembered: callers name the same ones again and again."""
NAME_LENGTH_MAX: Final = 256
"""Maximum length of a name whose scope is remembered: longer ones are none, and would take memory."""
_PLATFORM_NAME: Final = "platform"


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """The platform where `account_id` is empty; an account where `team_id` is empty; else a team of it."""

    account_id: str = ""
    team_id: str = ""

    @property
    def name(self) -> str:
        """`platform`, `accounts/{account}` or `accounts/{account}/teams/{team}`."""
        if not self.account_id:
            return _PLATFORM_NAME
        return f"accounts/{self.account_id}" + (f"/teams/{self.team_id}" if self.team_id else "")

    def holds(self, other: "Scope") -> bool:
        """Whether the other scope is this one or within it."""
        if not self.account_id:
            return True
        return self.account_id == other.account_id and self.team_id in ("", other.team_id)


PLATFORM: Final = Scope()


def parse_scope(name: str) -> Scope | None:
    """The scope of this name; None for any other text."""
    if name == _PLATFORM_NAME:
        return PLATFORM
    match = _SCOPE.fullmatch(name)
    return None if match is None else Scope(match[1], match[2] or "")


def scope_of_resource(name: str) -> Scope:
    """The scope in whose name a resource's name lies: of `accounts/a/teams/t/bindings/b` the team t of a.

    A name that lies in no account's, also a malformed one, is the platform's: whoever may not act there learns nothing.
    """
    return _remembered_scope(name) if len(name) <= NAME_LENGTH_MAX else _scope_of_resource(name)


def _scope_of_resource(name: str) -> Scope:
    match = _WITHIN_SCOPE.fullmatch(name)
    return PLATFORM if match is None else Scope(match[1], match[2] or "")


_remembered_scope: Final = lru_cache(maxsize=NAMES_MAX)(_scope_of_resource)
