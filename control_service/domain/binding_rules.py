"""Rules of bindings: which there can be, and who may give and take them."""

import re
from collections.abc import Iterable
from typing import Final

from control_service.domain.asker import Asker
from control_service.domain.binding import Binding, Grant
from control_service.domain.errors import InvalidRequestError, Reason, RefusedError
from control_service.domain.member import service_account_of
from control_service.domain.names import account_name, parse_service_account
from tallygate._access.role import SCOPES, Role, kind_of
from tallygate._access.scope import Scope
from tallygate._wire.names import NODE_ID

NODE_NAMES_MAX: Final = 16
"""Maximum number of names of nodes in a binding."""
BINDINGS_OF_MEMBER_MAX: Final = 200
"""Maximum number of bindings of one member in one account, or on the platform.

Each decision on a call of that member reads all of them. No maximum counts those of several accounts together: one
tenant could give so many that no other tenant could give any.
"""

_NODE_PATTERN: Final = re.compile(rf"{NODE_ID}|(?:{NODE_ID})?\*")


def require_sound(grant: Grant) -> None:
    """Makes sure that there can be such a binding. Raises InvalidRequestError, with all that is wrong."""
    wrong = list(_problems(grant))
    if wrong:
        raise InvalidRequestError(wrong)


def _problems(grant: Grant) -> Iterable[tuple[str, str]]:
    if kind_of(grant.scope) not in SCOPES[grant.role]:
        kinds = " or ".join(sorted(kind.lower() for kind in SCOPES[grant.role]))
        yield "role", f"{grant.role} is given on {kinds} only"
    if grant.node_names and grant.role is not Role.NODE:
        yield "node_names", "must be empty unless the role is NODE"
    if len(grant.node_names) > NODE_NAMES_MAX:
        yield "node_names", f"must not be more than {NODE_NAMES_MAX}"
    for index, name in enumerate(grant.node_names):
        if _NODE_PATTERN.fullmatch(name) is None:
            yield f"node_names[{index}]", "must be the name of a node, or the begin of one with * after it"
    name = service_account_of(grant.member)
    if name and not parse_service_account(name)[0].holds(grant.scope):
        yield (
            "member",
            f"must have been made in {grant.scope.name} or above: it has roles where it was made and within",
        )


def require_may_give(grant: Grant, asker: Asker) -> None:
    """Makes sure that the asker may give this, or take it.

    Raises:
        DeniedError: ROLE_DENIED, the asker has no role that may give this one.
        RefusedError: OWN_BINDING, it is the asker's own, or of a group that the asker is in.
    """
    asker.require_gives(grant.role, grant.scope)
    if asker.is_or_is_in(grant.member):
        raise RefusedError(
            Reason.OWN_BINDING,
            f"Nobody gives or takes a role of their own, or of a group that they are in; ask somebody else about "
            f"{grant.member}.",
            member=grant.member,
        )


def is_ownership(binding: Binding) -> bool:
    """Whether the binding makes somebody an owner of an account."""
    return binding.grant.role is Role.OWNER


def require_owner_left(scope: Scope, owners_left: int, asker: Asker) -> None:
    """Makes sure that an account keeps an owner. Raises RefusedError LAST_OWNER, but to operators."""
    if owners_left > 0 or asker.is_operator:
        return
    raise RefusedError(
        Reason.LAST_OWNER,
        f"This is the last owner of {account_name(scope.account_id)}; make another one first, or ask an operator.",
        account=account_name(scope.account_id),
    )
