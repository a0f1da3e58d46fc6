"""A database that was restored from an older copy is noticed, and what it lacks is booked once."""

import uuid
from dataclasses import replace

import pytest

from control_service.domain.actor import CallSource
from control_service.domain.backup_detection import Mark
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet.restore_recovery import RestoreRecovery
from control_service.usecases.idempotent_call import Call
from tests.harness.control.fleet_harness import METERING_DATABASE, FleetNode, Kit

MONEY, TRIAL = PotKind.MONEY, PotKind.TRIAL
RECOVER = Call("tallygate.control.v1.RecoveryService/BookLeases", "", b"", CallSource("person:anna"))


def recovery(kit: Kit) -> RestoreRecovery:
    return RestoreRecovery(kit.database, kit.clock, kit.changes, kit.memory, lambda: str(uuid.uuid4()))


def total(node: FleetNode, service: Service, kind: PotKind, consumed_units: int) -> LeaseStatement:
    return node.state(service, kind, consumed_units=consumed_units, closing=True)


async def refused(kit: Kit, *history: Mark, epoch: int = 2) -> Reason | None:
    """Why a hello with that history is refused; None if it is not."""
    try:
        await kit.registration.register("node-a", epoch, METERING_DATABASE, history)
    except RefusedError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (Mark("node-a", 1, 9, 2), None),
        (Mark("node-a", 1, 9, 3), Reason.CONTROL_WENT_BACKWARDS),
        (Mark("node-a", 2, 9, 1), Reason.CONTROL_WENT_BACKWARDS),
        (Mark("node-b", 1, 0, 1), Reason.CONTROL_WENT_BACKWARDS),
        (Mark("node-b", 1, 0, 0), None),
        (Mark("node-a", 1, 6, 2), Reason.METERING_WENT_BACKWARDS),
        (Mark("node-a", 1, 7, 0), None),
    ],
)
async def test_a_hello_that_remembers_otherwise_is_refused(kit: Kit, mark: Mark, reason: Reason | None) -> None:
    """Control has answered two exchanges of epoch 1 of node-a, the second of which reported commit 7."""
    node = await kit.node()
    await node.exchange()
    await node.exchange(commit_no=7)
    history = [mark] if mark.node == "node-a" else [Mark("node-a", 1, 7, 2), mark]
    assert await refused(kit, *history, epoch=3) == reason


async def test_an_epoch_that_the_metering_database_forgot_is_missed(kit: Kit) -> None:
    """Unless the history is long, and has its end only."""
    await kit.node(epoch=5)
    gap = (Mark("node-a", 4, 3, 0), Mark("node-a", 6, 0, 0))
    assert await refused(kit, *gap, epoch=6) is Reason.METERING_WENT_BACKWARDS
    assert await refused(kit, Mark("node-a", 6, 0, 0), Mark("node-a", 7, 0, 0), epoch=7) is None


async def test_an_exchange_that_remembers_otherwise_is_refused(kit: Kit) -> None:
    """The exchange that it had an answer to must be on record, and no reported commit may be gone."""
    node = await kit.node()
    await node.exchange(commit_no=5)
    with pytest.raises(RefusedError) as caught:
        await node.exchange(answered=2, commit_no=5)
    assert caught.value.reason is Reason.CONTROL_WENT_BACKWARDS
    with pytest.raises(RefusedError) as caught:
        await node.exchange(answered=1, commit_no=4)
    assert caught.value.reason is Reason.METERING_WENT_BACKWARDS
    await node.exchange(answered=1, commit_no=5)


async def test_what_control_does_not_know_is_booked_once(kit: Kit) -> None:
    """Unknown leases, and more on known ones; again and again changes nothing."""
    service = await kit.service(postpaid=True, trial_tokens=1_000)
    node = await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=600)
    await node.exchange_one(service, MONEY, consumed_units=100)
    booked = await recovery(kit).book([total(node, service, MONEY, 400), total(node, service, TRIAL, 70)], RECOVER)
    assert booked.units == {("acme", MONEY): 300, ("acme", TRIAL): 70}
    again = await recovery(kit).book([total(node, service, MONEY, 400), total(node, service, TRIAL, 70)], RECOVER)
    assert (again.units, again.unknown_lease_ids) == ({}, [])
    account = await kit.read_account()
    assert (account.spent_nanos, account.leased_nanos) == (400, 0)
    await kit.assert_conserved(service)


async def test_what_was_settled_for_good_is_not_booked_again(kit: Kit) -> None:
    """Control may have forgotten a lease because no statement on it is to come."""
    service = await kit.service(postpaid=True)
    old = await kit.node()
    new = await kit.node(epoch=2)
    await new.exchange(settled=2)
    booked = await recovery(kit).book([total(old, service, MONEY, 400)], RECOVER)
    assert (booked.units, booked.unknown_lease_ids) == ({}, [])
    assert (await kit.read_account()).spent_nanos == 0


async def test_leases_on_what_is_not_known_are_named(kit: Kit) -> None:
    """A service that was made after the copy: people make it again, and run the recovery again."""
    service = await kit.service(postpaid=True)
    node = await kit.node()
    unknown = replace(total(node, service, MONEY, 5), service_uid="another")
    booked = await recovery(kit).book([unknown], RECOVER)
    assert booked.unknown_lease_ids == [unknown.statement.lease_id]


async def test_after_it_is_finished_the_past_is_not_compared(kit: Kit) -> None:
    """What was still open of the fenced epochs is closed at what is known, and nodes are welcome again."""
    service = await kit.service(postpaid=True)
    node = await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=600)
    history = (Mark("node-a", 1, 3, 50), Mark("node-b", 4, 0, 9))
    assert await refused(kit, *history) is Reason.CONTROL_WENT_BACKWARDS
    assert await recovery(kit).finish({"node-a": 1, "node-b": 4}, RECOVER) == 1
    assert await recovery(kit).finish({"node-a": 1, "node-b": 4}, RECOVER) == 0
    assert (await kit.read_account()).leased_nanos == 0
    assert await refused(kit, *history) is None
    late = Mark("node-a", 2, 3, 1)
    assert await refused(kit, *history, late, epoch=3) is Reason.CONTROL_WENT_BACKWARDS
