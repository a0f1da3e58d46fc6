"""Reports that wait, refusals for want of pot, and what becomes of both when something changes."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.price import Price
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig, Status, StopReason
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, running, stopped, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def test_an_unknown_service_is_refused(fleet: Fleet, client: Client) -> None:
    """Control does not know the name; once it does, the next request runs."""
    decision = client.say(report(AUTHORIZE, counts=Counts(1)))
    assert decision is not None
    assert (decision.reason, decision.retryable) == (Reason.UNKNOWN_SERVICE, False)
    with_trial(fleet, 1_000)
    fleet.run(ms=20)
    again = client.say(report(AUTHORIZE, counts=Counts(1)))
    assert again is not None
    assert again.allowed


def test_without_control_a_new_service_is_not_decided_on(fleet: Fleet, client: Client) -> None:
    """After its patience the node says that it could not tell; before, the watermark waits."""
    with_trial(fleet, 1_000)
    fleet["a"].linked = False
    assert client.say(report(AUTHORIZE, counts=Counts(1))) is None
    fleet.run(ms=80)
    assert client.said(1) is None
    assert client.answered == 0
    fleet.run(ms=40)
    decision = client.said(1)
    assert decision is not None
    assert (decision.reason, decision.retryable) == (Reason.CONTROL_UNREACHABLE, True)
    assert client.answered == client.durable == 1


def test_without_control_a_node_goes_on_with_the_leases_it_has(fleet: Fleet, client: Client) -> None:
    """Until they lapse; then it could not tell, and grants have no time left."""
    with_trial(fleet, 1_000_000)
    client.say(report(AUTHORIZE, "first", Counts(1_000)))
    fleet["a"].linked = False
    decision = client.say(report(AUTHORIZE, "second", Counts(10)))
    assert decision is not None
    assert decision.allowed
    fleet.run(seconds=21)
    assert client.say(report(AUTHORIZE, "third", Counts(10))) is None
    assert client.valid_for_ms == 0
    fleet.run(ms=200)
    refusal = client.said(client.sequence)
    assert refusal is not None
    assert refusal.reason is Reason.CONTROL_UNREACHABLE
    fleet["a"].linked = True
    fleet.run(ms=40)
    client.say(report(AUTHORIZE, "fourth", Counts(10)))
    assert client.valid_for_ms > 19_000


def test_without_control_even_what_costs_nothing_is_not_allowed_for_ever(fleet: Fleet, client: Client) -> None:
    """A price of zero needs no money, but a grant without a lease would never end."""
    config = fleet.control.put(running(postpaid_pays=True, debt_allowed=True, price=Price(1)))
    decision = client.say(report(AUTHORIZE, "first", Counts(10)))
    assert decision is not None
    assert decision.allowed
    fleet["a"].linked = False
    fleet.run(seconds=21)
    client.say(report(AUTHORIZE, "second", Counts(10)))
    fleet.run(ms=200)
    refusal = client.said(client.sequence)
    assert refusal is not None
    assert (refusal.reason, refusal.config_version) == (Reason.CONTROL_UNREACHABLE, config.version)


def test_counts_that_cannot_be_matched_yet_are_answered_and_not_durable(fleet: Fleet, client: Client) -> None:
    """A finish for a service that is not known yet is recorded when it is, and acknowledged then."""
    with_trial(fleet, 1_000)
    fleet["a"].linked = False
    client.say(report(FINISH, counts=Counts(10, output=5)))
    client.say(report(PROGRESS, "r2", Counts(20, output=1)))
    assert (client.answered, client.durable) == (1, 0)
    fleet.run(seconds=1)
    refusal = client.said(2)
    assert refusal is not None
    assert refusal.reason is Reason.CONTROL_UNREACHABLE
    assert (client.answered, client.durable) == (2, 0)
    fleet.run(seconds=20)
    client.hear()
    assert client.durable == 0
    fleet["a"].linked = True
    fleet.run(seconds=1)
    client.hear()
    assert client.durable == 2
    assert fleet.database.requests[(SERVICE, "r1", "")].receipt.trial.total == 15
    assert {record.counts for record in fleet.database.requests.values()} == {
        Counts(10, output=5),
        Counts(20, output=1),
    }


def test_a_waiting_finish_holds_up_nobody(fleet: Fleet, client: Client) -> None:
    """It is answered by the watermark at once, whatever it waits for; only durability waits."""
    with_trial(fleet, 1_000)
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    fleet["a"].commit()
    fleet["a"].linked = False
    client.say(report(FINISH, "r1", Counts(10, output=900), want_receipt=True))
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    assert client.answered == 3
    fleet.run(ms=4_000)
    client.hear()
    assert client.durable == 1
    fleet.run(ms=1_100)
    decision = client.said(2)
    assert decision is not None
    assert decision.receipt is not None
    assert decision.receipt.unfunded.total + decision.receipt.trial.total == 910
    assert client.durable == 3


def test_a_finish_that_waits_is_settled_once_with_the_next(fleet: Fleet, client: Client) -> None:
    """Two finishes of the same request wait for the same lease: one booking, both receipts."""
    with_trial(fleet, 10_000)
    client.send(
        report(FINISH, counts=Counts(10, output=900), want_receipt=True),
        report(FINISH, counts=Counts(10, output=950), want_receipt=True),
    )
    fleet.run(ms=200)
    receipts = [client.said(sequence) for sequence in (1, 2)]
    assert [said.receipt.usage.output for said in receipts if said is not None and said.receipt is not None] == [
        950
    ] * 2
    (cell,) = fleet.database.aggregates.values()
    assert (cell.usage.output, cell.request_count) == (950, 1)


def test_an_answer_that_allows_more_leaves_room_for_it(fleet: Fleet, client: Client) -> None:
    """A server steps over its ceiling by a little each time. What little is on lease raises it, but not past that.

    Then the answer waits for the next lease: a ceiling below what was generated would say stop without a reason.
    """
    with_trial(fleet, 1_000_000)
    decision = client.say(report(AUTHORIZE, counts=Counts(10)))
    for _ in range(200):
        assert decision is not None
        assert decision.grant is not None
        output = decision.grant.output_ceiling_tokens + 3
        client.say(report(PROGRESS, counts=Counts(10, output=output)))
        if client.said(client.sequence) is None:
            fleet.run(ms=40)
        decision = client.said(client.sequence)
        assert decision is not None
        assert decision.grant is not None
        assert decision.grant.output_ceiling_tokens > output


def test_what_is_left_with_another_node_is_recalled(fleet: Fleet, client: Client) -> None:
    """A request that needs it waits for that, and then runs."""
    with_trial(fleet, 1_000)
    fleet.start("b")
    other = Client(fleet["b"])
    other.say(report(AUTHORIZE, "r0", Counts(10)))
    other.say(report(FINISH, "r0", Counts(10)))
    fleet.run(ms=40)
    assert fleet["b"].node.services[SERVICE].leases[PotKind.TRIAL].free > 0
    client.say(report(AUTHORIZE, "r1", Counts(950)))
    fleet.run(ms=100)
    decision = client.said(1)
    assert decision is not None
    assert decision.allowed


def test_what_others_hold_counts_as_gone_but_may_come_back(fleet: Fleet, client: Client) -> None:
    """Contended, and retryable; larger than all of it, refused for good, with what remains."""
    with_trial(fleet, 1_000)
    assert client.say(report(AUTHORIZE, "big", Counts(900))) is not None
    client.say(report(AUTHORIZE, "r1", Counts(500)))
    fleet.run(ms=200)
    contended = client.said(2)
    assert contended is not None
    assert (contended.reason, contended.retryable) == (Reason.BUDGET_CONTENDED, True)
    assert contended.retry_after_ms is not None
    client.say(report(AUTHORIZE, "r2", Counts(1_500)))
    fleet.run(ms=200)
    refused = client.said(3)
    assert refused is not None
    assert (refused.reason, refused.retryable) == (Reason.TRIAL_INSUFFICIENT, False)
    assert refused.remaining_tokens is not None
    assert refused.remaining_tokens <= 100


def test_what_is_on_lease_elsewhere_may_come_back(fleet: Fleet, client: Client) -> None:
    """What other nodes' requests hold is not gone for good."""
    with_money(fleet, 1_000)
    fleet.start("b")
    Client(fleet["b"]).say(report(AUTHORIZE, "r0", Counts(900)))
    client.say(report(AUTHORIZE, "r1", Counts(500)))
    fleet.run(ms=400)
    contended = client.said(1)
    assert contended is not None
    assert contended.reason is Reason.BUDGET_CONTENDED
    client.say(report(AUTHORIZE, "r2", Counts(1_001)))
    fleet.run(ms=400)
    refused = client.said(2)
    assert refused is not None
    assert refused.reason is Reason.BALANCE_INSUFFICIENT
    assert refused.remaining_nanos is not None
    assert refused.remaining_nanos <= 100


def test_a_top_up_lets_the_next_request_run(fleet: Fleet, client: Client) -> None:
    """What was confirmed empty is asked for again as soon as control says that it may help."""
    with_money(fleet, 10)
    refused = client.say(report(AUTHORIZE, "r1", Counts(500)))
    assert refused is not None
    assert (refused.reason, refused.remaining_nanos) == (Reason.BALANCE_INSUFFICIENT, 10)
    fleet.control.top_up(10_000)
    fleet.run(ms=20)
    allowed = client.say(report(AUTHORIZE, "r1", Counts(500)))
    assert allowed is not None
    assert allowed.allowed


def test_a_reservation_that_refuses_overflow_says_when_to_come_back(fleet: Fleet, client: Client) -> None:
    """Beyond its rate it is exceeded for now; a request larger than a minute's worth never fits."""
    config = fleet.control.put(running(reservation_pays=True, reserved_input_tpm=6_000, reserved_output_tpm=6_000))
    fleet.control.reserve(config)
    first = client.say(report(AUTHORIZE, "r1", Counts(6_000)))
    assert first is not None
    assert first.allowed
    client.say(report(FINISH, "r1", Counts(6_000)))
    fleet.run(ms=100)
    client.say(report(AUTHORIZE, "r2", Counts(100)))
    fleet.run(ms=100)
    exceeded = client.said(3)
    assert exceeded is not None
    assert (exceeded.reason, exceeded.retryable) == (Reason.RESERVATION_EXCEEDED, True)
    assert exceeded.retry_after_ms is not None
    assert 0 < exceeded.retry_after_ms < 1_000
    fleet.run(ms=exceeded.retry_after_ms + 40)
    client.say(report(AUTHORIZE, "r2", Counts(100)))
    fleet.run(ms=40)
    later = client.said(4)
    assert later is not None
    assert later.allowed
    client.say(report(AUTHORIZE, "r3", Counts(6_001)))
    fleet.run(ms=200)
    never = client.said(5)
    assert never is not None
    assert (never.reason, never.retryable, never.retry_after_ms) == (Reason.RESERVATION_EXCEEDED, False, None)


def test_a_stop_reaches_open_requests_unasked(fleet: Fleet, client: Client) -> None:
    """Once each; new ones are refused; what they hold stays until they finish; a restart lets them go on."""
    config = with_money(fleet, 100_000)
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    client.say(report(AUTHORIZE, "r2", Counts(100)))
    held = fleet["a"].node.services[SERVICE].leases[PotKind.MONEY].held
    halted = fleet.control.put(stopped(config))
    fleet.run(ms=60)
    client.hear()
    orders = [decision for sequence, decision in client.decisions if sequence is None]
    assert [(order.request_id, order.reason) for order in orders] == [
        ("r1", Reason.POSTPAID_DISABLED),
        ("r2", Reason.POSTPAID_DISABLED),
    ]
    assert {order.config_version for order in orders} == {halted.version}
    assert fleet["a"].node.services[SERVICE].leases[PotKind.MONEY].held == held
    for phase, request_id in ((AUTHORIZE, "r3"), (AUTHORIZE, "r1"), (PROGRESS, "r1")):
        refused = client.say(report(phase, request_id, Counts(100)))
        assert refused is not None
        assert refused.reason is Reason.POSTPAID_DISABLED
    fleet.control.put(config)
    fleet.run(ms=20)
    assert client.say(report(PROGRESS, "r1", Counts(100, output=1))) is None
    client.say(report(FINISH, "r1", Counts(100, output=1)))
    client.say(report(FINISH, "r2", Counts(100)))
    fleet.run(seconds=12)
    assert fleet.control.spent[fleet.control.key(UID, PotKind.MONEY)] == 201


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ({StopReason.TRIAL_EXPIRED}, Reason.TRIAL_EXPIRED),
        ({StopReason.ACCOUNT_OVERDUE, StopReason.TRIAL_EXHAUSTED}, Reason.ACCOUNT_OVERDUE),
        ({StopReason.SUSPENDED, StopReason.POSTPAID_DISABLED}, Reason.SUSPENDED),
        (set(), Reason.SUSPENDED),
    ],
)
def test_a_denial_names_one_of_several_stop_reasons(
    fleet: Fleet, client: Client, reasons: set[StopReason], told: Reason
) -> None:
    """The one whose remedy is furthest from the caller's hands; a stop that is not understood is a stop."""
    fleet.control.put(ServiceConfig(SERVICE, Status.STOPPED, uid=UID, stop_reasons=frozenset(reasons)))
    decision = client.say(report(AUTHORIZE, counts=Counts(1)))
    assert decision is not None
    assert decision.reason is told


def test_a_stop_decides_on_what_waits(fleet: Fleet, client: Client) -> None:
    """A request that waits for a lease is refused at once when its service stops."""
    config = with_money(fleet, 100_000)
    client.say(report(AUTHORIZE, "first", Counts(1)))
    fleet["a"].exchange_leases = lambda: None  # type: ignore[method-assign]
    client.send(report(AUTHORIZE, "r1", Counts(90_000)))
    fleet.control.put(stopped(config, StopReason.SUSPENDED))
    fleet["a"].hear_control()
    decision = client.said(2)
    assert decision is not None
    assert decision.reason is Reason.SUSPENDED
    assert client.answered == 2
    assert fleet["a"].node.waiting_count == 0


def test_a_price_change_is_for_requests_to_come(fleet: Fleet, client: Client) -> None:
    """A request keeps the version in force when it was authorised."""
    config = with_money(fleet, 100_000)
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    dearer = replace(config.price, version=2, input=7_000_000)
    fleet.control.put(replace(config, price=dearer))
    fleet.run(ms=20)
    client.say(report(AUTHORIZE, "r2", Counts(100)))
    client.say(report(FINISH, "r1", Counts(100), want_receipt=True))
    client.say(report(FINISH, "r2", Counts(100), want_receipt=True))
    fleet["a"].commit()
    told = [client.said(sequence) for sequence in (3, 4)]
    assert [
        (said.receipt.price_version, said.receipt.cost_nanos)
        for said in told
        if said is not None and said.receipt is not None
    ] == [(1, 100), (2, 700)]


def test_too_many_that_wait_are_too_many() -> None:
    """Beyond its bound the node says that it is overloaded, at once."""
    fleet = Fleet(settings=NodeSettings(waiting_max=3))
    with_trial(fleet, 1_000)
    fleet["a"].linked = False
    client = Client(fleet["a"])
    client.send(*(report(AUTHORIZE, f"r{number}", Counts(1)) for number in range(5)))
    assert [(sequence, decision.reason) for sequence, decision in client.decisions] == [
        (4, Reason.OVERLOADED),
        (5, Reason.OVERLOADED),
    ]
    fleet["a"].linked = True
    fleet.run(ms=40)
    client.hear()
    assert client.answered == 5
    assert fleet["a"].node.waiting_count == 0
