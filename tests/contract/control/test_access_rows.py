"""Principals, service accounts, tokens and bindings as both databases keep them."""

from dataclasses import replace

import pytest

from control_service.domain.access_token import DAY_US
from control_service.domain.binding import Binding
from control_service.domain.errors import ResourceExistsError
from control_service.domain.narrowing import Narrowing
from control_service.domain.principal import Principal
from control_service.domain.service_account import ServiceAccount
from control_service.storage.database import SqlDatabase
from control_service.usecases.access_ports import AccessChanges, ScopeFilter
from tallygate._access.rights import SEES_ALL, Sight
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.control.access import ACME, ALICE, ROBOT, SEARCH, STAFF, bound, made_token, store, with_secret

FIRST = ("", "", "")


async def test_a_principal_is_kept_as_it_is(database: SqlDatabase) -> None:
    """A member of whom nothing is known is blank; what is saved is found again, and can be saved again."""
    async with database.writing() as tx:
        assert await tx.principals.get(ALICE) == Principal(ALICE)
        signed_in = Principal(ALICE, "Alice", (STAFF,), 7)
        await tx.principals.save(signed_in)
        assert await tx.principals.get(ALICE) == signed_in
        await tx.principals.save(replace(signed_in, disabled=True))
        assert (await tx.principals.get(ALICE)).disabled
        assert await tx.principals.disabled([ALICE, ROBOT]) == {ALICE}


async def test_principals_are_listed_that_signed_in_or_are_disabled(database: SqlDatabase) -> None:
    """One that was disabled once, and never signed in, is listed no more."""
    robot, other = Principal(ROBOT, disabled=True), Principal(f"{ROBOT}-2")
    async with database.writing() as tx:
        for principal in (Principal(ALICE, last_sign_in_us=1), robot, other):
            await tx.principals.save(principal)
        assert [found.member for found in await tx.principals.page("", 9, disabled_only=False)] == [ALICE, ROBOT]
        assert await tx.principals.page("", 9, disabled_only=True) == [robot]
        assert await tx.principals.page(ROBOT, 9, disabled_only=True) == []


async def test_a_name_of_a_service_account_is_never_used_again(database: SqlDatabase) -> None:
    """Also after its end; in another scope the same id is another name."""
    robot = ServiceAccount(ACME, "robot", "Robot", ALICE, 1)
    async with database.writing() as tx:
        await tx.service_accounts.add(robot)
        assert await tx.service_accounts.any_in(ACME)
        await tx.service_accounts.save(replace(robot, delete_us=2))
        assert not await tx.service_accounts.any_in(ACME)
        assert await tx.service_accounts.find(ACME, "robot") == replace(robot, delete_us=2)
        await tx.service_accounts.add(replace(robot, scope=SEARCH))
    with pytest.raises(ResourceExistsError):
        async with database.writing() as tx:
            await tx.service_accounts.add(robot)


@pytest.mark.parametrize(
    ("scope", "sight", "seen"),
    [
        (PLATFORM, SEES_ALL, ["", "acme", "acme/search", "other"]),
        (ACME, SEES_ALL, ["acme", "acme/search"]),
        (SEARCH, SEES_ALL, ["acme/search"]),
        (PLATFORM, Sight(account_ids=frozenset({"acme"})), ["acme", "acme/search"]),
        (PLATFORM, Sight(teams=frozenset({("acme", "search"), ("other", "none")})), ["acme/search"]),
        (Scope("other"), Sight(account_ids=frozenset({"acme"})), []),
        (PLATFORM, Sight(), []),
    ],
)
async def test_lists_are_of_a_scope_and_of_what_is_seen(
    database: SqlDatabase, scope: Scope, sight: Sight, seen: list[str]
) -> None:
    """For service accounts and for bindings alike."""
    async with database.writing() as tx:
        for where in (PLATFORM, ACME, SEARCH, Scope("other")):
            await tx.service_accounts.add(ServiceAccount(where, "robot", "", ALICE, 1))
            await tx.bindings.add(bound(ALICE, Role.VIEWER, where))
        wanted = ScopeFilter(scope, sight)
        accounts = await tx.service_accounts.page(wanted, FIRST, 9)
        bindings = await tx.bindings.page(wanted, "", FIRST, 9)
    for found in ([account.scope for account in accounts], [binding.grant.scope for binding in bindings]):
        assert ["/".join(filter(None, (one.account_id, one.team_id))) for one in found] == seen


async def test_bindings_are_found_by_what_they_say(database: SqlDatabase) -> None:
    """By member, by name, and by saying the same; the names of nodes are part of that."""
    of_staff = bound(STAFF, Role.VIEWER)
    as_node = bound(ROBOT, Role.NODE, PLATFORM, node_names=("a", "b-*"))
    owner = bound(ALICE, Role.OWNER)
    async with database.writing() as tx:
        await store(tx, of_staff, as_node, owner)
        assert await tx.bindings.of([STAFF, ALICE, "person:x#nobody"]) == sorted(
            [of_staff, owner], key=lambda one: one.binding_id
        )
        assert await tx.bindings.find(PLATFORM, as_node.binding_id) == as_node
        assert await tx.bindings.find(ACME, as_node.binding_id) is None
        assert await tx.bindings.same(as_node.grant) == as_node
        assert await tx.bindings.same(replace(as_node.grant, node_names=("a",))) is None
        assert await tx.bindings.on(ACME) == sorted([of_staff, owner], key=lambda one: one.binding_id)
        assert await tx.bindings.owner_count("acme") == 1
        await tx.bindings.delete([owner])
        assert await tx.bindings.owner_count("acme") == 0


async def test_bindings_are_read_in_pages(database: SqlDatabase) -> None:
    """Pages follow each other by scope and id, of one member where one is named."""
    roles = (Role.BILLING, Role.VIEWER)
    given = [bound(ALICE, role, Scope(account), f"of-{role}".lower()) for account in ("a", "b") for role in roles]
    async with database.writing() as tx:
        await store(tx, *given, bound(ROBOT, Role.OWNER, Scope("a"), "z"))
        wanted, found, after = ScopeFilter(PLATFORM, SEES_ALL), list[Binding](), FIRST
        while page := await tx.bindings.page(wanted, ALICE, after, 3):
            found += page
            last = page[-1]
            after = (last.grant.scope.account_id, last.grant.scope.team_id, last.binding_id)
    assert found == given


async def test_a_token_is_kept_as_it_is(database: SqlDatabase) -> None:
    """With its limits and both of its hashes."""
    made = made_token()
    limited = replace(
        made.token, narrowing=Narrowing(Role.VIEWER, SEARCH), expire_us=5, previous_secret_hash=b"x" * 32, disabled=True
    )
    async with database.writing() as tx:
        assert await tx.access_tokens.find(limited.token_id) is None
        await tx.access_tokens.add(limited)
        assert await tx.access_tokens.find(limited.token_id) == limited
        rotated = with_secret(made, 2, 10, 3).token
        await tx.access_tokens.save(rotated)
        assert await tx.access_tokens.lock(limited.token_id) == rotated


async def test_use_is_noted_by_the_day(database: SqlDatabase) -> None:
    """A later day that was noted stays, and no change of the token takes it back."""
    token = made_token().token
    async with database.writing() as tx:
        await tx.access_tokens.add(token)
        for day_us in (2 * DAY_US, DAY_US):
            await tx.access_tokens.note_use([token.token_id, "none"], day_us)
        await tx.access_tokens.save(replace(token, disabled=True))
        found = await tx.access_tokens.find(token.token_id)
    assert found is not None
    assert (found.last_use_day_us, found.disabled) == (2 * DAY_US, True)


async def test_sign_ins_end_and_are_forgotten(database: SqlDatabase) -> None:
    """Sign-ins leave the list when they have expired, and the table some time after; other tokens when deleted."""
    own = replace(made_token(number=1).token, expire_us=5)
    sign_in = replace(made_token(number=2).token, expire_us=5, signed_in=True)
    of_robot = made_token(ROBOT, 3).token
    async with database.writing() as tx:
        await store(tx, own, sign_in, of_robot)
        assert {token.token_id for token in await tx.access_tokens.page(ALICE, "", 9, 4)} == {
            own.token_id,
            sign_in.token_id,
        }
        assert await tx.access_tokens.page(ALICE, "", 9, 5) == [own]
        assert await tx.access_tokens.page(ALICE, own.token_id, 9, 5) == []
        assert await tx.access_tokens.count(ALICE) == 1
        assert await tx.access_tokens.purge(5, 9) == 0
        assert await tx.access_tokens.purge(6, 9) == 1
        await tx.access_tokens.end_all(ALICE, 7)
        assert await tx.access_tokens.page(ALICE, "", 9, 5) == []
        assert await tx.access_tokens.purge(8, 9) == 1
        assert await tx.access_tokens.find(of_robot.token_id) == of_robot


async def test_ending_sign_ins_leaves_other_tokens(database: SqlDatabase) -> None:
    """Those of the same person, and the sign-ins of others."""
    own, sign_in = made_token(number=1).token, replace(made_token(number=2).token, expire_us=9, signed_in=True)
    other = replace(made_token(STAFF, number=3).token, expire_us=9, signed_in=True)
    async with database.writing() as tx:
        await store(tx, own, sign_in, other)
        await tx.access_tokens.end_sign_ins(ALICE, 5)
        found = [await tx.access_tokens.find(token.token_id) for token in (own, sign_in, other)]
    assert [token and token.delete_us for token in found] == [None, 5, None]


async def test_changes_are_found_by_version(database: SqlDatabase) -> None:
    """Each member and token once, with the last version at which something of it changed."""
    async with database.writing() as tx:
        await tx.access_versions.note([ALICE, STAFF], ["t1"], 3)
        await tx.access_versions.note([ALICE], ["t2", "t2"], 5)
        assert await tx.access_versions.since(2) == AccessChanges(frozenset({ALICE, STAFF}), frozenset({"t1", "t2"}))
        assert await tx.access_versions.since(3) == AccessChanges(frozenset({ALICE}), frozenset({"t2"}))
        assert await tx.access_versions.since(5) == AccessChanges(frozenset(), frozenset())
        await tx.access_versions.note([], [], 9)
