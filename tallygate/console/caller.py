"""Whoever is signed in, and what they may do, as the control service says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tallygate._access.permission import Permission
from tallygate._access.rights import ALL_RIGHTS, NO_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope, parse_scope
from tallygate._server.clock import NS_PER_US
from tallygate._wire.enums import decode_table
from tallygate._wire.times import decode_ns
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2

_ROLES: Final = decode_table(role_pb2.Role, Role)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the switch between accounts shows it."""

    id: str
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is signed in.

    `member`: empty at a pair that asks for no proof; `access_token`: the name of the token that proved it.
    """

    member: str = ""
    display_name: str = ""
    access_token: str = ""
    rights: Rights = field(default=NO_RIGHTS, repr=False)
    expire_us: int | None = None
    accounts: tuple[Account, ...] = ()
    has_more_accounts: bool = False

    @property
    def is_person(self) -> bool:
        """Whether they have tokens of their own."""
        return self.member.startswith("person:")

    def may(self, permission: Permission, account_id: str = "", team_id: str = "") -> bool:
        """Whether they have the permission there or on something within; without an account, on the platform."""
        scope = Scope(account_id, team_id) if account_id else PLATFORM
        return self.rights.allows_within(permission, scope) if account_id else self.rights.allows(permission, scope)


def decode_caller(
    answer: access_service_pb2.WhoAmIResponse, accounts: Iterable[Account], *, has_more_accounts: bool
) -> Caller:
    """Who it is. Accounts of which they see a team only are in no list, so they come from what they may do."""
    rights = Rights(tuple(_decode_rights(answer.rights))) if answer.member else ALL_RIGHTS
    found = {account.id: account for account in accounts}
    for right in rights.rights:
        if right.scope.account_id:
            found.setdefault(right.scope.account_id, Account(right.scope.account_id))
    return Caller(
        member=answer.member,
        display_name=answer.display_name,
        access_token=answer.access_token,
        rights=rights,
        expire_us=decode_ns(answer.expire_time) // NS_PER_US if answer.HasField("expire_time") else None,
        accounts=tuple(found.values()),
        has_more_accounts=has_more_accounts,
    )


def _decode_rights(messages: Iterable[role_pb2.Right]) -> Iterator[Right]:
    """Rights, without those that this program does not understand: the service decides in any case."""
    for message in messages:
        role, scope, narrowed = _ROLES.get(message.role), parse_scope(message.scope), _ROLES.get(message.narrowed_role)
        if role is not None and scope is not None:
            yield Right(role, scope, narrowed_role=narrowed)
