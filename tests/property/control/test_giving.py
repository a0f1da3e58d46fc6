"""Rights under all circumstances: narrowing never widens, and nobody gives beyond their own."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.asker import Asker
from control_service.domain.binding import Grant
from control_service.domain.binding_rules import require_may_give
from control_service.domain.errors import DeniedError, RefusedError
from control_service.domain.narrowing import Narrowing
from tallygate._access.permission import Permission
from tallygate._access.rights import Right, Rights
from tallygate._access.role import PERMISSIONS, SCOPES, Role, kind_of
from tallygate._access.scope import PLATFORM, Scope

SCOPE = st.sampled_from([PLATFORM, *(Scope(account, team) for account in ("a", "b") for team in ("", "s", "t"))])
ROLE = st.sampled_from(list(Role))
BOUND = st.tuples(ROLE, SCOPE).filter(lambda bound: kind_of(bound[1]) in SCOPES[bound[0]])
RIGHTS = st.lists(BOUND, max_size=4).map(lambda bound: Rights(tuple(Right(role, scope) for role, scope in bound)))
NARROWING = st.builds(Narrowing, st.none() | ROLE, st.none() | SCOPE)
PERMISSION = st.sampled_from(list(Permission))
MEMBERS = ("person:https://i#a", "person:https://i#b", "group:https://i#g")


@given(RIGHTS, NARROWING, PERMISSION, SCOPE)
def test_narrowing_never_widens(rights: Rights, narrowing: Narrowing, permission: Permission, scope: Scope) -> None:
    """What is left was there, and is within the role and the scope."""
    left = narrowing.of(rights)
    if left.allows(permission, scope):
        assert rights.allows(permission, scope)
        assert narrowing.role is None or permission in PERMISSIONS[narrowing.role]
        assert narrowing.scope is None or narrowing.scope.holds(scope)
    elif rights.allows(permission, scope):
        assert (narrowing.role is not None and permission not in PERMISSIONS[narrowing.role]) or (
            narrowing.scope is not None and not narrowing.scope.holds(scope)
        )


@given(RIGHTS, NARROWING, ROLE, SCOPE)
def test_narrowing_never_lets_more_be_given(rights: Rights, narrowing: Narrowing, role: Role, scope: Scope) -> None:
    """A narrowed token gives only what its owner gives."""
    if narrowing.of(rights).may_give(role, scope):
        assert rights.may_give(role, scope)


@given(RIGHTS, NARROWING, NARROWING, PERMISSION, SCOPE)
def test_a_narrowing_that_holds_another_leaves_at_least_as_much(
    rights: Rights, wide: Narrowing, narrow: Narrowing, permission: Permission, scope: Scope
) -> None:
    """Whatever the rights: so a token that is made by a narrowed one is never wider than it."""
    if wide.holds(narrow) and narrow.of(rights).allows(permission, scope):
        assert wide.of(rights).allows(permission, scope)


@given(RIGHTS, NARROWING, BOUND, st.sampled_from(MEMBERS))
def test_nobody_gives_beyond_their_own(
    rights: Rights, narrowing: Narrowing, bound: tuple[Role, Scope], member: str
) -> None:
    """Whoever gives a role may do all that it may do, where it counts; and gives it to others.

    An owner gives the role of a meter, which reports for the account and reads nothing.
    """
    role, scope = bound
    own = narrowing.of(rights)
    asker = Asker(MEMBERS[0], (MEMBERS[2],), own)
    try:
        require_may_give(Grant(scope, member, role), asker)
    except DeniedError:
        assert not own.may_give(role, scope)
        return
    except RefusedError:
        assert member in (MEMBERS[0], MEMBERS[2])
        return
    assert member == MEMBERS[1]
    assert all(own.allows(permission, scope) for permission in PERMISSIONS[role] - {Permission.METER})
