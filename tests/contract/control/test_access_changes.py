"""Changes of who may do what, on both databases: what they note for nodes, and what they are when two come at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from control_service.domain.access_token import PERSONAL_VALID_FOR_US, AccessToken
from control_service.domain.asker import Asker
from control_service.domain.binding import Grant
from control_service.domain.errors import DeniedError, InvalidRequestError, Reason, RefusedError
from control_service.domain.narrowing import NO_NARROWING
from control_service.domain.principal import Principal
from control_service.domain.token_seal import TokenSeal
from control_service.usecases.access import bindings as binding_calls
from control_service.usecases.access import service_accounts as service_account_calls
from control_service.usecases.access import tokens as token_calls
from control_service.usecases.access.bindings import create_binding, delete_binding
from control_service.usecases.access.pepper import is_pepper_known
from control_service.usecases.access.principals import set_disabled
from control_service.usecases.access.service_accounts import (
    NewServiceAccount,
    create_service_account,
    delete_service_account,
)
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.access.tokens import (
    NewToken,
    Rotation,
    ShownOnce,
    TokenKey,
    change_token,
    create_token,
    rotate_token,
)
from control_service.usecases.access_ports import AccessChanges
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people import teams as team_calls
from control_service.usecases.people.teams import NewTeam, create_team
from control_service.usecases.ports import Transaction
from tallygate._access.rights import ALL_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.control.access import ACME, ALICE, ISSUER, ROBOT, SEAL, SEARCH, STAFF, made_token, store
from tests.harness.control.people_harness import Desk

Result = TypeVar("Result")

OPERATOR = Asker("person:https://issuer.example#operator", (), ALL_RIGHTS)
BOB = "person:https://issuer.example#bob"
NOTHING = AccessChanges(frozenset(), frozenset())


def owner(member: str) -> Asker:
    return Asker(member, (), Rights((Right(Role.OWNER, ACME),)))


def mint() -> TokenMint:
    numbers = iter(range(1_000, 2_000))
    return TokenMint(SEAL, lambda length: next(numbers).to_bytes(length, "big"))


async def change(desk: Desk, what: Callable[[Transaction, Act], Awaitable[Result]]) -> Result:
    """Changes something of acme; the account is locked."""
    return await desk.of_account(lambda tx, _, act: what(tx, act))


async def give(desk: Desk, member: str = ALICE, role: Role = Role.VIEWER, asker: Asker = OPERATOR) -> str:
    made = await change(desk, lambda tx, act: create_binding(tx, Grant(ACME, member, role), asker, act))
    return made.binding_id


async def noted(desk: Desk, what: Callable[[], Awaitable[object]]) -> AccessChanges:
    """What nodes are told of after this."""
    before = await desk.version()
    await what()
    async with desk.database.reading() as tx:
        return await tx.access_versions.since(before)


def of_members(*members: str) -> AccessChanges:
    return AccessChanges(frozenset(members), frozenset())


async def robot_with_token(desk: Desk, number: int = 1) -> AccessToken:
    new = NewServiceAccount(ACME, "robot", "")
    await change(desk, lambda tx, act: create_service_account(tx, new, OPERATOR, act))
    token = made_token(ROBOT, number).token
    async with desk.database.writing() as tx:
        await store(tx, token)
    return token


async def test_each_change_of_a_binding_is_noted_for_its_member(desk: Desk) -> None:
    """A group's, too; what changes nothing is not."""
    assert await noted(desk, lambda: give(desk, STAFF)) == of_members(STAFF)
    assert await noted(desk, lambda: give(desk, STAFF)) == NOTHING
    binding_id = await give(desk, ALICE)
    take = change(desk, lambda tx, _: delete_binding(tx, ACME, binding_id, OPERATOR))
    assert await noted(desk, lambda: take) == of_members(ALICE)


async def test_each_change_of_a_token_is_noted(desk: Desk) -> None:
    """Disabling twice changes nothing the second time."""
    token = await robot_with_token(desk)
    key = TokenKey("accounts/acme/serviceAccounts/robot", token.token_id)
    of_token = AccessChanges(frozenset(), frozenset({token.token_id}))

    async def disable() -> None:
        await change(desk, lambda tx, _: change_token(tx, key, OPERATOR, lambda one: replace(one, disabled=True)))

    async def rotate() -> ShownOnce:
        rotation = Rotation(key, 5)
        return await change(desk, lambda tx, act: rotate_token(tx, rotation, mint(), OPERATOR, act))

    assert await noted(desk, disable) == of_token
    assert await noted(desk, disable) == NOTHING
    assert await noted(desk, rotate) == of_token


async def test_a_deleted_service_account_is_noted_with_all_that_it_had(desk: Desk) -> None:
    """Its tokens are gone with it, and its roles."""
    token = await robot_with_token(desk)
    await give(desk, ROBOT)
    delete = change(desk, lambda tx, act: delete_service_account(tx, ACME, "robot", OPERATOR, act))
    assert await noted(desk, lambda: delete) == of_members(ROBOT)
    async with desk.database.reading() as tx:
        found = await tx.access_tokens.find(token.token_id)
        assert found is not None
        assert found.delete_us == desk.now_us
        assert await tx.bindings.of([ROBOT]) == []


async def test_disabling_ends_sign_ins_for_good(desk: Desk) -> None:
    """Other tokens are suspended for as long as it lasts; both changes are noted."""
    own, sign_in = made_token(number=1).token, replace(made_token(number=2).token, signed_in=True, expire_us=2**60)
    async with desk.database.writing() as tx:
        await store(tx, own, sign_in)

    def switch(*, disabled: bool) -> Callable[[], Awaitable[Principal]]:
        return lambda: desk.of_globals(lambda tx, act: set_disabled(tx, ALICE, OPERATOR, act, disabled=disabled))

    assert await noted(desk, switch(disabled=True)) == of_members(ALICE)
    assert await noted(desk, switch(disabled=True)) == NOTHING
    assert await noted(desk, switch(disabled=False)) == of_members(ALICE)
    async with desk.database.reading() as tx:
        found = [await tx.access_tokens.find(one.token_id) for one in (own, sign_in)]
    assert [one is not None and one.delete_us is None for one in found] == [True, False]


@pytest.mark.parametrize(
    ("issuers", "is_known", "refused"),
    [
        (None, False, False),
        ((ISSUER,), False, False),
        ((), False, True),
        (("https://other.example",), False, True),
        ((), True, False),
    ],
)
async def test_who_cannot_sign_in_cannot_be_disabled(
    desk: Desk, issuers: tuple[str, ...] | None, is_known: bool, refused: bool
) -> None:
    """A slip in the issuer would disable nobody, and say that it did. Who was here before can be, and is enabled."""
    if is_known:
        async with desk.database.writing() as tx:
            await tx.principals.save(replace(await tx.principals.get(ALICE), last_sign_in_us=1))

    def switch(*, disabled: bool) -> Awaitable[Principal]:
        return desk.of_globals(
            lambda tx, act: set_disabled(tx, ALICE, OPERATOR, act, disabled=disabled, issuers=issuers)
        )

    if refused:
        with pytest.raises(InvalidRequestError, match=f"the issuer {ISSUER}, at which nobody signs in here"):
            await switch(disabled=True)
    else:
        assert (await switch(disabled=True)).disabled
    assert not (await switch(disabled=False)).disabled


@pytest.mark.parametrize("living", [0, 1, 2])
async def test_service_accounts_and_teams_of_an_account_are_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, living: int
) -> None:
    """Those of its teams count, deleted ones do not; other accounts have their own."""
    monkeypatch.setattr(service_account_calls, "SERVICE_ACCOUNTS_OF_ACCOUNT_MAX", 2)
    monkeypatch.setattr(team_calls, "TEAMS_OF_ACCOUNT_MAX", 2)
    await desk.create_account("other")

    async def add(scope: Scope, name: str) -> None:
        new = NewServiceAccount(scope, name, "")
        await desk.of_globals(lambda tx, act: create_service_account(tx, new, OPERATOR, act))

    async def add_team(account_id: str, team_id: str) -> None:
        async def make(tx: Transaction, act: Act) -> None:
            account = await tx.accounts.get(account_id)
            await create_team(tx, account, NewTeam(team_id, ""), act)

        await desk.of_globals(make)

    await add_team("acme", "search")
    await add(SEARCH, "gone")
    await desk.of_globals(lambda tx, act: delete_service_account(tx, SEARCH, "gone", OPERATOR, act))
    for number in range(living):
        await add((ACME, SEARCH)[number], f"robot-{number}")
    if living < 2:
        await add(ACME, "one-more")
    else:
        with pytest.raises(InvalidRequestError, match="has 2 service accounts already"):
            await add(ACME, "one-more")
    await add(Scope("other"), "theirs")
    await add(PLATFORM, "ours")
    await add_team("acme", "second")
    with pytest.raises(InvalidRequestError, match="has 2 teams already"):
        await add_team("acme", "third")
    await add_team("other", "third")


async def test_another_pepper_is_noticed(desk: Desk) -> None:
    """The first one that comes is the database's, also of two that come at once; nothing of it can be read there."""
    others = [TokenSeal(bytes([number]) * 32) for number in range(4)]
    known = await asyncio.gather(*(is_pepper_known(desk.database, seal) for seal in others))
    assert known.count(True) == 1
    own = others[known.index(True)]
    assert await is_pepper_known(desk.database, own)
    assert not any([await is_pepper_known(desk.database, seal) for seal in others if seal is not own])


async def test_two_owners_who_take_each_other_leave_one(desk: Desk) -> None:
    """Whoever comes second would take the last one."""
    ids = {member: await give(desk, member, Role.OWNER) for member in (ALICE, BOB)}

    async def take(taker: str, other: str) -> Reason | None:
        try:
            await change(desk, lambda tx, _: delete_binding(tx, ACME, ids[other], owner(taker)))
        except RefusedError as error:
            return error.reason
        return None

    outcomes = await asyncio.gather(take(ALICE, BOB), take(BOB, ALICE))
    assert sorted(outcomes, key=str) == [Reason.LAST_OWNER, None]
    async with desk.database.reading() as tx:
        assert await tx.bindings.owner_count("acme") == 1


async def test_one_binding_comes_of_two_at_once(desk: Desk) -> None:
    """The second finds the first."""
    first, second = await asyncio.gather(give(desk), give(desk))
    assert first == second


async def test_a_member_and_an_owner_have_so_much_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since a decision reads all roles of a member, and a list all tokens of an owner. No tenant uses up another's."""
    monkeypatch.setattr(binding_calls, "BINDINGS_OF_MEMBER_MAX", 1)
    monkeypatch.setattr(token_calls, "TOKENS_OF_OWNER_MAX", 1)
    await give(desk)
    with pytest.raises(InvalidRequestError, match="1 roles on accounts/acme or within it"):
        await give(desk, role=Role.BILLING)
    elsewhere = Grant(PLATFORM, ALICE, Role.AUDITOR)
    await desk.of_globals(lambda tx, act: create_binding(tx, elsewhere, OPERATOR, act))
    await robot_with_token(desk)
    new = NewToken("accounts/acme/serviceAccounts/robot", "", None, NO_NARROWING)
    with pytest.raises(InvalidRequestError, match="1 tokens already"):
        await change(desk, lambda tx, act: create_token(tx, new, mint(), OPERATOR, act))


async def test_a_personal_token_lasts_90_days_and_is_its_owners(desk: Desk) -> None:
    """Nobody else learns a secret of it, an operator neither; an operator deletes it."""
    new = NewToken("", "", None, NO_NARROWING)
    alice = Asker(ALICE, (), Rights(), own_only=True)
    made = await desk.of_globals(lambda tx, act: create_token(tx, new, mint(), alice, act))
    assert (made.token.owner, made.token.expire_us) == (ALICE, desk.now_us + PERSONAL_VALID_FOR_US)
    key = TokenKey("", made.token.token_id)
    rotation = Rotation(key, 0)
    with pytest.raises(DeniedError, match="Nobody but"):
        await desk.of_globals(lambda tx, act: rotate_token(tx, rotation, mint(), OPERATOR, act))
    assert (await desk.of_globals(lambda tx, act: rotate_token(tx, rotation, mint(), alice, act))).token.owner == ALICE

    def deleted(token: AccessToken) -> AccessToken:
        return replace(token, delete_us=1)

    gone = await desk.of_globals(lambda tx, _: change_token(tx, key, OPERATOR, deleted))
    assert gone.delete_us == 1


async def test_whoever_cannot_give_a_role_learns_no_secret_of_it(desk: Desk) -> None:
    """A manager whose token is narrowed makes no token of a service account that may do more."""
    await robot_with_token(desk)
    await give(desk, ROBOT, Role.OWNER)
    narrowed = Asker(ALICE, (), Rights((Right(Role.OWNER, ACME, narrowed_role=Role.TEAM_ADMIN),)))
    new = NewToken("accounts/acme/serviceAccounts/robot", "", None, NO_NARROWING)
    with pytest.raises(DeniedError) as refused:
        await change(desk, lambda tx, act: create_token(tx, new, mint(), narrowed, act))
    assert refused.value.reason is Reason.ROLE_DENIED
    made = await change(desk, lambda tx, act: create_token(tx, new, mint(), owner(ALICE), act))
    assert made.token.owner == ROBOT


async def test_a_server_without_a_pepper_makes_no_tokens(desk: Desk) -> None:
    """And says which option it lacks."""
    alice = Asker(ALICE, (), Rights(), own_only=True)
    none = TokenMint(None, bytes)
    with pytest.raises(RefusedError, match="--pepper-file") as refused:
        await desk.of_globals(lambda tx, act: create_token(tx, NewToken("", "", None, NO_NARROWING), none, alice, act))
    assert refused.value.reason is Reason.TOKENS_NOT_KEPT
