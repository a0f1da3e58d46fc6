"""Rights: wider scopes hold in narrower ones, narrowing only takes away, and nobody gives more than their role may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate._access import scope
from tallygate._access.permission import Permission
from tallygate._access.rights import ALL_RIGHTS, NO_RIGHTS, Right, Rights
from tallygate._access.role import PERMISSIONS, SCOPES, Role, kind_of
from tallygate._access.scope import PLATFORM, Scope, parse_scope, scope_of_resource

ACME, SEARCH, CHAT, GLOBEX = Scope("acme"), Scope("acme", "search"), Scope("acme", "chat"), Scope("globex")
SCOPES_TRIED = (PLATFORM, ACME, SEARCH, CHAT, GLOBEX, Scope("globex", "search"))

rights = st.builds(Right, st.sampled_from(Role), st.sampled_from(SCOPES_TRIED))
callers = st.lists(rights, max_size=4).map(lambda found: Rights(tuple(found)))


def test_a_scope_holds_what_is_within_it() -> None:
    """The platform holds everything, an account its teams, a team itself; never a sibling or a wider scope."""
    assert [PLATFORM.holds(scope) for scope in SCOPES_TRIED] == [True] * 6
    assert [ACME.holds(scope) for scope in SCOPES_TRIED] == [False, True, True, True, False, False]
    assert [SEARCH.holds(scope) for scope in SCOPES_TRIED] == [False, False, True, False, False, False]


@pytest.mark.parametrize("scope", SCOPES_TRIED)
def test_a_scope_is_read_as_it_is_written(scope: Scope) -> None:
    """And a resource's name lies in the scope whose name it begins with."""
    assert parse_scope(scope.name) == scope
    assert scope_of_resource(f"{scope.name}/bindings/b1") == scope


@pytest.mark.parametrize("name", ["", "accounts", "accounts/", "accounts/Acme", "accounts/acme/teams/", "teams/a"])
def test_other_texts_are_no_scope(name: str) -> None:
    """None of them is taken for an account's."""
    assert parse_scope(name) is None


@pytest.mark.parametrize(
    "name", ["accounts/acme\n", "accounts/acme/teams/search\n/bindings/b", "accounts/Acme/services/x"]
)
def test_a_malformed_name_lies_in_no_account(name: str) -> None:
    """At most in that whose name it really begins with."""
    assert scope_of_resource(name) in (PLATFORM, ACME)


@given(callers, st.sampled_from(Permission), st.sampled_from(SCOPES_TRIED))
def test_what_is_allowed_is_allowed_within(caller: Rights, permission: Permission, scope: Scope) -> None:
    """A right on a scope is one on everything in it; what is seen is where the permission is given."""
    if caller.allows(permission, scope):
        assert all(caller.allows(permission, one) for one in SCOPES_TRIED if scope.holds(one))
        assert caller.allows_within(permission, scope)
    sight = caller.sight(permission)
    assert sight.shows(ACME.account_id) == caller.allows(permission, ACME)
    assert sight.shows("acme", "search") == caller.allows(permission, SEARCH)
    assert (sight.teams_of("acme") is None) == caller.allows(permission, ACME)


@given(callers, st.none() | st.sampled_from(Role), st.none() | st.sampled_from(SCOPES_TRIED))
def test_narrowing_only_takes_away(caller: Rights, role: Role | None, scope: Scope | None) -> None:
    """Whatever a narrowed token may do, its owner may, within the role and the scope that it is narrowed to."""
    narrowed = caller.narrowed(role, scope)
    for one in SCOPES_TRIED:
        for permission in Permission:
            expected = caller.allows(permission, one)
            expected &= role is None or permission in PERMISSIONS[role]
            expected &= scope is None or scope.holds(one)
            assert narrowed.allows(permission, one) == expected
        for given_role in Role:
            assert not narrowed.may_give(given_role, one) or caller.may_give(given_role, one)


def test_a_token_narrowed_to_a_teams_admin_gives_no_more_than_one() -> None:
    """Also where its owner is an operator."""
    narrowed = ALL_RIGHTS.narrowed(Role.TEAM_ADMIN, None)
    assert {role for role in Role if narrowed.may_give(role, SEARCH)} == {Role.TEAM_ADMIN, Role.TEAM_MEMBER}


def test_who_gives_which_role() -> None:
    """An owner gives roles in the account but none of the platform; a team's admin those of the team."""
    owner, admin = Rights((Right(Role.OWNER, ACME),)), Rights((Right(Role.TEAM_ADMIN, SEARCH),))
    teams = {Role.TEAM_ADMIN, Role.TEAM_MEMBER}
    assert {role for role in Role if owner.may_give(role, ACME)} == {
        Role.OWNER,
        Role.BILLING,
        Role.VIEWER,
        Role.METER,
        *teams,
    }
    assert {role for role in Role if owner.may_give(role, GLOBEX) or owner.may_give(role, PLATFORM)} == set()
    assert {role for role in Role if admin.may_give(role, SEARCH)} == teams
    assert {role for role in Role if admin.may_give(role, CHAT) or admin.may_give(role, ACME)} == set()
    assert {role for role in Role if Rights((Right(Role.VIEWER, ACME),)).may_give(role, ACME)} == set()


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ((), {"a1", "b1"}),
        (("a1",), {"a1"}),
        (("a*",), {"a1", "a12"}),
        (("a1", "b*"), {"a1", "b1"}),
        (("*",), {"a1", "b1"}),
    ],
)
def test_a_node_speaks_for_its_own_names(names: tuple[str, ...], allowed: set[str]) -> None:
    """A pattern that ends in a star stands for all names that begin so."""
    caller = Rights((Right(Role.NODE, PLATFORM, names),))
    tried = {"a1", "a12", "b1"}
    assert {name for name in tried if caller.may_be_node(name)} == {
        name for name in tried if name in allowed or not names or ("*" in names)
    }


def test_a_node_right_of_an_account_is_none() -> None:
    """A token that is narrowed to an account is no metering node any more."""
    assert not Rights((Right(Role.NODE, PLATFORM),)).narrowed(None, ACME).may_be_node("a1")


def test_who_has_no_right_knows_no_account() -> None:
    """A right in a team lets its holder know the account, and no other."""
    assert not NO_RIGHTS.knows("acme")
    member = Rights((Right(Role.TEAM_MEMBER, SEARCH),))
    assert member.knows("acme")
    assert not member.knows("globex")


@pytest.mark.parametrize("role", Role)
def test_every_role_has_permissions_and_scopes(role: Role) -> None:
    """And its scopes are kinds that there are."""
    assert PERMISSIONS[role]
    assert SCOPES[role] <= {kind_of(scope) for scope in SCOPES_TRIED}


def test_no_memory_is_taken_by_long_names() -> None:
    """A name that is longer than any resource's has a scope as others have, which is not remembered."""
    before = scope._remembered_scope.cache_info().currsize
    assert scope_of_resource(f"accounts/acme/services/{'x' * scope.NAME_LENGTH_MAX}") == ACME
    assert scope._remembered_scope.cache_info().currsize == before
