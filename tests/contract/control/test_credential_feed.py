"""The feed of credentials, without a wire: what nodes follow, and what each credential opens after every change."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from typing_extensions import override

from control_service.api.fleet_codec import encode_update
from control_service.domain.access_token import CredentialState
from control_service.domain.binding import Binding
from control_service.domain.credential import ResolvedCredential
from control_service.domain.errors import InvalidRequestError
from control_service.domain.member import certificate_member
from control_service.domain.narrowing import Narrowing
from control_service.domain.principal import Principal
from control_service.storage.database import SqlDatabase
from control_service.usecases.fleet import credential_feed
from control_service.usecases.fleet.credential_feed import CredentialFeed
from control_service.usecases.fleet.credential_lookup import CredentialConfig, Shown, resolve_all
from control_service.usecases.fleet.watcher import CREDENTIALS_PER_UPDATE, Watcher
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.rights import Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate._access.token_text import ShownToken
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.control.access import ACME, ALICE, ROBOT, SEAL, STAFF, Made, bound, made_token, store, with_secret
from tests.harness.control.fleet_harness import Kit, read

METER_URI, OTHER_URI = "spiffe://example.org/tallygate/meter/acme", "https://example.org/robot"
CREDENTIALS = Credentials(SEAL, trust_domain="example.org")
VALID, UNKNOWN, REVOKED = CredentialState.VALID, CredentialState.UNKNOWN, CredentialState.REVOKED


@pytest.fixture
def kit(database: SqlDatabase) -> Kit:
    return Kit(database, credentials=CREDENTIALS)


class Interrupted(CredentialFeed):
    """Something happens after its first look-up, before what was found is taken in."""

    after_look_up: Callable[[], Awaitable[None]] | None = None

    @override
    async def _resolve(self, shown: list[Shown], version: int) -> list[CredentialConfig]:
        found = await super()._resolve(shown, version)
        happens, self.after_look_up = self.after_look_up, None
        if happens is not None:
            await happens()
        return found


async def watching(kit: Kit, *shown: Shown, node: str = "node-a") -> Watcher:
    """A watcher that follows these, and was told of each."""
    await kit.registration.register(node, 1, "metering-database")
    await kit.feed.poll()
    watcher = kit.feed.open(node, 1)
    await kit.feed.subscribe_credentials(watcher, shown)
    return watcher


async def told(watcher: Watcher) -> dict[Shown, ResolvedCredential]:
    """What the next message says."""
    return {config.shown: config.opens for config in (await read(watcher)).credentials}


async def change(kit: Kit, *, members: Sequence[str] = (), made: Sequence[Made] = ()) -> None:
    """Something of these members and tokens changes with a new version, which the feed finds."""
    async with kit.database.writing() as tx:
        version = await tx.next_config_version()
        await tx.access_versions.note(members, [one.token.token_id for one in made], version)
    await kit.feed.poll()


async def give(kit: Kit, *things: Binding) -> None:
    async with kit.database.writing() as tx:
        await store(tx, *things)


async def test_a_follower_is_told_what_a_credential_opens(kit: Kit) -> None:
    """Once it has asked; of one that there is not, too; and then nothing more until something changes."""
    made, guess = made_token(ROBOT), ShownToken("a" * 24, b"x" * 32)
    async with kit.database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    watcher = await watching(kit, made.shown, guess, Certificate(METER_URI), Certificate(OTHER_URI))
    opened = await told(watcher)
    assert {one: opens.state for one, opens in opened.items()} == {
        made.shown: VALID,
        guess: UNKNOWN,
        Certificate(METER_URI): VALID,
        Certificate(OTHER_URI): UNKNOWN,
    }
    meters = Rights((Right(Role.METER, ACME),))
    assert (opened[made.shown].rights, opened[Certificate(METER_URI)].rights) == (meters, meters)
    await change(kit, members=[ALICE])
    assert await told(watcher) == {}


async def test_each_change_reaches_those_whom_it_concerns(kit: Kit) -> None:
    """Of a token, its owner, a group that the owner is in, a certificate that had no right: and nobody else is told."""
    mine, theirs = made_token(ALICE, 1), made_token(ROBOT, 2)
    async with kit.database.writing() as tx:
        await store(tx, mine.token, theirs.token, bound(ROBOT, Role.METER))
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), kit.now_us))
    watcher = await watching(kit, mine.shown, theirs.shown, Certificate(OTHER_URI))
    await told(watcher)
    await give(kit, bound(STAFF, Role.METER))
    await change(kit, members=[STAFF])
    opened = await told(watcher)
    assert list(opened) == [mine.shown]
    assert opened[mine.shown].rights == Rights((Right(Role.METER, ACME),))
    await give(kit, bound(certificate_member(OTHER_URI), Role.METER))
    await change(kit, members=[certificate_member(OTHER_URI)])
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {Certificate(OTHER_URI): VALID}
    async with kit.database.writing() as tx:
        await tx.access_tokens.save(replace(theirs.token, disabled=True))
    await change(kit, made=[theirs])
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {theirs.shown: REVOKED}
    async with kit.database.writing() as tx:
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), kit.now_us, disabled=True))
    await change(kit, members=[ALICE])
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {mine.shown: REVOKED}
    async with kit.database.writing() as tx:
        await tx.principals.save(Principal(ALICE, "Alice", (), kit.now_us))
    await change(kit, members=[ALICE])
    await told(watcher)
    await change(kit, members=[STAFF])
    assert await told(watcher) == {}


async def test_a_change_between_look_up_and_answer_is_not_lost(kit: Kit) -> None:
    """A token that is disabled after it was read, and before the answer is out, is told of as disabled."""
    made = made_token(ROBOT)
    async with kit.database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))

    async def disable() -> None:
        async with kit.database.writing() as tx:
            await tx.principals.save(Principal(ROBOT, disabled=True))
        await change(kit, members=[ROBOT])

    kit.feed._credentials = Interrupted(kit.database, kit.clock, CREDENTIALS)
    kit.feed._credentials.after_look_up = disable
    watcher = await watching(kit, made.shown)
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {made.shown: REVOKED}
    async with kit.database.writing() as tx:
        await tx.principals.save(Principal(ROBOT))
    await change(kit, members=[ROBOT])
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {made.shown: VALID}


async def test_another_process_is_heard_of_by_polling(kit: Kit) -> None:
    """What one replica changes, the nodes of another one are told."""
    made, other = made_token(ROBOT), Kit(kit.database, credentials=CREDENTIALS)
    async with kit.database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    watcher = await watching(other, made.shown)
    await told(watcher)
    async with kit.database.writing() as tx:
        await tx.access_tokens.save(replace(made.token, delete_us=kit.now_us))
    await change(kit, made=[made])
    await other.feed.poll()
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {made.shown: REVOKED}


async def test_a_made_up_token_costs_no_look_up(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node learns at once that it opens nothing, and no change of anything has it looked up either."""
    watcher, guess, feed = await watching(kit), ShownToken("a" * 24, b"guess"), kit.feed._credentials
    monkeypatch.setattr(feed, "_database", None)
    await kit.feed.subscribe_credentials(watcher, [guess])
    assert await told(watcher) == {guess: ResolvedCredential(UNKNOWN)}
    await change(kit, members=[ROBOT])
    assert await told(watcher) == {}
    kit.feed.unsubscribe_credentials(watcher, [guess])
    assert (feed.is_idle, watcher.credentials.count) == (True, 0)


async def test_what_nobody_follows_is_forgotten(kit: Kit) -> None:
    """When streams end, or no longer follow a credential, nothing of it is kept, and nothing is told of it."""
    made = made_token(ROBOT)
    async with kit.database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    first, second = await watching(kit, made.shown), await watching(kit, made.shown, node="node-b")
    await told(first)
    kit.feed.unsubscribe_credentials(first, [made.shown])
    await change(kit, members=[ROBOT])
    assert await told(first) == {}
    kit.feed.close(first)
    assert not kit.feed._credentials.is_idle
    kit.feed.close(second)
    feed = kit.feed._credentials
    assert (feed._subjects, feed._versions, feed._unresolved, feed._concerned, feed._opens) == ({}, {}, {}, {}, {})


async def test_a_stream_follows_so_many_at_most(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, by the field's name."""
    monkeypatch.setattr(credential_feed, "FOLLOWED_MAX", 2)
    watcher = await watching(kit, Certificate("a"), Certificate("b"))
    with pytest.raises(InvalidRequestError, match="subscribe_credentials"):
        await kit.feed.subscribe_credentials(watcher, [Certificate("c")])


async def test_a_version_is_reached_when_all_credentials_were_sent(kit: Kit) -> None:
    """Where a message cannot hold all of them, only the last one carries the version."""
    guesses = [ShownToken("a" * 24, number.to_bytes(32, "big")) for number in range(CREDENTIALS_PER_UPDATE + 1)]
    await kit.account()
    watcher = await watching(kit, *guesses)
    first, second = await read(watcher), await read(watcher)
    assert (len(first.credentials), len(second.credentials)) == (CREDENTIALS_PER_UPDATE, 1)
    assert first.version < second.version


async def test_a_credential_that_cannot_be_read_opens_nothing(kit: Kit) -> None:
    """The others are told as ever; mended, it is told with the next change of anybody's access."""
    spoilt, whole = made_token(ROBOT, 1), made_token(ALICE, 2)
    async with kit.database.writing() as tx:
        await store(tx, spoilt.token, whole.token, bound(ROBOT, Role.METER), bound(ALICE, Role.METER))

    async def set_role(role: str) -> None:
        async with kit.database._engine.begin() as connection:
            await connection.execute(
                text("UPDATE bindings SET role = :role WHERE member = :member"), {"role": role, "member": ROBOT}
            )

    await set_role("NONSENSE")
    watcher = await watching(kit, spoilt.shown, whole.shown)
    opened = await told(watcher)
    assert (opened[spoilt.shown].state, opened[whole.shown].state) == (UNKNOWN, VALID)
    await set_role("METER")
    await change(kit, members=["person:somebody#else"])
    assert {one: opens.state for one, opens in (await told(watcher)).items()} == {spoilt.shown: VALID}


async def test_many_are_resolved_as_each_by_itself(kit: Kit) -> None:
    """Of every kind and state, in whatever company."""
    now_us, day_us = kit.now_us, 86_400_000_000
    robot, alice = made_token(ROBOT, 1, create_us=now_us), made_token(ALICE, 2, create_us=now_us)
    narrow = made_token(ALICE, 3)
    expired, dead, old = made_token(ROBOT, 4), made_token(ROBOT, 5), made_token(ROBOT, 6)
    rotated = with_secret(old, 7, day_us, now_us)
    async with kit.database.writing() as tx:
        await store(
            tx,
            robot.token,
            alice.token,
            replace(narrow.token, narrowing=Narrowing(Role.METER, Scope("acme"))),
            replace(expired.token, expire_us=now_us),
            replace(dead.token, disabled=True),
            rotated.token,
            bound(ROBOT, Role.METER),
            bound(STAFF, Role.OWNER),
            bound(ALICE, Role.OPERATOR, PLATFORM),
            bound(certificate_member(OTHER_URI), Role.METER),
        )
        await tx.principals.save(Principal(ALICE, "Alice", (STAFF,), now_us))
    shown: list[Shown] = [one.shown for one in (robot, alice, narrow, expired, dead, old, rotated)]
    shown += [ShownToken(robot.token.token_id, b"x" * 32), ShownToken("a" * 24, b"x" * 32), robot.shown]
    shown += [Certificate(METER_URI), Certificate(OTHER_URI), Certificate("urn:none")]
    async with kit.database.reading() as tx:
        each = [await CREDENTIALS.resolve(tx, one, now_us) for one in shown]
        assert await resolve_all(tx, CREDENTIALS, shown, now_us) == each
        assert await resolve_all(tx, Credentials(), shown[:1], now_us) == [await Credentials().resolve(tx, shown[0], 1)]
    assert {one.state for one in each} == set(CredentialState)


async def test_the_end_is_told_as_a_length_of_time(kit: Kit) -> None:
    """From when the message leaves, however long it has waited; rights come as they are, and a secret never does."""
    made = made_token(ROBOT)
    narrowed = replace(made.token, narrowing=Narrowing(Role.METER), expire_us=kit.now_us + 60_000_000)
    node = bound(ROBOT, Role.NODE, PLATFORM, node_names=["a", "b*"])
    async with kit.database.writing() as tx:
        await store(tx, narrowed, bound(ROBOT, Role.METER), node)
    watcher = await watching(kit, made.shown)
    update = await read(watcher)
    (message,) = encode_update(update, 0, kit.now_us + 20_000_000).credentials
    token = pb.TokenProof(token_id=made.token.token_id, token_sha256=made.shown.sha256)
    assert message.credential == pb.Credential(token=token)
    assert (message.state, message.member) == (pb.CREDENTIAL_STATE_VALID, ROBOT)
    assert (message.valid_for.seconds, message.version) == (40, update.credentials[0].version)
    meter = role_pb2.ROLE_METER
    assert sorted(message.rights, key=lambda right: right.scope) == [
        role_pb2.Right(role=meter, scope="accounts/acme", narrowed_role=meter),
        role_pb2.Right(role=role_pb2.ROLE_NODE, scope="platform", node_names=["a", "b*"], narrowed_role=meter),
    ]
    (late,) = encode_update(update, 0, kit.now_us + 99_000_000).credentials
    assert (late.HasField("valid_for"), late.valid_for.seconds) == (True, 0)


async def test_a_token_that_nodes_follow_is_in_use(kit: Kit) -> None:
    """It counts as used when it is asked about, and on each day on which a node still follows it; not on later ones."""
    made, used = made_token(ROBOT), list[str]()
    async with kit.database.writing() as tx:
        await store(tx, made.token, bound(ROBOT, Role.METER))
    kit.feed._credentials = CredentialFeed(
        kit.database, kit.clock, CREDENTIALS, lambda opens: used.append(opens.access_token)
    )
    watcher = await watching(kit, made.shown, ShownToken("a" * 24, b"x" * 32))
    await kit.feed.poll()
    assert used == [made.token.name]
    kit.clock.advance(86_400)
    await kit.feed.poll()
    await kit.feed.poll()
    assert used == [made.token.name] * 2
    kit.feed.close(watcher)
    kit.clock.advance(86_400)
    await kit.feed.poll()
    assert used == [made.token.name] * 2
