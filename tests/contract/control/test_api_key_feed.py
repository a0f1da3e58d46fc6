"""The feed of API keys, without a wire: what nodes follow by hash, and what each opens after every change."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from typing_extensions import override

from control_service.api.fleet_codec import encode_update
from control_service.domain.api_key import KeyScope, KeyState
from control_service.domain.errors import InvalidRequestError
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, Place, PlaceKind
from control_service.domain.principal import SIGN_IN_LASTS_US, Principal
from control_service.storage.database import SqlDatabase
from control_service.usecases.access_changes import note_change, remove_bindings
from control_service.usecases.fleet import api_key_feed
from control_service.usecases.fleet.api_key_feed import ApiKeyFeed
from control_service.usecases.fleet.key_configs import ApiKeyConfig
from control_service.usecases.fleet.watcher import API_KEYS_PER_UPDATE, Watcher
from control_service.usecases.limit_changes import note_limits
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope
from tallygate.control.v1 import api_key_config_pb2 as pb
from tests.harness.control.access import ALICE, ROBOT, SEAL, STAFF, bound, store
from tests.harness.control.api_keys import KEY_SEAL, api_key, put, rotate, save, sha_of
from tests.harness.control.fleet_harness import Kit, read

BUDGET = Budget("b", "uid-b", Place(PlaceKind.ACCOUNT, "acme"), BudgetUnit.TOKENS, 1_000, BudgetPeriod.DAY)
VALID, UNKNOWN, EXPIRED, REVOKED = KeyState.VALID, KeyState.UNKNOWN, KeyState.EXPIRED, KeyState.REVOKED


@pytest.fixture
def kit(database: SqlDatabase) -> Kit:
    return Kit(database, credentials=Credentials(SEAL))


async def watching(kit: Kit, *texts: str, node: str = "node-a") -> Watcher:
    """A watcher that follows the keys with these texts."""
    await kit.registration.register(node, 1, "metering-database")
    await kit.feed.poll()
    watcher = kit.feed.open(node, 1)
    await kit.feed.subscribe_keys(watcher, [sha_of(one) for one in texts], ())
    return watcher


async def told(watcher: Watcher, *texts: str) -> dict[str, KeyState]:
    """What the next message says of the keys with these texts; nothing of others is in it."""
    configs = (await read(watcher)).api_keys
    names = {sha_of(one): one for one in texts}
    return {names[config.sha256]: config.opens.state for config in configs}


async def test_a_follower_is_told_what_a_key_opens(kit: Kit) -> None:
    """Once it has asked; of one that nobody has, too; and then nothing more until something changes."""
    await put(kit.database, api_key())
    watcher = await watching(kit, "first", "guess")
    assert await told(watcher, "first", "guess") == {"first": VALID, "guess": UNKNOWN}
    await put(kit.database, api_key("other"))
    await kit.feed.poll()
    assert await told(watcher) == {}


async def test_each_change_of_a_key_reaches_its_followers(kit: Kit) -> None:
    """Creation, to whoever asked for its hash before; settings, a rotation, disabling, an end, deletion."""
    watcher = await watching(kit, "first", "second")
    assert await told(watcher, "first", "second") == {"first": UNKNOWN, "second": UNKNOWN}

    async def after_poll() -> dict[str, KeyState]:
        await kit.feed.poll()
        return await told(watcher, "first", "second")

    key = api_key()
    await put(kit.database, key)
    assert await after_poll() == {"first": VALID}
    await save(kit.database, replace(key, networks=("192.0.2.0/24",)))
    assert await after_poll() == {"first": VALID}
    await rotate(kit.database, key, "second", kit.now_us + 60, kit.now_us)
    assert await after_poll() == {"first": VALID, "second": VALID}
    await rotate(kit.database, key, "third", kit.now_us, kit.now_us)
    assert await after_poll() == {"first": REVOKED, "second": REVOKED}
    await put(kit.database, api_key("other"))
    assert await after_poll() == {}
    await save(kit.database, replace(key, expire_us=kit.now_us))
    await kit.feed.subscribe_keys(watcher, [sha_of("third")], ())
    await kit.feed.poll()
    assert (await told(watcher, "first", "second", "third"))["third"] is EXPIRED
    for changed, state in ((replace(key, disabled=True), REVOKED), (key, VALID), (replace(key, delete_us=1), REVOKED)):
        await save(kit.database, changed)
        await kit.feed.poll()
        assert (await told(watcher, "first", "second", "third"))["third"] is state


async def test_a_key_ends_with_its_owner_and_comes_back_with_it(kit: Kit) -> None:
    """With the last role in the account, a member's own or a group's, or as soon as the owner is disabled."""
    await put(kit.database, api_key(owner=ROBOT), api_key("hers", owner=ALICE), api_key("none"))
    elsewhere = [bound(ROBOT, Role.VIEWER, Scope("bolt")), bound(ALICE, Role.AUDITOR, PLATFORM)]
    mine, staff = bound(ROBOT, Role.TEAM_MEMBER, Scope("acme", "search")), bound(STAFF, Role.VIEWER)
    async with kit.database.writing() as tx:
        await store(tx, *elsewhere, mine, staff)
        await tx.principals.save(Principal(ALICE, groups=(STAFF,), last_sign_in_us=kit.now_us))
    watcher = await watching(kit, "first", "hers", "none")
    assert await told(watcher, "first", "hers", "none") == {"first": VALID, "hers": VALID, "none": VALID}

    async def after_poll() -> dict[str, KeyState]:
        await kit.feed.poll()
        return await told(watcher, "first", "hers", "none")

    async with kit.database.writing() as tx:
        await remove_bindings(tx, [mine])
    assert await after_poll() == {"first": REVOKED}
    async with kit.database.writing() as tx:
        await remove_bindings(tx, [staff])
    assert await after_poll() == {"hers": REVOKED}
    async with kit.database.writing() as tx:
        await store(tx, mine)
        await note_change(tx, members=(ROBOT,))
    assert await after_poll() == {"first": VALID}
    async with kit.database.writing() as tx:
        await tx.principals.save(Principal(ROBOT, disabled=True))
        await note_change(tx, members=(ROBOT,))
    assert await after_poll() == {"first": REVOKED}


async def test_an_owner_by_a_group_counts_as_long_as_the_group_does(kit: Kit) -> None:
    """For a while after the last sign-in; whoever has a role of their own needs no group."""
    await put(kit.database, api_key(owner=ALICE))
    async with kit.database.writing() as tx:
        await store(tx, bound(STAFF, Role.VIEWER))
        await tx.principals.save(Principal(ALICE, groups=(STAFF,), last_sign_in_us=kit.now_us))
    watcher = await watching(kit, "first")
    (config,) = (await read(watcher)).api_keys
    assert config.opens.expire_us == kit.now_us + SIGN_IN_LASTS_US
    kit.clock.advance(SIGN_IN_LASTS_US // 10**6)
    late = await watching(kit, "first", node="node-b")
    assert await told(late, "first") == {"first": REVOKED}
    async with kit.database.writing() as tx:
        await store(tx, bound(ALICE, Role.VIEWER))
        await note_change(tx, members=(ALICE,))
    await kit.feed.poll()
    (config,) = (await read(late)).api_keys
    assert (config.opens.state, config.opens.expire_us) == (VALID, None)


async def test_what_a_node_hears_of_a_key(kit: Kit) -> None:
    """All that it decides by, with the time left; of one that has ended whose it was, of an unknown one nothing."""
    key = api_key(
        team="search",
        scope=KeyScope(("chat",), ("llama",)),
        routes={"llama": "chat"},
        networks=("192.0.2.0/24",),
        expire_us=kit.now_us + 90_000_000,
    )
    await put(kit.database, key, api_key("all"), api_key("gone", team="search", disabled=True))
    await rotate(kit.database, key, "second", kit.now_us + 60_000_000, kit.now_us)
    watcher = await watching(kit, "second", "first", "all", "gone", "guess")
    update = await read(watcher)
    heard = {one.key_sha256: one for one in encode_update(update, 0, kit.now_us).api_keys}
    second = heard[sha_of("second")]
    assert (second.key, second.uid, second.team) == ("accounts/acme/keys/first", "uid-acme-first", "search")
    assert (second.state, second.valid_for.seconds) == (pb.API_KEY_STATE_VALID, 90)
    assert (second.all_services, list(second.services)) == (False, ["accounts/acme/services/chat"])
    assert (second.all_models, list(second.models)) == (False, ["models/llama"])
    assert [(one.model, one.service) for one in second.routes] == [("models/llama", "accounts/acme/services/chat")]
    assert list(second.networks) == ["192.0.2.0/24"]
    assert (heard[sha_of("first")].uid, heard[sha_of("first")].valid_for.seconds) == ("uid-acme-first", 60)
    every = heard[sha_of("all")]
    assert (every.all_services, every.all_models, every.HasField("valid_for")) == (True, True, False)
    gone = heard[sha_of("gone")]
    assert gone == pb.ApiKeyConfig(
        key_sha256=sha_of("gone"),
        state=pb.API_KEY_STATE_REVOKED,
        key="accounts/acme/keys/gone",
        uid="uid-acme-gone",
        team="search",
        version=gone.version,
    )
    guess = heard[sha_of("guess")]
    assert guess == pb.ApiKeyConfig(key_sha256=sha_of("guess"), state=pb.API_KEY_STATE_UNKNOWN, version=guess.version)


async def test_a_key_is_told_on_every_replica(kit: Kit) -> None:
    """Each finds changes in the database by itself."""
    other = Kit(kit.database, kit.clock, Credentials(SEAL))
    watchers = [await watching(kit, "first"), await watching(other, "first", node="node-b")]
    assert [await told(watcher, "first") for watcher in watchers] == [{"first": UNKNOWN}] * 2
    await put(kit.database, api_key())
    for feed, watcher in zip((kit.feed, other.feed), watchers, strict=True):
        await feed.poll()
        assert await told(watcher, "first") == {"first": VALID}


async def test_who_follows_no_longer_is_told_nothing(kit: Kit) -> None:
    """And nothing is remembered of keys that nobody follows."""
    await put(kit.database, api_key(owner=ROBOT))
    watcher, other = await watching(kit, "first", "guess"), await watching(kit, "first", node="node-b")
    assert await told(other, "first") == {"first": REVOKED}
    assert await told(watcher, "first", "guess")
    kit.feed.unsubscribe_keys(watcher, [sha_of("first"), sha_of("guess")], ())
    await save(kit.database, api_key())
    await kit.feed.poll()
    assert await told(watcher) == {}
    assert await told(other, "first") == {"first": VALID}
    kit.feed.close(other)
    feed = kit.feed._api_keys
    assert feed.is_idle
    assert [feed._by_sealed, feed._members, feed._concerned, feed._unresolved, feed._versions] == [{}] * 5


async def test_without_a_pepper_no_key_is_known(database: SqlDatabase) -> None:
    """And the node is told so, not left without an answer."""
    kit = Kit(database)
    await put(database, api_key())
    watcher = await watching(kit, "first")
    assert await told(watcher, "first") == {"first": UNKNOWN}


class Interrupted(ApiKeyFeed):
    """Something happens after its first look-up, before what was found is taken in."""

    after_look_up: Callable[[], Awaitable[None]] | None = None

    @override
    async def _look_up(self, hashes: list[bytes], version: int) -> list[ApiKeyConfig]:
        found = await super()._look_up(hashes, version)
        happens, self.after_look_up = self.after_look_up, None
        if happens is not None:
            await happens()
        return found


async def test_a_change_between_look_up_and_answer_is_not_lost(kit: Kit) -> None:
    """A key that is disabled after it was read, and before the answer is out, is told of as disabled."""
    feed = Interrupted(kit.database, kit.clock, kit.feed._limits, KEY_SEAL)
    kit.feed._api_keys = feed
    await put(kit.database, api_key())
    watcher = await watching(kit)

    async def disable() -> None:
        await save(kit.database, api_key(disabled=True))
        await kit.feed.poll()

    feed.after_look_up = disable
    await kit.feed.subscribe_keys(watcher, [sha_of("first")], ())
    assert await told(watcher, "first") == {"first": REVOKED}


async def test_a_key_whose_row_cannot_be_read_opens_nothing(kit: Kit) -> None:
    """Others are told of as ever; when it can be read again, so is that one."""
    await put(kit.database, api_key(), api_key("other"))

    async def routes(written: str) -> None:
        async with kit.database.writing() as tx:
            await tx._connection.execute(  # as a hand in the database does
                text("UPDATE api_keys SET routes = :routes WHERE key_id = 'first'"), {"routes": written}
            )

    await routes("{")
    watcher = await watching(kit, "first", "other")
    assert await told(watcher, "first", "other") == {"first": UNKNOWN, "other": VALID}
    await routes("{}")
    await put(kit.database, api_key("third"))
    await kit.feed.poll()
    assert await told(watcher, "first", "other") == {"first": VALID}


async def test_a_stream_follows_so_many_keys_and_no_more(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends; what is sent in one message is bounded as well."""
    many = [f"guess-{number}" for number in range(API_KEYS_PER_UPDATE + 1)]
    monkeypatch.setattr(api_key_feed, "FOLLOWED_MAX", len(many))
    watcher = await watching(kit, *many)
    assert [len(await told(watcher, *many)) for _ in range(2)] == [API_KEYS_PER_UPDATE, 1]
    with pytest.raises(InvalidRequestError, match="subscribe_api_keys"):
        await kit.feed.subscribe_keys(watcher, [sha_of("one more")], ())


async def put_budget(kit: Kit) -> None:
    """A budget of the account."""
    async with kit.database.writing() as tx:
        await tx.budgets.add(BUDGET)


async def put_zone(kit: Kit, name: str) -> None:
    """The budget's zone, as a hand in the database writes it: nobody can read the limits where there is none of it."""
    async with kit.database.writing() as tx:
        await tx._connection.execute(text("UPDATE budgets SET time_zone = :zone"), {"zone": name})
        await note_limits(tx, BUDGET.place.subject)


async def test_a_key_waits_for_the_limits_of_its_account(kit: Kit) -> None:
    """Limits come with or before it; while they cannot be read nobody is told of the key, since all would pass."""
    await put(kit.database, api_key())
    await put_budget(kit)
    await put_zone(kit, "Nowhere/Land")
    watcher = await watching(kit, "first")
    assert await told(watcher) == {}
    await put_zone(kit, "UTC")
    await kit.feed.poll()
    async with kit.database.writing() as tx:
        await note_change(tx, members=("person:https://issuer.example#nobody",))
    await kit.feed.poll()
    update = await read(watcher)
    assert [config.subject.account_id for config in update.limits] == ["acme"]
    assert [config.opens.state for config in update.api_keys] == [VALID]


async def test_the_end_of_a_key_does_not_wait_for_limits(kit: Kit) -> None:
    """What opens nothing needs none: limits that nobody can read keep no leaked key alive."""
    key = api_key()
    await put(kit.database, key)
    await put_budget(kit)
    watcher = await watching(kit, "first")
    assert await told(watcher, "first") == {"first": VALID}
    await put_zone(kit, "Nowhere/Land")
    await kit.feed.poll()

    await save(kit.database, replace(key, disabled=True))
    await kit.feed.poll()

    assert await told(watcher, "first") == {"first": REVOKED}
