"""A price that is missing is never free: what money would have to pay is refused, or recorded without a payer."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.receipt import Receipt
from metering_service.domain.report import Phase
from metering_service.domain.service import Status, StopReason
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import NANO_EACH, running, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes that meet when there is something to do."""
    return Fleet("a", "b")


def decided(fleet: Fleet, client: Client) -> Decision:
    """The decision on the last report, after as long as it may wait."""
    fleet.run(seconds=2)
    client.hear()
    decision = client.said(client.sequence)
    assert decision is not None
    return decision


def receipt(fleet: Fleet, client: Client) -> Receipt:
    found = decided(fleet, client).receipt
    assert found is not None
    return found


def spent_nanos(fleet: Fleet) -> int:
    fleet.run(seconds=15)
    return sum(spent for key, spent in fleet.control.spent.items() if key.kind == "money")


def trial_runs_out(fleet: Fleet, client: Client) -> None:
    """A request with 10 tokens of input reaches the end of its trial of 40, where only a price could help it on."""
    client.say(report(PROGRESS, counts=Counts(10, output=29)))
    grant = decided(fleet, client).grant
    assert grant is not None
    assert grant.output_ceiling_tokens == 30
    client.say(report(PROGRESS, counts=Counts(10, output=31)))
    assert decided(fleet, client).reason is Reason.NO_PRICE


@pytest.mark.parametrize("input_tokens", [0, 1, 10, 2_000_000])
@pytest.mark.parametrize("most", [None, 1, 100])
def test_nothing_is_authorised_without_a_price(
    fleet: Fleet, client: Client, input_tokens: int, most: int | None
) -> None:
    """Whatever control says of the switch, and whatever is asked for."""
    with_money(fleet, BALANCE, price=NO_PRICE)
    client.say(report(AUTHORIZE, counts=Counts(input_tokens), max_output_tokens=most))
    denial = decided(fleet, client)
    assert (denial.reason, denial.retryable, denial.grant) == (Reason.NO_PRICE, False, None)
    assert "publish" in denial.message
    assert spent_nanos(fleet) == 0


def test_a_price_of_zero_is_a_price(fleet: Fleet, client: Client) -> None:
    """Whoever wants to give a model away publishes that."""
    with_money(fleet, BALANCE, price=Price(1))
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).allowed
    client.say(report(FINISH, counts=Counts(10, output=5), want_receipt=True))
    booked = receipt(fleet, client)
    assert (booked.billed.total, booked.cost_nanos, booked.price_version) == (15, 0, 1)


def test_a_stop_for_want_of_a_price_says_so(fleet: Fleet, client: Client) -> None:
    """To new requests and to those that run; these keep the price that they were authorised with."""
    config = with_money(fleet, BALANCE)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).allowed
    unpriced = replace(
        config,
        status=Status.STOPPED,
        stop_reasons=frozenset({StopReason.NO_PRICE}),
        postpaid_pays=False,
        price=NO_PRICE,
    )
    fleet.control.put(unpriced)
    fleet.run(seconds=1)
    client.hear()
    assert [decision.reason for sequence, decision in client.decisions if not sequence] == [Reason.NO_PRICE]
    client.say(report(AUTHORIZE, "r2", counts=Counts(10)))
    assert decided(fleet, client).reason is Reason.NO_PRICE
    client.say(report(FINISH, counts=Counts(10, output=5), want_receipt=True))
    booked = receipt(fleet, client)
    assert (booked.billed.total, booked.cost_nanos, booked.price_version) == (15, 15, 1)


def test_a_trial_goes_on_without_a_price_and_ends_with_its_tokens(fleet: Fleet, client: Client) -> None:
    """What it covers needs no price. What would go beyond it is refused, also of a request that runs."""
    with_trial(fleet, 40, postpaid_pays=True, debt_allowed=True, price=NO_PRICE)
    fleet.control.top_up(BALANCE)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).allowed
    trial_runs_out(fleet, client)
    client.say(report(FINISH, counts=Counts(10, output=50), want_receipt=True))
    booked = receipt(fleet, client)
    assert (booked.trial.total, booked.billed.total, booked.unfunded.total) == (40, 0, 20)
    assert (booked.cost_nanos, booked.debt_nanos, booked.price_version) == (0, 0, 0)
    assert spent_nanos(fleet) == 0


def test_a_request_larger_than_its_trial_needs_a_price(fleet: Fleet, client: Client) -> None:
    """It is refused for what is missing, not for its size."""
    with_trial(fleet, 40, postpaid_pays=False, debt_allowed=True, price=NO_PRICE)
    client.say(report(AUTHORIZE, counts=Counts(41)))
    assert decided(fleet, client).reason is Reason.NO_PRICE


def test_a_price_that_comes_in_the_middle_is_for_requests_that_begin_by_it(fleet: Fleet, client: Client) -> None:
    """One that began without is refused where its trial ends, and is billed nothing."""
    config = with_trial(fleet, 40, debt_allowed=True, price=NO_PRICE)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).allowed
    fleet.control.put(replace(config, postpaid_pays=True, price=NANO_EACH, version=config.version + 1))
    fleet.control.top_up(BALANCE)
    fleet.run(seconds=1)
    trial_runs_out(fleet, client)
    client.say(report(FINISH, counts=Counts(10, output=40), want_receipt=True))
    assert receipt(fleet, client)[6:9] == (0, 0, 0)
    client.say(report(AUTHORIZE, "r2", counts=Counts(10)))
    assert decided(fleet, client).allowed


@pytest.mark.parametrize("pays", [True, False])
def test_a_finish_out_of_nowhere_is_recorded_without_a_payer(fleet: Fleet, client: Client, *, pays: bool) -> None:
    """Work that was done is recorded in full; it is no debt, since nobody can say how much it would be."""
    with_money(fleet, BALANCE, price=NO_PRICE)
    fleet.control.put(running(postpaid_pays=pays, debt_allowed=True, price=NO_PRICE))
    client.say(report(FINISH, counts=Counts(10, output=5), want_receipt=True))
    booked = receipt(fleet, client)
    assert (booked.usage.total, booked.billed.total, booked.unfunded.total) == (15, 0, 15)
    assert (booked.cost_nanos, booked.debt_nanos, booked.price_version) == (0, 0, 0)
    assert spent_nanos(fleet) == 0


def test_a_request_without_a_price_keeps_none_on_another_node(fleet: Fleet, client: Client) -> None:
    """Its resume token says so, and the node that takes it on neither bills it nor makes a debt of it."""
    with_trial(fleet, 40, postpaid_pays=True, debt_allowed=True, price=NO_PRICE)
    fleet.control.top_up(BALANCE)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    grant = decided(fleet, client).grant
    assert grant is not None
    client.close()
    other = Client(fleet["b"])
    other.say(report(FINISH, counts=Counts(10, output=90), resume=grant.resume, want_receipt=True))
    fleet.run(seconds=60)
    parts = [record.receipt for record in fleet.database.requests.values()]
    assert sum(part.usage.total for part in parts) == 100
    assert sum(part.billed.total + part.cost_nanos + part.debt_nanos for part in parts) == 0
    assert spent_nanos(fleet) == 0


def test_after_a_crash_what_had_no_price_is_billed_to_nobody(fleet: Fleet, client: Client) -> None:
    """The next epoch settles by the record, which says that there was none."""
    with_trial(fleet, 40, postpaid_pays=True, debt_allowed=True, price=NO_PRICE)
    fleet.control.top_up(BALANCE)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).allowed
    client.say(report(PROGRESS, counts=Counts(10, output=90)))
    fleet.run(seconds=1)
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=60)
    (record,) = fleet.database.requests.values()
    assert (record.receipt.usage.total, record.receipt.trial.total) == (100, 40)
    assert (record.receipt.billed.total, record.receipt.cost_nanos, record.receipt.debt_nanos) == (0, 0, 0)
    assert spent_nanos(fleet) == 0


def test_cut_off_from_control_a_service_without_a_price_does_not_go_on(fleet: Fleet, client: Client) -> None:
    """The policy for outages bounds tokens; it does not make them free."""
    with_money(fleet, BALANCE, price=NO_PRICE, outage_tokens_max=1_000)
    client.say(report(AUTHORIZE, counts=Counts(10)))
    assert decided(fleet, client).reason is Reason.NO_PRICE
    fleet["a"].linked = False
    fleet.run(seconds=30)
    client.say(report(AUTHORIZE, "r2", counts=Counts(10)))
    denial = decided(fleet, client)
    assert denial.grant is None
    assert denial.reason in {Reason.NO_PRICE, Reason.CONTROL_UNREACHABLE}
