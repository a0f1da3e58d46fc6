"""What limits hang on: an account, its teams, services and keys, as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from tallygate.console.visit import Visit

PLACE_HINT: Final = "Such as teams/red, services/chat or keys/app; nothing for the account."
"""Words beside the field for a place."""
_KINDS: Final = ("", "teams", "services", "keys")

Limit = TypeVar("Limit")


class Branch(NamedTuple, Generic[Limit]):
    """A place with the limits that hang on it.

    `kind`: `account`, `team`, `service` or `key`; `id`: what it is called there.
    """

    kind: str
    id: str
    limits: list[Limit]


def tree_of(limits: Iterable[Limit], place: Callable[[Limit], str]) -> list[Branch[Limit]]:
    """Limits by what they hang on: the account first, then teams, services and keys, each by name."""
    found: dict[tuple[int, str], Branch[Limit]] = {}
    for limit in limits:
        parts = place(limit).split("/")
        folder = parts[2] if len(parts) > 3 else ""  # noqa: PLR2004  # accounts/{account}/{folder}/{id}
        key = (_KINDS.index(folder) if folder in _KINDS else len(_KINDS), parts[-1])
        found.setdefault(key, Branch(folder.removesuffix("s") or "account", parts[-1], [])).limits.append(limit)
    return [found[key] for key in sorted(found)]


def place_of(visit: Visit) -> str:
    """The name of the place that was typed; empty for the account."""
    typed = visit.form.text("place")
    return f"{visit.account}/{typed}" if typed and not typed.startswith("accounts/") else typed
