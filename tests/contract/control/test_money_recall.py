"""Changes that need money that is on lease: it is recalled first, and then they are decided on."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from control_service.domain.errors import Reason, RefusedError
from control_service.domain.lease import Lease
from control_service.domain.pot import PotKey, PotKind
from control_service.usecases import money_recall
from control_service.usecases.fleet_ports import NamedLease
from tests.harness.control.people_harness import RESERVED_NANOS, Desk
from tests.harness.patience import PATIENCE_S

HELD_NANOS = 200


@pytest.fixture(autouse=True)
def waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a node that is there is waited for."""
    monkeypatch.setattr(money_recall, "WAIT_MAX_S", PATIENCE_S)


@pytest.fixture
async def lent(desk: Desk) -> Desk:
    """A desk of an account that has money for one reservation, all of it on lease to a node."""
    await desk.pay(RESERVED_NANOS)
    await desk.create()
    service = (await desk.show()).service
    await put_lease(desk, Lease("lease", "node", 1, "acme", service.uid, PotKind.MONEY, 0, 0, RESERVED_NANOS))
    return desk


async def put_lease(desk: Desk, lease: Lease) -> None:
    """The lease as an exchange leaves it."""
    async with desk.database.writing() as tx:
        account = await tx.accounts.lock("acme")
        await tx.accounts.save(replace(account, leased_nanos=lease.outstanding_units))
        await tx.leases.put([NamedLease(lease, "chat")])


async def give_back(desk: Desk, held_nanos: int = 0) -> None:
    """What the node does that is told of the recall: it gives back what requests do not hold."""
    with desk.signal.listening() as changes:
        await changes.wait()
    async with desk.database.reading() as tx:
        (lease,) = await tx.leases.find([("acme", "lease")])
    assert lease.recall_requested_us is not None
    returned = replace(lease, returned_units=RESERVED_NANOS - held_nanos, held_units=held_nanos)
    await put_lease(desk, replace(returned, recall_requested_us=None))
    desk.signal.announce()


async def with_node(desk: Desk, change: Awaitable[object], held_nanos: int = 0) -> object:
    """A change that people make while the node is there."""
    _, done = await asyncio.gather(give_back(desk, held_nanos), change, return_exceptions=True)
    return done


async def test_a_purchase_recalls_what_is_on_lease(lent: Desk) -> None:
    """The account can pay, though a node had its money ahead of need."""
    done = await with_node(lent, lent.buy())
    assert not isinstance(done, BaseException), done
    assert (await lent.account()).balance_nanos == 0


async def test_a_refusal_names_what_is_on_lease(lent: Desk) -> None:
    """What requests hold does not come back; who is refused for it is told so."""
    error = await with_node(lent, lent.buy(), HELD_NANOS)
    assert isinstance(error, RefusedError)
    assert error.reason is Reason.INSUFFICIENT_BALANCE
    assert error.metadata["leased_nanos"] == str(HELD_NANOS)
    assert error.metadata["available_nanos"] == str(RESERVED_NANOS - HELD_NANOS)
    assert "0.0000002 USD on lease" in str(error)


async def test_a_node_that_is_away_is_not_waited_for_long(lent: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is decided on with what is there, and nothing but the recall remains of its first try."""
    monkeypatch.setattr(money_recall, "WAIT_MAX_S", 0.01)
    with pytest.raises(RefusedError):
        await lent.buy()
    async with lent.database.reading() as tx:
        (lease,) = await tx.leases.find([("acme", "lease")])
    assert lease.recall_requested_us is not None
    assert (await lent.account()).balance_nanos == RESERVED_NANOS


async def test_nothing_is_recalled_for_a_purchase_that_all_of_it_cannot_pay(desk: Desk) -> None:
    """Who tries to buy what the account has no money for is refused at once, and no node goes short for it."""
    await desk.pay(RESERVED_NANOS - 1)
    await desk.create()
    service = (await desk.show()).service
    await put_lease(desk, Lease("lease", "node", 1, "acme", service.uid, PotKind.MONEY, 0, 0, RESERVED_NANOS - 1))
    with pytest.raises(RefusedError):
        await desk.buy()
    async with desk.database.reading() as tx:
        (lease,) = await tx.leases.find([("acme", "lease")])
    assert lease.recall_requested_us is None


async def test_commits_of_others_are_no_reason_to_look(lent: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that wait at the same time would read the database at each commit, all of them."""
    monkeypatch.setattr(money_recall, "QUERY_INTERVAL_S", PATIENCE_S)
    looks, has_looked = 0, asyncio.Event()

    async def is_back(*_arguments: object) -> bool:
        nonlocal looks
        looks += 1
        has_looked.set()
        return False

    monkeypatch.setattr(money_recall, "_is_back", is_back)
    change = asyncio.create_task(lent.buy())
    async with asyncio.timeout(PATIENCE_S):
        await has_looked.wait()
    for _ in range(10):
        lent.signal.announce([PotKey.of("other", "", PotKind.MONEY)])
        for _ in range(5):
            await asyncio.sleep(0)
    assert looks == 1
    lent.signal.announce([PotKey.of("acme", "", PotKind.MONEY)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert looks == 2
    change.cancel()
    await asyncio.gather(change, return_exceptions=True)


async def test_a_lower_credit_limit_recalls_what_is_beyond_it(lent: Desk) -> None:
    """Nodes have as little as can be of what may no longer be spent; then the limit is lower in any case."""
    await lent.update_account(credit=RESERVED_NANOS)
    service = (await lent.show()).service
    await put_lease(lent, Lease("lease", "node", 1, "acme", service.uid, PotKind.MONEY, 0, 0, 2 * RESERVED_NANOS))

    async def lower() -> None:
        await lent.update_account(credit=0)

    done = await with_node(lent, lower())
    assert done is None
    account = await lent.account()
    assert (account.credit_limit_nanos, account.leased_nanos) == (0, RESERVED_NANOS)
