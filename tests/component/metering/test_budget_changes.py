"""Budgets that change while requests run: nothing that was on lease before outlives the change."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.limit import Period
from metering_service.domain.pot import LimitPotKey
from metering_service.domain.report import Phase
from metering_service.domain.stamp import HOUR_US
from metering_service.usecases.leases.limit_intake import take_limits
from tests.harness.metering.budgets import MONEY, TOKENS, drop_budget, pot_of, put_budget
from tests.harness.metering.fake_control import VALID_FOR_NS
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, running, with_money
from tests.harness.metering.two_nodes import granted

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
CAP = LimitPotKey(TOKENS, "uid-cap")


@pytest.fixture
def fleet() -> Fleet:
    """One node, and a service with plenty of money at a nano a token."""
    fleet = Fleet("a")
    with_money(fleet, 100_000_000)
    return fleet


def spend(fleet: Fleet, tokens: int) -> None:
    """Requests that end, so that the node fetches more ahead."""
    client = Client(fleet["a"])
    for number in range(20):
        granted(client.say(report(AUTHORIZE, f"r{number}", Counts(tokens // 20), max_output_tokens=0)))
        client.say(report(FINISH, f"r{number}", Counts(tokens // 20)))
        fleet.run(ms=20)


def answer(fleet: Fleet, request_id: str, tokens: int) -> Decision:
    """What becomes of a request with so much input and no output, however long that takes."""
    client = Client(fleet["a"])
    said = client.say(report(AUTHORIZE, request_id, Counts(tokens), max_output_tokens=0))
    fleet.run(seconds=2)
    said = said or client.said(client.sequence)
    assert said is not None
    return said


@pytest.mark.parametrize("was_soft", [False, True])
def test_what_was_fetched_ahead_goes_back_when_an_amount_is_lowered(fleet: Fleet, *, was_soft: bool) -> None:
    """Or when a budget refuses that only counted: a node spends nothing of what it had for later."""
    put_budget(fleet, 1_000_000 if not was_soft else 10_000, only_counts=was_soft)
    spend(fleet, 20_000)
    lease = fleet["a"].node.lease_index.pots["accounts/acme", CAP].mine
    assert lease.free > 1_000
    put_budget(fleet, 10_000)
    fleet["a"].hear_control()
    assert lease.free == 0
    assert answer(fleet, "late", 1).reason is Reason.BUDGET_EXCEEDED
    pot = fleet.control.pots[pot_of(fleet)]
    assert (pot.leased_units, fleet.control.spent[pot_of(fleet)]) == (0, 20_000)


def test_what_an_exchange_brings_that_was_under_way_goes_back_too(fleet: Fleet) -> None:
    """Control answered it before the amount was lowered."""
    put_budget(fleet, 1_000_000)
    rig = fleet["a"]
    rig.hear_control()
    client = Client(rig)
    client.send(report(AUTHORIZE, counts=Counts(100), max_output_tokens=0))
    rig.hear_control()
    said = rig.keeper.statements()
    answers = fleet.control.exchange("a", rig.node.epoch, said)
    put_budget(fleet, 0)
    take_limits(rig.node, fleet.control.limits)
    rig.keeper.answered(said, answers, rig.node.clock.monotonic_ns(), VALID_FOR_NS)
    lease = rig.node.lease_index.pots["accounts/acme", CAP].mine
    assert lease.free > 0
    fleet.run(ms=400)
    assert lease.free == 0
    assert fleet.control.pots[pot_of(fleet)].leased_units == 100


def test_a_raised_amount_takes_nothing_back(fleet: Fleet) -> None:
    """Nor does one that stays as it is."""
    put_budget(fleet, 1_000_000)
    spend(fleet, 20_000)
    lease = fleet["a"].node.lease_index.pots["accounts/acme", CAP].mine
    free = lease.free
    for amount in (1_000_000, 2_000_000):
        put_budget(fleet, amount)
        fleet["a"].hear_control()
    assert lease.free == free > 0


def test_what_is_held_of_a_pot_that_is_gone_takes_no_lease_after_the_other(fleet: Fleet) -> None:
    """Control closes a lease on it at once: what requests hold stays on that one, and nothing more is said of it."""
    spend(fleet, 20_000)
    put_budget(fleet, 50, only_counts=True)
    fleet["a"].hear_control()
    client = Client(fleet["a"])
    client.send(report(AUTHORIZE, "late", Counts(10), max_output_tokens=0))
    drop_budget(fleet)
    pot = fleet["a"].node.lease_index.pots["accounts/acme", CAP]
    lease = pot.mine
    assert lease.held == 10
    fleet.run(seconds=5)
    assert list(pot.all_leases()) == [lease]
    client.say(report(FINISH, "late", Counts(10)))
    fleet.run(seconds=5)
    assert not pot.has_leases
    assert [each.consumed_units for each in fleet.database.leases.values() if each.limit_pot is not None] == [10]


def test_pots_of_which_nothing_was_taken_are_forgotten(fleet: Fleet) -> None:
    """A budget of money of which nothing is used, as a trial pays: its periods come and go."""
    fleet.control.put(replace(fleet.control.services[SERVICE], trial_pays=True, postpaid_pays=False))
    fleet.control.trial(fleet.control.services[SERVICE], 1_000)
    for start_us in range(0, 5 * HOUR_US, HOUR_US):
        put_budget(fleet, 100, kind=MONEY, periods=(Period(start_us, start_us + HOUR_US),))
        fleet["a"].hear_control()
        assert answer(fleet, f"r{start_us}", 10).allowed
    assert len(fleet["a"].node.lease_index.pots) == 1


def test_a_denial_in_a_period_that_is_over_says_that_another_one_has_begun() -> None:
    """What runs stays with its pot; a new request has the new one."""
    fleet = Fleet("a")
    with_money(fleet, 100_000_000)
    hour_us = fleet.clock.now_us() // HOUR_US * HOUR_US
    put_budget(fleet, 130, periods=(Period(hour_us, hour_us + HOUR_US),))
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    put_budget(fleet, 130, periods=(Period(hour_us + HOUR_US, hour_us + 2 * HOUR_US),))
    output = grant.output_ceiling_tokens
    decision = None
    while decision is None or decision.allowed:
        client.say(report(PROGRESS, counts=Counts(100, output=output)))
        fleet.run(seconds=2)
        decision = client.said(client.sequence)
        output = decision.grant.output_ceiling_tokens if decision is not None and decision.grant else output
    assert decision.budget is not None
    assert decision.budget.end_us == hour_us + HOUR_US


def test_a_whole_answer_that_a_budget_has_no_room_for_is_not_told_to_wait_for_a_rate() -> None:
    """The reservation that pays has enough: what is held of the budget may come back at any time."""
    fleet = Fleet("a")
    rate = 10_000
    config = fleet.control.put(running(reservation_pays=True, reserved_input_tpm=rate, reserved_output_tpm=rate))
    fleet.control.reserve(config)
    put_budget(fleet, 300)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(50), max_output_tokens=100, whole=True)))
    contended = client.say(report(AUTHORIZE, "r2", Counts(50), max_output_tokens=200, whole=True))
    fleet.run(seconds=2)
    contended = contended or client.said(client.sequence)
    assert contended is not None
    assert (contended.reason, contended.retry_after_ms) == (Reason.BUDGET_CONTENDED, 1_000)
