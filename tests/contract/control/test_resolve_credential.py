"""What credentials open, from rows on both databases."""

from dataclasses import replace

import pytest

from control_service.domain.access_token import CredentialState
from control_service.domain.credential import UNKNOWN
from control_service.domain.member import OPERATOR, certificate_member
from control_service.domain.narrowing import Narrowing
from control_service.domain.principal import SIGN_IN_LASTS_US, Principal
from control_service.domain.token_seal import TokenSeal
from control_service.storage.database import SqlDatabase
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.rights import ALL_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tests.harness.control.access import (
    ACME,
    ALICE,
    ISSUER,
    ROBOT,
    SEAL,
    SEARCH,
    STAFF,
    bound,
    made_token,
    store,
    with_secret,
)

NODE_URI = "spiffe://example.org/tallygate/node/node-a"
CREDENTIALS = Credentials(SEAL, trust_domain="example.org")


async def test_a_token_proves_its_owner(database: SqlDatabase) -> None:
    """With the rights of the owner's bindings, and the token's name."""
    made = made_token(ROBOT)
    async with database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER), bound(ALICE, Role.OWNER))
        found = await CREDENTIALS.resolve(tx, made.shown, 1)
    assert (found.state, found.member, found.expire_us) == (CredentialState.VALID, ROBOT, None)
    assert found.rights == Rights((Right(Role.METER, ACME),))
    assert found.access_token == f"accounts/acme/serviceAccounts/robot/accessTokens/{made.token.token_id}"


async def test_a_person_has_the_rights_of_groups_for_30_days(database: SqlDatabase) -> None:
    """Known by a group only, a person signs in again by then; a binding of their own is all that is left after it."""
    made = made_token()
    async with database.writing() as tx:
        await store(tx, made.token, bound(STAFF, Role.VIEWER))
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), 5))
        found = await CREDENTIALS.resolve(tx, made.shown, SIGN_IN_LASTS_US)
        assert (found.state, found.display_name, found.groups) == (CredentialState.VALID, "Alice", (STAFF,))
        assert found.expire_us == 5 + SIGN_IN_LASTS_US
        late = await CREDENTIALS.resolve(tx, made.shown, 5 + SIGN_IN_LASTS_US)
        assert (late.state, late.rights.rights) == (CredentialState.EXPIRED, ())
        await store(tx, bound(ALICE, Role.BILLING))
        both, own = [await CREDENTIALS.resolve(tx, made.shown, last_us + SIGN_IN_LASTS_US) for last_us in (4, 5)]
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), 6))
        again = await CREDENTIALS.resolve(tx, made.shown, 5 + SIGN_IN_LASTS_US)
    assert {right.role for right in both.rights.rights} == {Role.VIEWER, Role.BILLING}
    assert both.expire_us == 5 + SIGN_IN_LASTS_US
    assert (own.state, own.expire_us) == (CredentialState.VALID, None)
    assert {right.role for right in own.rights.rights} == {Role.BILLING}
    assert (again.rights, again.expire_us) == (both.rights, 6 + SIGN_IN_LASTS_US)


async def test_a_token_is_narrowed_and_an_issuer_limited(database: SqlDatabase) -> None:
    """Both take away from what bindings give; neither gives."""
    made = made_token()
    narrow = replace(made.token, narrowing=Narrowing(Role.VIEWER, Scope("acme")))
    limited = Credentials(SEAL, issuer_scopes={ISSUER: SEARCH})
    async with database.writing() as tx:
        await store(tx, narrow, bound(ALICE, Role.OWNER), bound(ALICE, Role.OWNER, Scope("other")))
        found = await limited.resolve(tx, made.shown, 1)
    assert found.rights == Rights((Right(Role.OWNER, SEARCH, narrowed_role=Role.VIEWER),))


async def test_an_issuer_that_is_not_configured_speaks_for_nothing(database: SqlDatabase) -> None:
    """Persons whose issuer was taken out of the file have no right any more; service accounts keep theirs."""
    person, robot = made_token(), made_token(ROBOT, 2)
    without = Credentials(SEAL, issuer_scopes={"https://login.example.org": PLATFORM})
    async with database.writing() as tx:
        await store(tx, person.token, robot.token, bound(ALICE, Role.OWNER), bound(STAFF, Role.VIEWER))
        await store(tx, bound(ROBOT, Role.METER))
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), 5))
        assert (await without.resolve(tx, person.shown, 6)).rights == Rights()
        assert (await without.resolve(tx, robot.shown, 6)).rights == Rights((Right(Role.METER, ACME),))


async def test_disabling_deleting_and_time_close_a_token(database: SqlDatabase) -> None:
    """A token that is disabled or deleted, or whose owner is, is revoked; one whose time has come has expired."""
    made = made_token()
    states = []
    async with database.writing() as tx:
        await store(tx, made.token, bound(ALICE, Role.OWNER))
        for changed in (
            replace(made.token, expire_us=10),
            replace(made.token, disabled=True),
            replace(made.token, delete_us=9, expire_us=8),
        ):
            await tx.access_tokens.save(changed)
            states.append((await CREDENTIALS.resolve(tx, made.shown, 10)).state)
        await tx.access_tokens.save(made.token)
        await tx.principals.save(Principal(ALICE, disabled=True))
        states.append((await CREDENTIALS.resolve(tx, made.shown, 10)).state)
    revoked = CredentialState.REVOKED
    assert states == [CredentialState.EXPIRED, revoked, revoked, revoked]


async def test_two_secrets_live_during_a_rotation(database: SqlDatabase) -> None:
    """The one before ends at its time, whatever the token's; the one before that is none at once."""
    first = made_token(ROBOT)
    second = with_secret(first, 2, 100, 10)
    third = with_secret(second, 3, 50, 20)
    async with database.writing() as tx:
        await store(tx, third.token, bound(ROBOT, Role.METER))
        found = [await CREDENTIALS.resolve(tx, made.shown, 30) for made in (first, second, third)]
        late = await CREDENTIALS.resolve(tx, second.shown, 70)
    assert [(one.state, one.expire_us) for one in found] == [
        (CredentialState.UNKNOWN, None),
        (CredentialState.VALID, 70),
        (CredentialState.VALID, None),
    ]
    assert late.state is CredentialState.EXPIRED


async def test_a_wrong_secret_learns_nothing(database: SqlDatabase) -> None:
    """Whatever the state of the token; a token of another pepper is as unknown."""
    made = made_token(number=1)
    guess = with_secret(made, 9, 1, 1)
    other = made_token(number=1, seal=TokenSeal(b"q" * 32))
    async with database.writing() as tx:
        await store(tx, replace(made.token, disabled=True))
        found = [await CREDENTIALS.resolve(tx, one.shown, 1) for one in (guess, other, made_token(number=2))]
    assert found == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert CREDENTIALS.without_database(other.shown) == UNKNOWN
    assert CREDENTIALS.without_database(guess.shown) is None


async def test_the_first_operator_needs_no_row(database: SqlDatabase) -> None:
    """The token in the operator's file opens everything, and no other token of its id does."""
    made = made_token("serviceAccount:serviceAccounts/any")
    credentials = Credentials(operator=made.shown)
    async with database.reading() as tx:
        found = await credentials.resolve(tx, made.shown, 1)
        guess = await credentials.resolve(tx, with_secret(made, 2, 1, 1).shown, 1)
    assert (found.state, found.member, found.rights) == (CredentialState.VALID, OPERATOR, ALL_RIGHTS)
    assert guess == UNKNOWN


@pytest.mark.parametrize(
    ("uri", "right"),
    [
        (NODE_URI, Right(Role.NODE, PLATFORM, ("node-a",))),
        ("spiffe://example.org/tallygate/meter/acme", Right(Role.METER, ACME)),
        ("spiffe://example.org/tallygate/meter/*", Right(Role.METER, PLATFORM)),
        ("spiffe://example.org/tallygate/node/*", None),
        ("spiffe://example.org.evil/tallygate/node/node-a", None),
        ("spiffe://example.org/tallygate/node/node-a/x", None),
        ("https://example.org/tallygate/node/node-a", None),
        ("spiffe://example.org/tallygate/node/node-aé", None),
    ],
)
async def test_a_certificate_says_what_it_is(database: SqlDatabase, uri: str, right: Right | None) -> None:
    """By a URI of the trust domain; of any other nothing is known, unless a binding names it."""
    async with database.writing() as tx:
        found = await CREDENTIALS.resolve(tx, Certificate(uri), 1)
        assert found.rights.rights == (() if right is None else (right,))
        assert found.state is (CredentialState.UNKNOWN if right is None else CredentialState.VALID)
        assert (await Credentials(SEAL).resolve(tx, Certificate(uri), 1)) == UNKNOWN
        await store(tx, bound(certificate_member(uri), Role.VIEWER))
        found = await CREDENTIALS.resolve(tx, Certificate(uri), 1)
        assert (found.state, found.member) == (CredentialState.VALID, certificate_member(uri))
        assert Right(Role.VIEWER, ACME) in found.rights.rights
        await tx.principals.save(Principal(certificate_member(uri), disabled=True))
        assert (await CREDENTIALS.resolve(tx, Certificate(uri), 1)).state is CredentialState.REVOKED
