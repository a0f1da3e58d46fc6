"""The sweeper goes on, whatever cannot be dealt with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from control_service.domain.status import Status
from control_service.storage.database import SqlDatabase
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.fault_isolation import SET_ASIDE_NS
from control_service.usecases.service_status import catch_up
from control_service.usecases.upkeep import sweeper
from control_service.usecases.upkeep.sweeper import Sweeper
from tests.harness.control.fleet_harness import Kit
from tests.harness.patience import PATIENCE_S


async def test_one_thing_that_fails_does_not_stop_the_others(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that cannot be ended is set aside, the next one ends in the same tick, and it is tried again later."""
    bad = await kit.service("bad", trial_tokens=1_000, trial_for_us=1_000_000)
    good = await kit.service("good", trial_tokens=1_000, trial_for_us=2_000_000)
    tried: list[str] = []

    async def fragile(tx, account, service, now_us):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as catch_up
        tried.append(service.service_id)
        if service.service_id == "bad" and tried.count("bad") == 1:
            raise AssertionError
        return await catch_up(tx, account, service, now_us)

    monkeypatch.setattr(sweeper, "catch_up", fragile)
    kit.clock.advance(2)
    await kit.sweeper.tick()
    await kit.sweeper.tick()
    assert tried == ["bad", "good"]
    assert (await kit.read_service(good)).told_status is Status.STOPPED
    kit.clock.advance(us=SET_ASIDE_NS // 1_000)
    await kit.sweeper.tick()
    assert (await kit.read_service(bad)).told_status is Status.STOPPED


async def test_a_tick_that_fails_is_not_the_last(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a tick meets, the next one comes."""
    monkeypatch.setattr(sweeper, "TICK_S", 0)
    read_twice = asyncio.Event()

    class Fragile(SqlDatabase):
        reads = 0

        @asynccontextmanager
        async def reading(self) -> AsyncIterator[SqlTransaction]:
            self.reads += 1
            if self.reads == 1:
                raise AssertionError
            read_twice.set()
            async with kit.database.reading() as tx:
                yield tx

    fragile = Fragile(kit.database._engine)
    task = asyncio.create_task(
        Sweeper(fragile, kit.clock, kit.changes, kit.memory.liveness, kit.activation, pulse=kit.pulse).run()
    )
    async with asyncio.timeout(PATIENCE_S):
        await read_twice.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
