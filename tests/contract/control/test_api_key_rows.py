"""API keys as rows: found by their secrets, listed, taken once, forgotten when they are old."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.api_key import ApiKey, KeyScope
from control_service.storage.database import MIGRATIONS, SqlDatabase
from control_service.usecases.key_ports import KeyFilter, SecretTakenError
from control_service.usecases.resolve_api_key import resolve_secrets
from control_service.usecases.upkeep.retention import KEYS_KEPT_US
from tallygate._access.rights import SEES_ALL, Sight
from tallygate._server.database.engine import create_engine
from tests.harness.control.access import ALICE
from tests.harness.control.api_keys import KEY_SEAL, api_key, put, rotate, save, secret_of
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.query_plans import recorded, scans
from tests.harness.migrated import migrated_url


def sealed(text: str) -> bytes:
    return KEY_SEAL.hash_of_text(text)


async def ids(
    database: SqlDatabase, wanted: KeyFilter, after: tuple[str, str] = ("", ""), limit: int = 10
) -> list[str]:
    async with database.reading() as tx:
        return [f"{key.account_id}/{key.key_id}" for key in await tx.api_keys.page(wanted, after, limit)]


async def known(database: SqlDatabase, *texts: str) -> dict[str, tuple[str, int | None]]:
    """Of each text that is known, whose secret it is and when that ends."""
    async with database.reading() as tx:
        found = await tx.api_keys.by_secret([sealed(text) for text in texts])
    return {
        text: (found[sealed(text)].key.key_id, found[sealed(text)].secret.expire_us)
        for text in texts
        if sealed(text) in found
    }


async def test_a_key_is_found_as_it_was_stored(database: SqlDatabase) -> None:
    """By its name and by its secret, with everything that it has."""
    key = api_key(
        display_name="First",
        team="search",
        owner=ALICE,
        scope=KeyScope(("a", "b"), ("llama",)),
        routes={"llama": "a"},
        networks=("192.0.2.0/24", "::/0"),
        expire_us=7,
        temporary=True,
        disabled=True,
        secret_id="id",
        creator=ALICE,
        create_us=1,
        update_us=2,
    )
    await put(database, key)
    async with database.reading() as tx:
        stored = await tx.api_keys.find("acme", "first")
        assert stored == replace(key, config_version=1)
        (found,) = (await tx.api_keys.by_secret([sealed("first"), sealed("other")])).values()
        assert (found.key, found.secret) == (stored, secret_of(key))
        assert await tx.api_keys.find("acme", "other") is None
        assert await tx.api_keys.used_ids("acme", ["first", "other"]) == {"first"}
        assert await tx.api_keys.used_ids("bolt", ["first"]) == frozenset()
        assert await tx.api_keys.team_of("acme", "first") == "search"
        assert await tx.api_keys.team_of("bolt", "first") == ""
        assert await tx.api_keys.in_team("acme", "search") == "first"
        assert await tx.api_keys.in_team("acme", "chat") is None
        assert (await tx.api_keys.any_in("acme"), await tx.api_keys.any_in("bolt")) == (True, False)
    assert await known(database, "other") == {}


async def test_a_secret_is_taken_once_in_the_platform(database: SqlDatabase) -> None:
    """Also in another account; nothing of what comes with a taken one is stored."""
    await put(database, api_key())
    other = api_key("other", account_id="bolt")
    with pytest.raises(SecretTakenError):
        async with database.writing() as tx:
            await tx.api_keys.add([other], [secret_of(other, "first")])
    with pytest.raises(SecretTakenError):
        async with database.writing() as tx:
            await tx.api_keys.replace_secret(api_key(), secret_of(api_key()), 1, 1)
    async with database.reading() as tx:
        assert await tx.api_keys.find("bolt", "other") is None
        assert await tx.api_keys.taken([sealed("first"), sealed("free")]) == {sealed("first")}


async def test_a_rotation_ends_the_secrets_before(database: SqlDatabase) -> None:
    """The one of now at its time, those before it at once; an end that was earlier stays."""
    await put(database, api_key())
    await rotate(database, api_key(), "second", 100, 10)
    assert await known(database, "first", "second") == {"first": ("first", 100), "second": ("first", None)}
    await rotate(database, api_key(), "third", 200, 20)
    await rotate(database, api_key(), "fourth", 30, 30)
    ends = {text: end for text, (_, end) in (await known(database, "first", "second", "third", "fourth")).items()}
    assert ends == {"first": 20, "second": 30, "third": 30, "fourth": None}


async def test_lists_show_what_is_wanted_and_seen(database: SqlDatabase) -> None:
    """In order of names, page by page, however a caller's sight is narrowed."""
    await put(
        database,
        *(api_key(one, team=team) for one, team in (("a", ""), ("b", "search"), ("c", "chat"), ("d", "search"))),
        api_key("e", account_id="bolt", team="search"),
        api_key("f", account_id="bolt"),
    )
    await save(database, api_key("d", team="search", delete_us=1))
    every = ["acme/a", "acme/b", "acme/c", "acme/d", "bolt/e", "bolt/f"]
    assert await ids(database, KeyFilter(show_deleted=True)) == every
    assert await ids(database, KeyFilter()) == [one for one in every if one != "acme/d"]
    assert await ids(database, KeyFilter(show_deleted=True), limit=2) == every[:2]
    assert await ids(database, KeyFilter(show_deleted=True), ("acme", "b")) == every[2:]
    assert await ids(database, KeyFilter("acme")) == ["acme/a", "acme/b", "acme/c"]
    assert await ids(database, KeyFilter("acme", "search", show_deleted=True)) == ["acme/b", "acme/d"]
    assert await ids(database, KeyFilter("acme", "search")) == ["acme/b"]
    assert await ids(database, KeyFilter(team="search")) == ["acme/b", "bolt/e"]
    teams = Sight(teams=frozenset({("acme", "search"), ("acme", "chat"), ("bolt", "search")}))
    assert await ids(database, KeyFilter(sight=teams)) == ["acme/b", "acme/c", "bolt/e"]
    assert await ids(database, KeyFilter(sight=teams), limit=2) == ["acme/b", "acme/c"]
    assert await ids(database, KeyFilter(sight=teams), ("acme", "b")) == ["acme/c", "bolt/e"]
    assert await ids(database, KeyFilter("acme", sight=teams)) == ["acme/b", "acme/c"]
    assert await ids(database, KeyFilter("acme", "chat", sight=teams)) == ["acme/c"]
    assert await ids(database, KeyFilter(team="search", sight=teams)) == ["acme/b", "bolt/e"]
    assert await ids(database, KeyFilter("bolt", "chat", sight=teams)) == []
    both = Sight(account_ids=frozenset({"bolt"}), teams=frozenset({("acme", "chat")}))
    assert await ids(database, KeyFilter(sight=both)) == ["acme/c", "bolt/e", "bolt/f"]
    assert await ids(database, KeyFilter("acme", sight=both)) == ["acme/c"]
    assert await ids(database, KeyFilter("bolt", sight=both)) == ["bolt/e", "bolt/f"]
    assert await ids(database, KeyFilter(sight=Sight())) == []


async def test_changes_name_all_secrets_of_a_key(database: SqlDatabase) -> None:
    """Of those that changed since a version."""
    await put(database, api_key(), api_key("other"))
    await rotate(database, api_key(), "second", 100, 10)
    async with database.reading() as tx:
        assert set(await tx.api_keys.changed(0)) == {sealed(text) for text in ("first", "second", "other")}
        assert set(await tx.api_keys.changed(1)) == {sealed("first"), sealed("second")}
        assert await tx.api_keys.changed(2) == []


async def test_what_has_ended_is_known_for_a_week(kit: Kit) -> None:
    """Secrets that were rotated out, of deleted keys, of temporary ones; the name is never free again."""
    database, now_us = kit.database, kit.now_us
    keys = [api_key(one) for one in ("rotated", "deleted", "lasting")]
    await put(database, *keys, api_key("brief", expire_us=now_us + 60, temporary=True), api_key("late", expire_us=1))
    await rotate(database, keys[0], "second", now_us + 10, now_us)
    await save(database, replace(keys[1], delete_us=now_us))
    brief = api_key("brief", expire_us=now_us + 60, temporary=True)
    await rotate(database, brief, "brief-2", now_us + 1, now_us)
    texts = ("rotated", "second", "deleted", "lasting", "brief", "brief-2", "late")

    async def purged(age_us: int) -> set[str]:
        async with database.writing() as tx:
            await tx.api_keys.purge(now_us + age_us, 100)
        return set(texts) - set(await known(database, *texts))

    assert await purged(0) == set()
    assert await purged(1) == {"deleted"}
    assert await purged(11) == {"deleted", "brief", "rotated"}
    async with database.reading() as tx:
        assert (await tx.api_keys.find("acme", "brief")) is not None
    assert await purged(61) == {"deleted", "brief", "rotated", "brief-2"}
    async with database.reading() as tx:
        found = await tx.api_keys.find("acme", "brief")
        assert found is not None
        assert found.delete_us == now_us + 60
        assert await tx.api_keys.used_ids("acme", ["deleted", "brief"]) == {"deleted", "brief"}


async def test_the_sweeper_forgets_old_secrets(kit: Kit) -> None:
    """After their time, and not before."""
    await put(kit.database, api_key(delete_us=kit.now_us))
    await save(kit.database, api_key(delete_us=kit.now_us))
    kit.clock.advance(KEYS_KEPT_US // 10**6)
    await kit.sweeper.tick()
    assert await known(kit.database, "first")
    kit.clock.advance(61)
    await kit.sweeper.tick()
    assert not await known(kit.database, "first")


async def test_of_a_temporary_key_that_has_ended_little_is_left(kit: Kit) -> None:
    """What usage, limits and leases name it by, and whose team reads it: not what it was for. Others keep all."""
    end_us = kit.now_us + 60 * 10**6
    facts = {"display_name": "Demo", "team": "search", "creator": ALICE, "networks": ("192.0.2.0/24",)}
    scoped = {"scope": KeyScope(("a", "b"), ("llama",)), "routes": {"llama": "a"}, "expire_us": end_us}
    brief, lasting = (api_key(one, temporary=one == "brief", **facts, **scoped) for one in ("brief", "lasting"))
    await put(kit.database, brief, lasting)

    async def stored(key_id: str) -> ApiKey | None:
        async with kit.database.reading() as tx:
            found = await tx.api_keys.find("acme", key_id)
        return None if found is None else replace(found, config_version=0)

    kit.clock.advance(60 + KEYS_KEPT_US // 10**6)
    await kit.sweeper.tick()
    assert await stored("brief") == brief
    kit.clock.advance(61)
    await kit.sweeper.tick()

    left = api_key("brief", team="search", expire_us=end_us, temporary=True, delete_us=end_us)
    assert await stored("brief") == replace(left, scope=KeyScope((), ()))
    assert await stored("lasting") == lasting


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """SQLite says in one line how it finds what is asked for."""
    engine = create_engine(migrated_url(tmp_path / "plans.sqlite3", MIGRATIONS))
    yield engine
    await engine.dispose()


async def test_nothing_that_nodes_or_callers_ask_scans_the_keys(sqlite: AsyncEngine) -> None:
    """However many there are: neither a look-up, nor what changed, nor a page, nor whether a secret is taken."""
    database = SqlDatabase(sqlite)
    await put(database, api_key(team="search", owner=ALICE))
    narrow = Sight(teams=frozenset({("acme", "search"), ("acme", "chat")}))
    with recorded(sqlite) as statements:
        async with database.writing() as tx:
            await resolve_secrets(tx, [sealed("first"), sealed("other")], 1)
            await tx.api_keys.changed(1)
            await tx.api_keys.taken([sealed("first")])
            await tx.api_keys.used_ids("acme", ["first"])
            await tx.api_keys.team_of("acme", "first")
            await tx.api_keys.in_team("acme", "search")
            await tx.api_keys.any_in("acme")
            await tx.api_keys.purge(1, 10)
            await tx.api_keys.save(api_key(team="search", delete_us=1))
            await tx.api_keys.replace_secret(api_key(), secret_of(api_key(), "second"), 1, 1)
            for wanted in (
                KeyFilter("acme"),
                KeyFilter("acme", "search"),
                KeyFilter(sight=SEES_ALL),
                KeyFilter("acme", sight=narrow),
                KeyFilter(sight=narrow),
            ):
                await tx.api_keys.page(wanted, ("acme", "a"), 10)
    assert len(statements) > 15
    assert await scans(sqlite, statements) == []


async def test_a_page_of_one_team_reads_the_teams_keys_only(sqlite: AsyncEngine) -> None:
    """An account's other keys cost nothing."""
    database = SqlDatabase(sqlite)
    with recorded(sqlite) as statements:
        async with database.reading() as tx:
            await tx.api_keys.page(KeyFilter("acme", "search"), ("", ""), 10)
    (statement, parameters) = next(one for one in statements if "FROM api_keys" in one[0])
    async with sqlite.connect() as connection:
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        details = [row.detail for row in plan]
    assert [
        detail for detail in details if "ix_api_keys_listed_by_team (account_id=? AND team=? AND key_id>?)" in detail
    ]


def test_no_text_of_a_key_shows_a_hash() -> None:
    """Of what is logged by mistake."""
    key: ApiKey = api_key()
    assert "secret_hash" not in repr(secret_of(key))
