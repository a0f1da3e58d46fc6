"""Leases that a node's former epochs left open: what they paid for is drawn from them, whichever lease states it."""

from dataclasses import replace

from control_service.domain.lease import Lease
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.usecases.fleet.lease_statement import LeaseStatement
from tests.harness.control.fleet_harness import FleetNode, Kit

OUTPUT, TRIAL, MONEY = PotKind.RESERVATION_OUTPUT, PotKind.TRIAL, PotKind.MONEY


def state_as(node: FleetNode, lease_id: str, service: Service, kind: PotKind, **stated: int | bool) -> LeaseStatement:
    """A statement on a lease of any name."""
    one = node.state(service, kind, **stated)
    return replace(one, statement=replace(one.statement, lease_id=lease_id))


async def leases_by_id(kit: Kit) -> dict[str, Lease]:
    return {lease.lease_id: lease for lease in await kit.read_leases()}


async def test_a_stand_in_draws_from_the_lease_left_behind(kit: Kit) -> None:
    """What was consumed comes off the lease at once, counts once, and the closing of that lease gives back the rest."""
    service, lost = await kit.service(output_tpm=600), await kit.node()
    await lost.exchange_one(service, OUTPUT, needed_units=500)
    node = await kit.node(epoch=2)
    for closing in (False, True, True):
        await node.exchange(state_as(node, "stand-in", service, OUTPUT, consumed_units=106, closing=closing))
        bucket = await kit.read_bucket(service)
        assert (bucket.available_units, bucket.leased_units, bucket.spent_units) == (100, 394, 106)
        assert [lease.overdrawn_units for lease in await kit.read_leases()] == [0, 0]
        await kit.assert_conserved(service)
    await node.exchange(settled=2)
    bucket = await kit.read_bucket(service)
    assert (bucket.available_units, bucket.leased_units) == (494, 0)
    await kit.assert_conserved(service)


async def test_a_stand_in_draws_also_where_the_lease_is_closed_with_it(kit: Kit) -> None:
    """Of what an exchange closes and states only the difference goes back."""
    service, lost = await kit.service(output_tpm=600), await kit.node()
    await lost.exchange_one(service, OUTPUT, needed_units=600)
    kit.clock.advance(60)
    node = await kit.node(epoch=2)
    await node.exchange(state_as(node, "stand-in", service, OUTPUT, consumed_units=106, closing=True), settled=2)
    assert (await kit.read_bucket(service)).available_units == 494
    assert [lease.overdrawn_units for lease in await kit.read_leases()] == [0, 0]


async def test_leases_left_behind_pay_for_one_another(kit: Kit) -> None:
    """Control cannot know which of two leases a stand-in is for; together they have what was consumed on them."""
    service = await kit.service(trial_tokens=1_000)
    unknown = await kit.node(epoch=1)
    await unknown.exchange_one(service, TRIAL, needed_units=100)
    known = await kit.node(epoch=2)
    await known.exchange_one(service, TRIAL, needed_units=100)
    await known.exchange_one(service, TRIAL, held_units=100)
    node = await kit.node(epoch=3)
    stand_in = state_as(node, "stand-in", service, TRIAL, consumed_units=80, closing=True)
    await node.exchange(stand_in)
    await kit.assert_conserved(service)
    last = state_as(node, known.lease_id(service, TRIAL), service, TRIAL, consumed_units=100, closing=True)
    await node.exchange(last, stand_in)
    await kit.assert_conserved(service)
    assert [lease.overdrawn_units for lease in await kit.read_leases()] == [0, 0, 0]
    await node.exchange(settled=3)
    trial = (await kit.read_service(service)).trial
    assert trial is not None
    assert (trial.spent_tokens, trial.leased_tokens) == (180, 0)


async def test_debt_of_the_running_epoch_is_not_drawn(kit: Kit) -> None:
    """What a lease that asks for units consumed beyond them is debt; what was left behind stays for what it paid."""
    service, lost = await kit.service(postpaid=True), await kit.node()
    await lost.exchange_one(service, MONEY, needed_units=1_000)
    node = await kit.node(epoch=2)
    await node.exchange_one(service, MONEY, consumed_units=400, needed_units=10)
    assert (await leases_by_id(kit))[lost.lease_id(service, MONEY)].outstanding_units == 1_000
    await kit.assert_conserved()


async def test_no_other_pot_or_service_pays(kit: Kit) -> None:
    """A stand-in draws from its own service's lease of its own kind, also of one account's money; the rest is debt."""
    chat = await kit.service("chat", postpaid=True)
    code = await kit.service("code", postpaid=True, trial_tokens=1_000)
    lost = await kit.node()
    await lost.exchange(lost.state(chat, MONEY, needed_units=1_000), lost.state(code, TRIAL, needed_units=1_000))
    node = await kit.node(epoch=2)
    await node.exchange(state_as(node, "stand-in", code, MONEY, consumed_units=400, closing=True))
    leases = await leases_by_id(kit)
    assert [leases[lost.lease_id(*of)].outstanding_units for of in ((chat, MONEY), (code, TRIAL))] == [1_000, 1_000]
    assert leases["stand-in"].overdrawn_units == 400
    await kit.assert_conserved(code)
