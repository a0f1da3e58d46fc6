"""Leases on budgets on the wire: grants, what operations show, what is announced, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from control_service.domain.limit import BudgetPeriod, LimitMember, LimitPotKey
from control_service.storage.database import SqlDatabase
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import operations_service_pb2, pot_pb2, recovery_service_pb2
from tests.harness.control.limits import Budgets
from tests.harness.wire.control_fleet import SERVICE, Control, WireNode, running_control, wire_node

TOKENS = pot_pb2.POT_KIND_BUDGET_TOKENS


@pytest.fixture
def clock() -> ManualClock:
    """By it no node falls behind, and no month ends, however slow the machine."""
    return ManualClock()


@pytest.fixture
async def control(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Control]:
    """A control service with an account."""
    async with running_control(tmp_path, clock) as control:
        await control.stock()
        yield control


@pytest.fixture
async def budgets(control: Control, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Budgets]:
    """The budgets in its database."""
    engine = create_engine(f"sqlite:///{tmp_path / 'control.sqlite3'}")
    yield Budgets(SqlDatabase(engine), clock)
    await engine.dispose()


@pytest.fixture
async def node(control: Control) -> AsyncIterator[WireNode]:
    """A node that said hello."""
    async with wire_node(control) as node:
        yield node


def on_the_wire(key: LimitPotKey) -> pot_pb2.LimitPot:
    return pot_pb2.LimitPot(
        account=f"accounts/{key.account_id}",
        limit_uid=key.limit_uid,
        member_uid=key.member_uid,
        period_start_time=encode_timestamp(key.period_start_us) if key.period_start_us else None,
    )


def state(node: WireNode, key: LimitPotKey, **levels: Any) -> pb.LeaseStatement:
    lease_id = f"{node.name}-{node.epoch}-{key.limit_uid}-{key.member_uid}"
    return pb.LeaseStatement(lease_id=lease_id, pot_kind=TOKENS, limit_pot=on_the_wire(key), **levels)


async def refused(node: WireNode, *statements: pb.LeaseStatement) -> list[str]:
    """The fields that are named as wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.exchange(*statements)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = BadRequest()
    assert rpc_status.from_call(caught.value).details[1].Unpack(bad)
    return [violation.field for violation in bad.field_violations]


async def test_a_budget_is_leased_settled_and_shown(control: Control, budgets: Budgets, node: WireNode) -> None:
    """A node gets what it needs, says what it consumed, and gives back the rest; operations show pot and lease."""
    key = budgets.key(await budgets.make(1_000, period=BudgetPeriod.MONTH))
    (answer,) = await node.exchange(state(node, key, wanted_units=200, needed_units=150))
    assert (answer.granted_units, answer.available_units) == (200, 800)
    await node.exchange(state(node, key, consumed_units=120, held_units=30))
    request = operations_service_pb2.ListPotsRequest(account="accounts/acme")
    *_, pot = (await control.operations.ListPots(request)).pots
    assert (pot.account, pot.inference_service, pot.kind) == ("accounts/acme", "", TOKENS)
    assert pot.limit_pot == on_the_wire(key)
    assert (pot.capacity_units, pot.available_units, pot.leased_units) == (1_000, 800, 80)
    assert (pot.held_units, pot.spent_units) == (30, 120)
    (lease,) = (await control.operations.ListLeases(operations_service_pb2.ListLeasesRequest())).leases
    assert (lease.inference_service, lease.inference_service_uid) == ("", "")
    assert (lease.pot_kind, lease.limit_pot) == (TOKENS, on_the_wire(key))
    (answer,) = await node.exchange(state(node, key, consumed_units=150, closing=True))
    assert answer.closed
    *_, pot = (await control.operations.ListPots(request)).pots
    assert (pot.available_units, pot.leased_units, pot.spent_units) == (850, 0, 150)


async def test_pots_are_listed_by_pages_without_a_gap(control: Control, budgets: Budgets, node: WireNode) -> None:
    """Money first, limits last; each once, whatever the size of a page; one service's list has none of limits."""
    budget = await budgets.make(1_000, member=LimitMember.EACH_KEY)
    keys = [budgets.key(budget, member=f"key-{number}") for number in range(5)]
    await node.exchange(*(state(node, key, needed_units=1) for key in keys))
    await control.claim_trial()
    for size in (1, 2, 3, 100):
        request = operations_service_pb2.ListPotsRequest(account="accounts/acme", page_size=size)
        listed: list[pot_pb2.Pot] = []
        while not listed or request.page_token:
            page = await control.operations.ListPots(request)
            listed += page.pots
            request.page_token = page.next_page_token
        assert [pot.kind for pot in listed[:2]] == [pot_pb2.POT_KIND_MONEY, pot_pb2.POT_KIND_TRIAL]
        assert [pot.limit_pot for pot in listed[2:]] == [on_the_wire(key) for key in keys]
    request = operations_service_pb2.ListPotsRequest(account="accounts/acme", inference_service=SERVICE)
    assert len((await control.operations.ListPots(request)).pots) == 2


async def test_a_pot_that_has_more_is_announced(control: Control, budgets: Budgets, node: WireNode) -> None:
    """To the nodes that it had too little for."""
    budget = await budgets.make(100)
    key = budgets.key(budget)
    (answer,) = await node.exchange(state(node, key, needed_units=150))
    assert answer.availability == pb.POT_AVAILABILITY_EMPTY
    await budgets.change(budget, amount_units=200)
    await node.until(lambda: on_the_wire(key) in node.replenished_limit_pots)


async def test_malformed_statements_are_named(budgets: Budgets, node: WireNode) -> None:
    """A lease names a service or the pot of a limit, as its kind asks for; a budget has no pot of a rule's kind."""
    key = budgets.key(await budgets.make(100))
    right = state(node, key)
    with_service = state(node, key)
    with_service.inference_service, with_service.inference_service_uid = SERVICE, "uid"
    assert await refused(node, with_service) == [
        "statements[0].inference_service",
        "statements[0].inference_service_uid",
    ]
    right.ClearField("limit_pot")
    assert await refused(node, right) == ["statements[0].limit_pot"]
    payer = pb.LeaseStatement(
        lease_id="lease",
        inference_service=SERVICE,
        inference_service_uid="uid",
        pot_kind=pot_pb2.POT_KIND_MONEY,
        limit_pot=on_the_wire(key),
    )
    assert await refused(node, payer) == ["statements[0].limit_pot"]
    nobody = state(node, LimitPotKey("", "", "x" * 200))
    nobody.lease_id = "lease"
    assert await refused(node, nobody) == [
        "statements[0].limit_pot.limit_uid",
        "statements[0].limit_pot.member_uid",
        "statements[0].limit_pot.account",
    ]
    for kind in (pot_pb2.POT_KIND_RATE, pot_pb2.POT_KIND_SLOTS):
        rate = state(node, key)
        rate.pot_kind = kind
        (answer,) = await node.exchange(rate)
        assert (answer.granted_units, answer.closed) == (0, True)


async def test_a_recovery_books_budgets(control: Control, budgets: Budgets, node: WireNode) -> None:
    """What control does not know is booked once on the budget's pot; a budget that is not there is named."""
    key = budgets.key(await budgets.make(100))
    total = recovery_service_pb2.LeaseTotal(
        lease_id="lease", node=node.name, epoch=1, pot_kind=TOKENS, limit_pot=on_the_wire(key), consumed_units=70
    )
    lost = recovery_service_pb2.LeaseTotal()
    lost.CopyFrom(total)
    lost.lease_id, lost.limit_pot.limit_uid = "lost", "another"
    for units in (70, 0):
        booked = await control.recovery.BookLeases(recovery_service_pb2.BookLeasesRequest(leases=[total, lost]))
        assert [(one.pot_kind, one.units) for one in booked.booked] == ([(TOKENS, units)] if units else [])
        assert booked.unknown_lease_ids == ["lost"]
    await budgets.assert_conserved(key)
    assert (await budgets.pot(key)).spent_units == 70
