"""The navigation: which pages there are, and which of them somebody is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tallygate._access.permission import Permission
from tallygate.console.caller import Caller


@dataclass(frozen=True, slots=True)
class Entry:
    """A page that the navigation leads to.

    `path` has `{account}` where it is an account's; it is shown to whoever has the permission there.
    """

    label: str
    path: str
    permission: Permission


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as somebody sees it."""

    label: str
    address: str
    is_current: bool
    is_of_account: bool = True


Nav = Sequence[Entry]


def shown(nav: Nav, caller: Caller, account_id: str, path: str) -> list[Shown]:
    """What somebody is shown who looks at this account, and at the page of this path."""
    found = []
    for entry in nav:
        of_account = "{account}" in entry.path
        if of_account and not account_id:
            continue
        if caller.may(entry.permission, account_id if of_account else ""):
            address = entry.path.replace("{account}", quote(account_id, safe=""))
            is_current = (path + "/").startswith(address + "/")
            found.append(Shown(entry.label, address, is_current=is_current, is_of_account=of_account))
    return found
