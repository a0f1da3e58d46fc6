"""Exchanges over very many leases, and leases with very great numbers."""

from dataclasses import replace

from control_service.domain.lease import UNITS_MAX
from control_service.domain.pot import USED_UNITS_MAX, PotKind
from control_service.domain.recall import Availability
from control_service.domain.trial import Trial
from tests.harness.control.fleet_harness import Kit

MONEY, TRIAL = PotKind.MONEY, PotKind.TRIAL
INT64_MAX = 2**63 - 1
SERVICES = 1_100
STRANGERS = 2_800


async def test_five_thousand_statements_are_one_exchange(kit: Kit) -> None:
    """Leases of many services, and names of as many accounts that nobody knows: each is answered; twice the same."""
    first = await kit.service("s0", postpaid=True, trial_tokens=1_000)
    trial = Trial(quota_tokens=1_000, smallest_tokens=16, claim_us=kit.now_us)
    others = [
        replace(first, service_id=f"s{number}", uid=f"uid-acme-s{number}", trial=trial) for number in range(1, SERVICES)
    ]
    async with kit.database.writing() as tx:
        for service in others:
            await tx.services.add(service)
    node, services = await kit.node(), [first, *others]
    strangers = [replace(first, account_id=f"nobody{number}", uid=f"uid-{number}") for number in range(STRANGERS)]
    stated = [
        *(node.state(service, MONEY, needed_units=100) for service in services),
        *(node.state(service, TRIAL, needed_units=1_001) for service in services),
        *(node.state(stranger, MONEY, needed_units=100) for stranger in strangers),
    ]
    stated = [
        replace(one, statement=replace(one.statement, lease_id=f"lease-{number}")) for number, one in enumerate(stated)
    ]
    assert len(stated) == 5_000
    for _ in range(2):
        answers = await node.exchange(*stated)
        granted = [answer.granted_units for answer in answers]
        assert granted == [100] * SERVICES + [1_000] * SERVICES + [0] * STRANGERS
        assert [answer.closed for answer in answers] == [False] * 2 * SERVICES + [True] * STRANGERS
    account = await kit.read_account()
    assert account.leased_nanos == 100 * SERVICES


async def test_a_counter_out_of_bounds_concerns_its_lease_alone(kit: Kit) -> None:
    """It is answered as closed and changes nothing; the node's other statements count, and levels have no bound."""
    service, other, node = await kit.service(postpaid=True), await kit.service("code", postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=1_000)
    for stated in (
        {"consumed_units": UNITS_MAX + 1},
        {"returned_units": INT64_MAX},
        {"consumed_units": UNITS_MAX, "returned_units": 1},
    ):
        bad, good = await node.exchange(
            node.state(service, MONEY, **stated),
            node.state(other, MONEY, held_units=INT64_MAX, wanted_units=INT64_MAX, needed_units=500),
        )
        assert (bad.closed, bad.granted_units, bad.availability) == (True, 0, Availability.EMPTY)
        assert (good.closed, good.granted_units >= 500) == (False, True)
        await kit.assert_conserved()
    assert (await node.exchange_one(service, MONEY, consumed_units=400)).granted_units == 1_000
    assert (await kit.read_account()).spent_nanos == 400
    await kit.assert_conserved()


async def test_no_debt_leaves_sixty_four_bits(kit: Kit) -> None:
    """Debts add up as far as an account can count, on any number of leases; more than that is refused by itself."""
    services = [await kit.service(name, postpaid=True) for name in ("a", "b", "c")]
    node = await kit.node()
    await node.exchange_one(services[0], MONEY, needed_units=10)
    answers = await node.exchange(
        *(node.state(service, MONEY, consumed_units=UNITS_MAX // 2 + 10) for service in services)
    )
    assert [answer.closed for answer in answers] == [False, False, True]
    assert (await kit.read_account()).spent_nanos == UNITS_MAX + 20 <= USED_UNITS_MAX
    assert (await node.exchange_one(services[0], MONEY, consumed_units=UNITS_MAX // 2 + 10)).granted_units == 10
    await kit.assert_conserved()


async def test_a_lease_that_had_its_fill_gets_no_more(kit: Kit) -> None:
    """So what was granted on it stays countable, however much is given back; it can be closed, and another begun."""
    account = await kit.account("rich", funds=UNITS_MAX, credit=10**18)
    service, node = await kit.service(account_id="rich", postpaid=True), await kit.node()
    granted = (await node.exchange_one(service, MONEY, needed_units=INT64_MAX)).granted_units
    assert granted == account.available_nanos == USED_UNITS_MAX
    await node.exchange_one(service, MONEY, returned_units=granted)
    answer = await node.exchange_one(service, MONEY, returned_units=granted, needed_units=10)
    assert (answer.granted_units, answer.available_units) == (granted, USED_UNITS_MAX)
    assert (await node.exchange_one(service, MONEY, returned_units=granted, closing=True)).closed
    await kit.assert_conserved(account_id="rich")
