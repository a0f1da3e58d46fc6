"""The page on access says what the code does: what each role may do, on which scopes it is given, what it gives."""

from tallygate._access.permission import Permission
from tallygate._access.role import GIVES, PERMISSIONS, SCOPES, Role, ScopeKind
from tests.harness.access_tables import permissions_by_role, role_named, table_after

KINDS = {"the platform": ScopeKind.PLATFORM, "an account": ScopeKind.ACCOUNT, "a team": ScopeKind.TEAM}


def test_the_page_says_what_each_role_may_do() -> None:
    """To the letter, for every role and permission."""
    assert permissions_by_role() == PERMISSIONS
    assert {row[0] for row in table_after("| permission |")[1:]} == set(Permission)


def test_the_page_says_where_roles_are_given_and_what_they_give() -> None:
    """Also to the letter."""
    rows = table_after("| role | is given on")[1:]
    by_role = {role_named(name): row for row in rows for name in row[0].split(",")}
    assert {role: {KINDS[place.strip()] for place in row[1].split(",")} for role, row in by_role.items()} == SCOPES
    given = {role: row[2] for role, row in by_role.items() if row[2] != "none"}
    everything = {Role.OPERATOR: frozenset(Role)}
    assert {
        role: frozenset(map(role_named, text.split(","))) for role, text in given.items() if text != "every role"
    } | everything == GIVES
