"""The keys of page tokens, as replicas share them."""

import itertools

from control_service.storage.database import SqlDatabase
from control_service.usecases.upkeep.page_keys import DAY_US, PERIOD_S, PageKeyUpkeep
from tallygate._server.clock import ManualClock

DAY_S = DAY_US // 1_000_000


async def numbers(database: SqlDatabase) -> list[int]:
    async with database.reading() as tx:
        return [key.number for key in await tx.page_keys.all()]


async def test_replicas_have_the_same_keys(database: SqlDatabase) -> None:
    """The first one enters a key, and the others take it; one comes each day, and two are kept."""
    clock, made = ManualClock(), itertools.count(1)
    replicas = [PageKeyUpkeep(database, clock, lambda size: bytes([next(made)]) * size) for _ in range(2)]
    for day in range(1, 5):
        for replica in replicas:
            await replica.read()
        assert await numbers(database) == [day - 1, day][-min(day, 2) :]
        first, second = (replica.keys.sign(b"content") for replica in replicas)
        assert first == second
        assert all(replica.keys.is_signed(b"content", first) for replica in replicas)
        clock.advance(DAY_S)


async def test_no_replica_signs_with_a_key_that_another_lacks(database: SqlDatabase) -> None:
    """A new key is read everywhere within the interval, and signs later than that."""
    clock = ManualClock()
    ahead, behind = (PageKeyUpkeep(database, clock, bytes) for _ in range(2))
    await ahead.read()
    await behind.read()
    clock.advance(DAY_S)
    await ahead.read()
    assert await numbers(database) == [1, 2]
    assert behind.keys.is_signed(b"content", ahead.keys.sign(b"content"))
    clock.advance(int(PERIOD_S))
    await behind.read()
    clock.advance(60)
    await ahead.read()
    assert ahead.keys.sign(b"content")[:4] == (2).to_bytes(4, "big")
    assert behind.keys.is_signed(b"content", ahead.keys.sign(b"content"))
