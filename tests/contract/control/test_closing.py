"""Retired models and closed accounts: what stops, what is refused, what goes on, and how it is taken back."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.actor import SYSTEM
from control_service.domain.errors import Reason, RefusedError, StorageUnavailableError
from control_service.domain.event import EventCause
from control_service.domain.status import Status, StopReason
from control_service.storage.database import SqlDatabase
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.fleet.config_lookup import lookup_configs
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.closing import set_retired
from control_service.usecases.people.services import delete_service
from control_service.usecases.upkeep import sweeper
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.people_harness import DEFAULT, Desk
from tests.harness.patience import until_found

RETIRED, CLOSED = frozenset({StopReason.MODEL_RETIRED}), frozenset({StopReason.ACCOUNT_CLOSED})


async def sweep(desk: Desk) -> None:
    await Kit(desk.database, desk.clock).sweeper.tick()


async def failed(_sweeper: sweeper.Sweeper, _key: tuple[str, str]) -> None:
    raise StorageUnavailableError


async def told_to_nodes(desk: Desk, service_id: str) -> tuple[Status, frozenset[StopReason]]:
    async with desk.database.reading() as tx:
        (config,) = await lookup_configs(tx, [f"accounts/acme/services/{service_id}"], version=1, now_us=desk.now_us)
    assert config.terms is not None
    return config.terms.status, config.terms.stop_reasons


async def refusals(desk: Desk) -> list[Reason]:
    """What starting, buying and creating are refused with."""
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: desk.claim("chat"),
        lambda: desk.enable(DEFAULT),
        lambda: desk.buy(service_id="chat"),
        lambda: desk.create("another"),
    ]
    reasons = []
    for attempt in attempts:
        with pytest.raises(RefusedError) as caught:
            await attempt()
        reasons.append(caught.value.reason)
    return reasons


async def test_a_retired_model_stops_its_services(desk: Desk) -> None:
    """Nodes hear of it at once, by the model's configuration; events follow by the sweeper, with the cause."""
    await desk.create()
    await desk.claim()
    await desk.fleet_knows()
    before = await desk.version()
    view = await desk.retire()
    assert (view.model.retire_us, view.model.config_version) == (desk.now_us, before + 1)
    assert await told_to_nodes(desk, "chat") == (Status.STOPPED, RETIRED)
    assert (await desk.show()).derived.stop_reasons == RETIRED
    await sweep(desk)
    retired = (await desk.events())[-1]
    assert (retired.origin.cause, retired.new_status, retired.new_stop_reasons) == (
        EventCause.MODEL_RETIRED,
        Status.STOPPED,
        RETIRED,
    )
    await desk.retire(retired=False)
    assert await told_to_nodes(desk, "chat") == (Status.RUNNING, frozenset())
    await sweep(desk)
    restored = (await desk.events())[-1]
    assert (restored.origin.cause, restored.new_status) == (EventCause.MODEL_RESTORED, Status.RUNNING)


async def test_a_closed_account_stops_its_services(desk: Desk) -> None:
    """Each with an event of the call that closed it; one that was suspended meanwhile stays so after reopening."""
    await desk.create()
    await desk.claim()
    await desk.fleet_knows()
    await desk.create("held")
    assert (await desk.close_account()).close_us == desk.now_us
    assert await told_to_nodes(desk, "chat") == (Status.STOPPED, CLOSED)
    closed = (await desk.events())[-1]
    assert (closed.origin.cause, closed.origin.actor.name) == (EventCause.ACCOUNT_CLOSED, "user")
    await desk.suspend("held")
    await desk.close_account(closed=False)
    assert (await desk.show()).derived.status is Status.RUNNING
    assert (await desk.show("held")).derived.stop_reasons == {StopReason.SUSPENDED}
    assert (await desk.events())[-1].origin.cause is EventCause.ACCOUNT_REOPENED


async def test_nothing_is_begun_on_a_retired_model(desk: Desk) -> None:
    """No trial, pay-as-you-go, reservation or service; all of it again once the model is restored."""
    await desk.publish_price()
    await desk.pay(1_000_000)
    await desk.create()
    await desk.retire()
    assert await refusals(desk) == [Reason.MODEL_RETIRED] * 4
    await desk.create_model("other")
    await desk.claim("default-other")
    await desk.retire(retired=False)
    await desk.claim("chat")
    await desk.enable(DEFAULT)
    await desk.buy()
    await desk.create("another")


async def test_nothing_is_begun_in_a_closed_account(desk: Desk) -> None:
    """Money goes in and out all the same, so that what is owed or left can be settled."""
    await desk.publish_price()
    await desk.pay(1_000_000)
    await desk.create()
    await desk.close_account()
    assert await refusals(desk) == [Reason.ACCOUNT_CLOSED] * 4
    await desk.pay(5)
    assert (await desk.pay(-1_000_005)).account.balance_nanos == 0


async def test_repeats_change_nothing(desk: Desk) -> None:
    """No event, no new configuration, no new time."""
    await desk.create()
    for switch in (desk.retire, desk.close_account):
        await switch()
        await sweep(desk)
        before = await switch()
        events, version = len(await desk.events()), await desk.version()
        desk.clock.advance(1)
        assert await switch() == before
        await sweep(desk)
        assert (len(await desk.events()), await desk.version()) == (events, version)


async def test_what_was_paid_for_runs_its_term(desk: Desk) -> None:
    """A reservation ends in its time, also of a closed account; and can be cancelled, and the service deleted."""
    await desk.pay(10_000)
    await desk.create()
    bought = await desk.buy()
    await desk.close_account()
    await desk.retire()
    shown = await desk.show()
    assert (shown.reserved.active, shown.derived.stop_reasons) == (True, CLOSED | RETIRED)
    desk.clock.advance(us=bought.reservation.end_us - desk.now_us)
    await sweep(desk)
    assert (await desk.events())[-1].origin.cause is EventCause.RESERVATION_ENDED
    assert (await desk.show()).derived.stop_reasons == CLOSED | RETIRED | {StopReason.RESERVATION_ENDED}


async def test_the_sweeper_works_through_a_models_services(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than one tick deals with; deleted ones are left as they are, and a price is announced meanwhile."""
    monkeypatch.setattr(sweeper, "BATCH_SIZE", 2)
    desk = Desk(database)
    await desk.create_account()
    await desk.create_model()
    names = ["a", "b", "c", "d", "e"]
    for name in (*names, "gone"):
        await desk.create(name)
    await desk.change(delete_service, "gone")
    await desk.publish_price(desk.now_us + 5_000_000)
    await desk.retire()
    for _ in range(4):
        await sweep(desk)
    async with database.reading() as tx:
        found = await tx.services.of_account("acme")
        due_us = (await tx.models.get("llama")).next_due_us
    assert [(one.service_id, one.told_stop_reasons) for one in found] == [(name, RETIRED) for name in names]
    assert await desk.events("gone") == []
    assert due_us == desk.now_us + 5_000_000


async def test_a_price_is_published_before_a_retirement_was_worked_through(desk: Desk) -> None:
    """What the services wait for stays due."""
    await desk.create()
    await desk.publish_price()
    await sweep(desk)
    await desk.retire()
    await desk.publish_price(desk.now_us + 5_000_000)
    await sweep(desk)
    assert [event.origin.cause for event in await desk.events()] == [EventCause.MODEL_RETIRED]


async def test_what_a_sweeper_left_behind_is_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may fail, or its process end, when nodes were told of a retirement and no service was updated."""
    await desk.create()
    kit = Kit(desk.database, desk.clock)
    await kit.sweeper.turn()
    for again, retired in (kit, True), (Kit(desk.database, desk.clock), False):
        await desk.retire(retired=retired)
        with monkeypatch.context() as patch:
            patch.setattr(sweeper.Sweeper, "_follow_model", failed)
            with pytest.raises(StorageUnavailableError):
                await kit.sweeper.turn()
        assert (await desk.show()).service.told_stop_reasons == (frozenset() if retired else RETIRED)
        await again.sweeper.turn()
    causes = [event.origin.cause for event in await desk.events()]
    assert causes == [EventCause.MODEL_RETIRED, EventCause.MODEL_RESTORED]


async def test_a_retirement_while_the_sweeper_is_at_the_model_is_worked_through(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although who is behind was read before it."""
    await desk.create()
    await desk.publish_price()
    lock, kit = SqlTransaction.lock_globals, Kit(desk.database, desk.clock)

    async def lock_after_a_retirement(tx: SqlTransaction) -> None:
        monkeypatch.setattr(SqlTransaction, "lock_globals", lock)
        await set_retired(tx, "llama", Act(desk.now_us, SYSTEM, str), retired=True)
        await lock(tx)

    monkeypatch.setattr(SqlTransaction, "lock_globals", lock_after_a_retirement)
    for _ in range(2):
        await kit.sweeper.tick()
    assert [event.origin.cause for event in await desk.events()] == [EventCause.MODEL_RETIRED]


@pytest.mark.parametrize("begin", [lambda desk: desk.create("late"), lambda desk: desk.claim(DEFAULT)])
async def test_nothing_is_begun_while_a_model_is_retired(
    desk: Desk, engine: AsyncEngine, begin: Callable[[Desk], Coroutine[None, None, object]]
) -> None:
    """What would store a service before the retirement is committed waits for it, and is refused then."""

    async def waits() -> bool:
        if engine.dialect.name == "sqlite":
            return True
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with engine.connect() as connection:
            return bool(await connection.scalar(text(waiting)))

    async with desk.database.writing() as tx:
        await tx.lock_globals()
        await set_retired(tx, "llama", Act(desk.now_us, SYSTEM, str), retired=True)
        beginning = asyncio.create_task(begin(desk))
        await until_found(waits)
    with pytest.raises(RefusedError, match="retired"):
        await beginning
