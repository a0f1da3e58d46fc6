"""The life of one request, as an inference server sees it."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from tests.harness.metering.keys import sha256
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, stopped, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def allowed(decision: Decision | None) -> Decision:
    assert decision is not None
    assert decision.reason is None, decision
    return decision


def denied(decision: Decision | None) -> Decision:
    assert decision is not None
    assert decision.reason is not None
    assert decision.grant is None
    return decision


def ceiling(decision: Decision | None) -> int:
    grant = allowed(decision).grant
    assert grant is not None
    return grant.output_ceiling_tokens


def spent(fleet: Fleet, kind: PotKind) -> int:
    return fleet.control.spent[fleet.control.key(UID, kind)]


def at_rest(fleet: Fleet, kind: PotKind) -> int:
    """What is available, nothing being on lease any more."""
    fleet.run(seconds=12)
    pot = fleet.control.pots[fleet.control.key(UID, kind)]
    assert pot.leased_units == 0
    return pot.available_units


def test_a_request_is_authorised_runs_and_is_finished(fleet: Fleet, client: Client) -> None:
    """Held when it begins, booked when it ends, given back what it did not use; the receipt comes after the commit."""
    with_trial(fleet, 100_000)
    grant = allowed(client.say(report(AUTHORIZE, counts=Counts(100)))).grant
    assert grant is not None
    assert grant.output_ceiling_tokens >= 16
    assert grant.valid_for_ms == 20_000
    assert not grant.is_final
    assert client.say(report(PROGRESS, counts=Counts(100, output=3))) is None
    assert client.answered == 2
    assert client.say(report(FINISH, counts=Counts(60, 40, output=9), want_receipt=True)) is None
    assert (client.answered, client.durable) == (3, 1)
    fleet["a"].commit()
    receipt = allowed(client.said(3)).receipt
    assert receipt is not None
    assert receipt.usage == receipt.trial == Counts(60, 40, output=9)
    assert (receipt.cost_nanos, receipt.overrun_tokens, receipt.revision) == (0, 0, 1)
    assert client.durable == 3
    assert at_rest(fleet, PotKind.TRIAL) == 100_000 - 109
    assert spent(fleet, PotKind.TRIAL) == 109


def test_an_open_request_is_authorised_once(fleet: Fleet, client: Client) -> None:
    """Saying it again repeats the decision and holds nothing more."""
    with_trial(fleet, 100_000)
    first = client.say(report(AUTHORIZE, counts=Counts(100)))
    lease = fleet["a"].node.services[SERVICE].leases[PotKind.TRIAL]
    held = lease.held
    again = client.say(report(AUTHORIZE, counts=Counts(100)))
    assert ceiling(again) == ceiling(first)
    assert lease.held == held


def test_a_finished_id_is_not_used_again(fleet: Fleet, client: Client) -> None:
    """Whoever begins a request with the id of a finished one is refused, for good."""
    with_trial(fleet, 100_000)
    allowed(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(FINISH, counts=Counts(100, output=5)))
    decision = denied(client.say(report(AUTHORIZE, counts=Counts(100))))
    assert (decision.reason, decision.retryable) == (Reason.REQUEST_ID_REUSED, False)


def test_a_denial_leaves_every_pot_as_it_was(fleet: Fleet, client: Client) -> None:
    """Only the statistics of denials move."""
    with_trial(fleet, 50)
    decision = denied(client.say(report(AUTHORIZE, counts=Counts(100))))
    assert (decision.reason, decision.remaining_tokens) == (Reason.TRIAL_INSUFFICIENT, 50)
    assert not decision.retryable
    fleet["a"].commit()
    assert sum(fleet.database.denials.values()) == 1
    assert fleet.database.requests == {}
    assert at_rest(fleet, PotKind.TRIAL) == 50


def test_what_pays_for_the_input_alone_is_enough_to_begin_if_a_token_is_left(fleet: Fleet, client: Client) -> None:
    """The grant is as small as what remains, and says that it is the last."""
    with_trial(fleet, 103)
    grant = allowed(client.say(report(AUTHORIZE, counts=Counts(100)))).grant
    assert grant is not None
    assert (grant.output_ceiling_tokens, grant.is_final) == (3, True)
    decision = denied(client.say(report(PROGRESS, counts=Counts(100, output=3))))
    assert decision.reason is Reason.TRIAL_INSUFFICIENT
    client.say(report(FINISH, counts=Counts(100, output=3)))
    assert at_rest(fleet, PotKind.TRIAL) == 0


@pytest.mark.parametrize(("quota", "begins"), [(99, False), (100, False), (101, True)])
def test_to_begin_takes_the_input_and_one_token(fleet: Fleet, client: Client, quota: int, begins: bool) -> None:
    """Exactly at the limit."""
    with_trial(fleet, quota)
    decision = client.say(report(AUTHORIZE, counts=Counts(100)))
    assert decision is not None
    assert decision.allowed is begins


def test_a_request_without_output_needs_its_input_alone(fleet: Fleet, client: Client) -> None:
    """As for embeddings: max_output_tokens is zero."""
    with_trial(fleet, 100)
    grant = allowed(client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=0))).grant
    assert grant is not None
    assert (grant.output_ceiling_tokens, grant.is_final) == (0, True)
    assert client.say(report(PROGRESS, counts=Counts(100))) is None
    client.say(report(FINISH, counts=Counts(100)))
    assert at_rest(fleet, PotKind.TRIAL) == 0


def test_a_request_of_nothing_is_recorded(fleet: Fleet, client: Client) -> None:
    """Zero tokens are a request all the same."""
    with_trial(fleet, 100)
    allowed(client.say(report(AUTHORIZE, max_output_tokens=0)))
    client.say(report(FINISH, want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(2)).receipt
    assert receipt is not None
    assert receipt.usage == Counts()
    assert sum(cell.request_count for cell in fleet.database.aggregates.values()) == 1
    assert at_rest(fleet, PotKind.TRIAL) == 100


def test_past_half_of_its_ceiling_a_request_is_renewed(fleet: Fleet, client: Client) -> None:
    """Half is answered by the watermark alone; past half brings a larger grant, in one answer, with room ahead."""
    with_trial(fleet, 1_000_000)
    client.say(report(AUTHORIZE, "warm", Counts(100)))
    fleet.run(ms=400)
    first = ceiling(client.say(report(AUTHORIZE, counts=Counts(100))))
    assert client.say(report(PROGRESS, counts=Counts(100, output=first // 2))) is None
    assert client.answered == client.sequence
    second = ceiling(client.say(report(PROGRESS, counts=Counts(100, output=first // 2 + 1))))
    assert second > first


def test_max_output_tokens_is_the_last_ceiling(fleet: Fleet, client: Client) -> None:
    """A grant that reaches it is final; whoever reports more is told the same ceiling, and the rest is overrun."""
    with_trial(fleet, 1_000_000)
    grant = allowed(client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=10))).grant
    assert grant is not None
    assert (grant.output_ceiling_tokens, grant.is_final) == (10, True)
    assert client.say(report(PROGRESS, counts=Counts(100, output=8))) is None
    assert client.say(report(PROGRESS, counts=Counts(100, output=14))) is None
    client.say(report(FINISH, counts=Counts(100, output=14), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.overrun_tokens, receipt.trial.total) == (4, 114)


def test_output_within_the_ceiling_is_no_overrun_however_late(fleet: Fleet, client: Client) -> None:
    """Said after a stop, and when the grant is no longer valid, since control is gone: it is paid for all the same."""
    config = with_trial(fleet, 1_000_000)
    reached = ceiling(client.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.control.put(stopped(config))
    fleet.run(ms=400)
    assert denied(client.said(None)).reason is Reason.POSTPAID_DISABLED
    fleet.control.reachable = False
    fleet.run(seconds=25)
    assert not fleet["a"].node.leases_valid
    client.say(report(FINISH, counts=Counts(100, output=reached), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.overrun_tokens, receipt.trial.output) == (0, reached)


def test_output_beyond_the_ceiling_is_overrun_and_paid_for(fleet: Fleet, client: Client) -> None:
    """It goes through the payers like any other token."""
    with_trial(fleet, 1_000_000)
    first = ceiling(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(FINISH, counts=Counts(100, output=first + 50), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(2)).receipt
    assert receipt is not None
    assert (receipt.overrun_tokens, receipt.unfunded.total, receipt.trial.total) == (50, 0, 150 + first)


def test_what_nothing_covers_is_unfunded_without_pay_as_you_go(fleet: Fleet, client: Client) -> None:
    """Recorded in full, paid by nobody."""
    with_trial(fleet, 120)
    assert ceiling(client.say(report(AUTHORIZE, counts=Counts(100)))) == 20 - 4
    client.say(report(FINISH, counts=Counts(100, output=50), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(2)).receipt
    assert receipt is not None
    assert (receipt.trial.total, receipt.unfunded) == (120, Counts(output=30))
    assert (receipt.overrun_tokens, receipt.debt_nanos) == (34, 0)


def test_what_nothing_covers_is_debt_with_pay_as_you_go(fleet: Fleet, client: Client) -> None:
    """Billed, and owed."""
    with_money(fleet, 120)
    assert ceiling(client.say(report(AUTHORIZE, counts=Counts(100)))) == 16
    client.say(report(FINISH, counts=Counts(100, output=50), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(2)).receipt
    assert receipt is not None
    assert (receipt.billed.total, receipt.cost_nanos, receipt.debt_nanos, receipt.overrun_tokens) == (150, 150, 30, 34)
    assert at_rest(fleet, PotKind.MONEY) == -30


def test_a_finish_alone_is_recorded_in_full(fleet: Fleet, client: Client) -> None:
    """A server that cannot ask first: what is there pays, the rest is nobody's, and that is overrun."""
    with_trial(fleet, 100)
    client.say(report(FINISH, counts=Counts(80, output=50), want_receipt=True))
    fleet.run(ms=200)
    decision = allowed(client.said(1))
    receipt = decision.receipt
    assert receipt is not None
    assert (receipt.trial.total, receipt.unfunded.total, receipt.overrun_tokens) == (100, 30, 30)
    assert client.durable == 1


def test_a_finish_alone_tells_whether_the_service_may_go_on(fleet: Fleet, client: Client) -> None:
    """Of a stopped service it is recorded, and denied."""
    config = with_money(fleet, 1_000)
    fleet.control.put(stopped(config))
    client.say(report(FINISH, counts=Counts(10), want_receipt=True))
    fleet.run(ms=200)
    decision = denied(client.said(1))
    assert decision.reason is Reason.POSTPAID_DISABLED
    assert decision.receipt is not None
    assert (decision.receipt.billed.total, decision.receipt.debt_nanos) == (10, 10)
    client.say(report(FINISH, "r2", Counts(10)))
    fleet.run(ms=200)
    plain = denied(client.said(2))
    assert plain.receipt is None
    assert plain.reason is Reason.POSTPAID_DISABLED


def test_a_repeated_finish_changes_nothing(fleet: Fleet, client: Client) -> None:
    """The same receipt, of the same revision, booked once."""
    with_trial(fleet, 1_000)
    allowed(client.say(report(AUTHORIZE, counts=Counts(100))))
    for sequence in (2, 3):
        client.say(report(FINISH, counts=Counts(100, output=7), want_receipt=True))
        fleet["a"].commit()
        receipt = allowed(client.said(sequence)).receipt
        assert receipt is not None
        assert (receipt.revision, receipt.trial.total) == (1, 107)
    client.say(report(PROGRESS, counts=Counts(100, output=2)))
    assert at_rest(fleet, PotKind.TRIAL) == 893


@pytest.mark.parametrize("phase", [PROGRESS, FINISH])
def test_larger_counts_that_come_late_revise_the_receipt(fleet: Fleet, client: Client, phase: Phase) -> None:
    """They are overrun, and only the difference is booked."""
    with_trial(fleet, 1_000)
    allowed(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(FINISH, counts=Counts(100, output=7)))
    client.say(report(phase, counts=Counts(100, output=12)))
    client.say(report(FINISH, counts=Counts(100, output=12), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.revision, receipt.trial.total, receipt.overrun_tokens) == (2, 112, 5)
    (cell,) = fleet.database.aggregates.values()
    assert (cell.usage, cell.request_count) == (Counts(100, output=12), 1)
    assert at_rest(fleet, PotKind.TRIAL) == 888


def test_a_settled_request_is_not_sorted_anew(fleet: Fleet, client: Client) -> None:
    """The same total of other kinds leaves the receipt as it is."""
    with_money(fleet, 10_000)
    client.say(report(FINISH, counts=Counts(100)))
    client.say(report(FINISH, counts=Counts(0, 100), want_receipt=True))
    fleet.run(ms=200)
    receipt = allowed(client.said(2)).receipt
    assert receipt is not None
    assert (receipt.usage, receipt.revision) == (Counts(100), 1)


def test_overrun_is_counted_once_however_often_it_is_revised(fleet: Fleet, client: Client) -> None:
    """Tokens beyond the ceiling that nothing covered are not counted again when more of them come."""
    with_trial(fleet, 116)
    assert ceiling(client.say(report(AUTHORIZE, counts=Counts(100)))) == 16
    for output in (30, 40, 40, 35):
        client.say(report(FINISH, counts=Counts(100, output=output), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.usage.output, receipt.overrun_tokens, receipt.unfunded.total) == (40, 24, 24)


def test_input_that_grows_is_held_as_it_grows(fleet: Fleet, client: Client) -> None:
    """A progress report that raises the input past its hold extends it; what cannot be covered is the grant's end."""
    with_trial(fleet, 200)
    first = ceiling(client.say(report(AUTHORIZE, counts=Counts(100))))
    lease = fleet["a"].node.services[SERVICE].leases[PotKind.TRIAL]
    assert lease.held == 100 + first
    client.say(report(PROGRESS, counts=Counts(150, output=1)))
    assert lease.held >= 150 + first
    client.say(report(PROGRESS, counts=Counts(400, output=1)))
    assert lease.held <= 200
    fleet.run(seconds=2)
    client.say(report(FINISH, counts=Counts(400, output=1), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.trial.total, receipt.unfunded.total) == (200, 201)
    assert receipt.overrun_tokens >= 201


def test_progress_without_an_authorisation_is_taken_in(fleet: Fleet, client: Client) -> None:
    """It is granted on as if it had asked."""
    with_trial(fleet, 10_000)
    decision = client.say(report(PROGRESS, counts=Counts(100, output=10)))
    assert ceiling(decision) > 10
    assert ceiling(client.say(report(AUTHORIZE, counts=Counts(100)))) == ceiling(decision)
    client.say(report(FINISH, counts=Counts(100, output=11), want_receipt=True))
    fleet["a"].commit()
    receipt = allowed(client.said(client.sequence)).receipt
    assert receipt is not None
    assert (receipt.trial.total, receipt.overrun_tokens) == (111, 0)


def test_a_record_says_how_the_end_was_learned(fleet: Fleet, client: Client) -> None:
    """Finished, with what the server said of it."""
    with_trial(fleet, 1_000)
    fleet.control.put_key("key-1")
    labels = (("team", "search"),)
    allowed(client.say(report(AUTHORIZE, counts=Counts(100), key_sha256=sha256("key-1"), labels=labels)))
    client.say(report(FINISH, counts=Counts(100, output=2), estimated=True))
    fleet["a"].commit()
    (record,) = fleet.database.requests.values()
    assert (record.state, record.estimated) == (RequestState.FINISHED, True)
    assert (record.credential, record.labels, record.counts) == ("uid-key-1", labels, Counts(100, output=2))
