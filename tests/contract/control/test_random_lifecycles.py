"""Random lives of an account and its services: after every act, all that is kept agrees with all that follows."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from control_service.domain.account import OverduePolicy
from control_service.domain.errors import RefusedError, ResourceNotFoundError
from control_service.domain.reservation import OverflowPolicy
from control_service.domain.status import Status
from control_service.usecases.people.services import delete_service, get_service
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import catch_up
from tests.harness.control.people_harness import DEFAULT, RESERVED, RESERVED_NANOS, Desk

ACTS = 60
SERVICES = ("chat", "batch", DEFAULT)


def acts(desk: Desk, rng: random.Random) -> list[Callable[[str], Awaitable[Any]]]:
    """What may happen next, to one service or to the account, whether it is allowed or not."""

    async def wait(_: str) -> None:
        desk.clock.advance(rng.choice((1, 30, 50_000)))

    return [
        desk.claim,
        desk.enable,
        desk.enable,
        desk.disable,
        lambda service_id: desk.suspend(service_id, suspended=rng.random() < 0.3),
        lambda service_id: desk.buy(replace(RESERVED, overflow_policy=rng.choice(list(OverflowPolicy))), service_id),
        lambda service_id: desk.cancel(rng.randint(1, 3), service_id),
        lambda _: desk.pay(rng.choice((RESERVED_NANOS, 4 * RESERVED_NANOS, -RESERVED_NANOS, -6 * RESERVED_NANOS))),
        lambda _: desk.update_account(policy=rng.choice(list(OverduePolicy))),
        lambda _: desk.update_account(credit=rng.choice((0, RESERVED_NANOS))),
        lambda service_id: desk.change(delete_service, service_id) if rng.random() < 0.1 else wait(service_id),
        wait,
    ]


async def check(tx: Transaction, service_id: str, now_us: int) -> None:
    """The stored status is the one that is derived again, and the events lead up to it."""
    view = await get_service(tx, "acme", service_id, now_us)
    events = await tx.events.page("acme", service_id, 0, 1_000)
    service = view.service
    assert service.recorded_status == view.derived
    assert service.event_count == len(events)
    status, reasons = Status.NOT_ENABLED, frozenset[Any]()
    for number, event in enumerate(events, 1):
        assert (event.event_number, event.old_status, event.old_stop_reasons) == (number, status, reasons)
        status, reasons = event.new_status, event.new_stop_reasons
        assert (status, reasons) != (event.old_status, event.old_stop_reasons)
    assert (status, reasons) == (view.derived.status, view.derived.stop_reasons)
    assert (service.activation_version is None) == all(event.new_status is Status.NOT_ENABLED for event in events)
    assert service.config_version <= await tx.config_version()
    if service.reservation_count:
        for kind, rate in view.reserved.by_kind.items():
            bucket = await tx.buckets.find("acme", service.uid, kind)
            assert bucket is not None
            assert bucket.rate_tokens_per_minute == rate
            assert 0 <= bucket.refilled(now_us).available_units <= rate


@pytest.mark.parametrize("seed", [7])
async def test_everything_kept_agrees(desk: Desk, seed: int) -> None:
    """Whatever happens in whatever order, also where much of it is refused."""
    rng = random.Random(seed)
    await desk.publish_price()
    for service_id in SERVICES[:2]:
        await desk.create(service_id)
    for _ in range(ACTS):
        with contextlib.suppress(RefusedError, ResourceNotFoundError):
            await rng.choice(acts(desk, rng))(rng.choice(SERVICES))
        await sweep(desk)
        async with desk.database.reading() as tx:
            for service_id in SERVICES:
                await check(tx, service_id, desk.now_us)
    async with desk.database.reading() as tx:
        entries = await tx.ledger.page("acme", None, 0, 1_000)
        account = await tx.accounts.get("acme")
    assert sum(entry.amount_nanos for entry in entries) == account.balance_nanos
    assert account.ledger_entry_count == len(entries)
    assert account.overdue >= (account.balance_nanos < -account.credit_limit_nanos)


async def sweep(desk: Desk) -> None:
    """As the sweeper does: what time alone has changed."""
    async with desk.database.writing() as tx:
        account = await tx.accounts.lock("acme")
        for service_id in SERVICES:
            service = await tx.services.find("acme", service_id)
            if service is not None:
                await catch_up(tx, account, service, desk.now_us)
