"""Answers that come as a whole: all that may be generated is held first, and is cut down only by what is spent."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Grant, Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.price import Price
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, running, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
SECOND_NS = 1_000_000_000
DOLLARS_2 = Price(1, 0, 0, 0, 2_000_000_000, 2_000_000_000)


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes that meet when there is something to do."""
    return Fleet("a", "b")


def ask(client: Client, request_id: str = "r1", input_tokens: int = 0, **more: Any) -> int:
    """Send an authorisation of a whole answer; its number."""
    client.send(report(AUTHORIZE, request_id, Counts(input_tokens), whole=True, **more))
    return client.sequence


def decided(fleet: Fleet, client: Client, number: int) -> Decision:
    """The decision on a report, after as long as it may wait."""
    if client.said(number) is None:
        fleet.run(ms=1_500)
    decision = client.said(number)
    assert decision is not None
    return decision


def grant(fleet: Fleet, client: Client, request_id: str = "r1", input_tokens: int = 0, **more: Any) -> Grant:
    decision = decided(fleet, client, ask(client, request_id, input_tokens, **more))
    assert decision.grant is not None, decision
    return decision.grant


def denial(fleet: Fleet, client: Client, request_id: str = "r1", input_tokens: int = 0, **more: Any) -> Decision:
    decision = decided(fleet, client, ask(client, request_id, input_tokens, **more))
    assert not decision.allowed, decision
    return decision


def at_rest(fleet: Fleet) -> None:
    """Nothing is open, and all that was not spent is with control again."""
    fleet.run(seconds=100)
    for key, pot in fleet.control.pots.items():
        assert fleet.control.outstanding(key) == 0
        assert pot.spent_units == fleet.control.spent[key]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("together", [True, False])
def test_no_more_pass_than_can_be_paid(nodes: int, *, together: bool) -> None:
    """Twenty at once for which two are funded: two pass, the others may try again; nothing is ever overspent."""
    fleet = Fleet(*"ab"[:nodes])
    with_money(fleet, 20_000_000, price=DOLLARS_2)
    key = fleet.control.key("", PotKind.MONEY)
    fleet.control.pots[key] = replace(fleet.control.pots[key], floor_units=10_000_000)  # type: ignore[type-var]
    clients = [Client(rig) for rig in fleet.rigs.values()]
    asked = []
    for number in range(20):
        client = clients[number % nodes]
        asked.append((client, ask(client, f"r{number}", 9, max_output_tokens=4_000)))
        if not together:
            fleet.run(ms=20)
    decisions = [decided(fleet, client, number) for client, number in asked]
    grants = [decision.grant for decision in decisions if decision.grant is not None]
    assert [(each.output_ceiling_tokens, each.is_final) for each in grants] == [(4_000, True)] * 2
    refused = [decision for decision in decisions if not decision.allowed]
    assert Counter(decision.reason for decision in refused) == {Reason.BUDGET_CONTENDED: 18}
    assert all(decision.retryable and decision.retry_after_ms for decision in refused)
    for (client, _), decision in zip(asked, decisions, strict=True):
        if decision.allowed:
            client.send(report(FINISH, decision.request_id, Counts(9, output=4_000)))
    at_rest(fleet)
    assert fleet.control.spent[key] == 16_000_000


def test_a_request_without_a_limit_gets_what_is_left_of_a_trial(fleet: Fleet) -> None:
    """All of it is held, nothing is beyond it, and nobody else gets any."""
    with_trial(fleet, 400)
    client = Client(fleet["a"])
    got = grant(fleet, client, input_tokens=12)
    assert (got.output_ceiling_tokens, got.is_final) == (388, True)
    assert denial(fleet, Client(fleet["b"]), "r2").reason is Reason.BUDGET_CONTENDED
    client.send(report(FINISH, counts=Counts(12, output=388), want_receipt=True))
    fleet.run(seconds=1)
    receipt = client.said(client.sequence)
    assert receipt is not None
    assert receipt.receipt is not None
    assert (receipt.receipt.overrun_tokens, receipt.receipt.trial.total) == (0, 400)
    at_rest(fleet)


@pytest.mark.parametrize(
    ("settings", "asked", "ceiling"),
    [
        ({}, {}, 4_096),
        ({"whole_output_tokens_default": 100}, {}, 100),
        ({"whole_output_tokens_default": 1}, {}, 16),
        ({"whole_output_tokens_default": 1}, {"min_output_tokens": 40}, 40),
        ({}, {"max_output_tokens": 50_000}, 50_000),
        ({"output_tokens_max": 8_192}, {"max_output_tokens": 50_000}, 8_192),
        ({"output_tokens_max": 1_000}, {}, 1_000),
        ({"output_tokens_max": 1_000}, {"max_output_tokens": 3}, 3),
        ({}, {"max_output_tokens": 0}, 0),
        ({}, {"max_output_tokens": 3, "min_output_tokens": 40}, 3),
    ],
)
@pytest.mark.parametrize("payer", [with_money, with_trial])
def test_all_that_may_be_generated_is_held(
    fleet: Fleet, payer: Any, settings: dict[str, int], asked: dict[str, Any], ceiling: int
) -> None:
    """The request's limit, or the model's hold for one without; never more than the model can answer."""
    payer(fleet, 1_000_000, **settings)
    client = Client(fleet["a"])
    got = grant(fleet, client, input_tokens=7, **asked)
    assert (got.output_ceiling_tokens, got.is_final) == (ceiling, True)
    request = fleet["a"].node.services[SERVICE].open["r1"]
    assert (request.held.input_tokens, request.held.output_ceiling_tokens) == (7, ceiling)


@pytest.mark.parametrize("payer", [with_money, with_trial])
def test_it_is_cut_down_to_what_is_left_for_good_and_no_further_than_it_is_of_use(fleet: Fleet, payer: Any) -> None:
    """What was spent does not come back: the rest is granted, unless it is too little."""
    payer(fleet, 1_000)
    client = Client(fleet["a"])
    grant(fleet, client, "r0", max_output_tokens=900)
    waiting = denial(fleet, client, "r1", max_output_tokens=200)
    assert (waiting.reason, waiting.retryable) == (Reason.BUDGET_CONTENDED, True)
    client.send(report(FINISH, "r0", Counts(output=900)))
    fleet.run(seconds=5)
    too_little = denial(fleet, client, "r2", max_output_tokens=200, min_output_tokens=101)
    assert too_little.reason in {Reason.TRIAL_INSUFFICIENT, Reason.BALANCE_INSUFFICIENT}
    assert not too_little.retryable
    assert 100 in {too_little.remaining_tokens, too_little.remaining_nanos}
    assert grant(fleet, client, "r3", max_output_tokens=200, min_output_tokens=100).output_ceiling_tokens == 100
    client.send(report(FINISH, "r3", Counts(output=90)))
    fleet.run(seconds=5)
    assert denial(fleet, client, "r4", max_output_tokens=200).reason is too_little.reason
    assert grant(fleet, client, "r5", max_output_tokens=10).output_ceiling_tokens == 10


def test_what_another_node_has_and_does_not_need_is_recalled(fleet: Fleet) -> None:
    """It waits for that, and is not cut down."""
    with_trial(fleet, 10_000)
    first, second = Client(fleet["a"]), Client(fleet["b"])
    first.say(report(AUTHORIZE, "stream", Counts(10)))
    fleet.run(ms=500)
    first.say(report(FINISH, "stream", Counts(10, output=1)))
    assert fleet["a"].node.services[SERVICE].leases[PotKind.TRIAL].free > 1_000
    assert grant(fleet, second, max_output_tokens=9_989).output_ceiling_tokens == 9_989


def test_a_whole_answer_is_never_renewed(fleet: Fleet) -> None:
    """Nor are its reports answered, as far as its ceiling goes."""
    with_trial(fleet, 10_000)
    client = Client(fleet["a"])
    grant(fleet, client, max_output_tokens=100)
    for tokens in (10, 60, 99, 100):
        assert client.say(report(PROGRESS, counts=Counts(output=tokens))) is None
    assert fleet["a"].node.services[SERVICE].open["r1"].ceiling_tokens == 100


def reserved(fleet: Fleet, tpm: int, **more: Any) -> None:
    config = fleet.control.put(running(reservation_pays=True, reserved_input_tpm=tpm, reserved_output_tpm=tpm, **more))
    fleet.control.reserve(config)


def test_a_reservation_gives_a_minutes_worth_at_most(fleet: Fleet) -> None:
    """Lowered and final; below that it says when it will have accrued."""
    reserved(fleet, 600)
    client = Client(fleet["a"])
    got = grant(fleet, client, input_tokens=10, max_output_tokens=4_000)
    assert (got.output_ceiling_tokens, got.is_final) == (600, True)
    client.send(report(FINISH, counts=Counts(10, output=600)))
    fleet.run(seconds=5)
    refused = denial(fleet, client, "r2", 10, max_output_tokens=300)
    assert (refused.reason, refused.retryable) == (Reason.RESERVATION_EXCEEDED, True)
    assert refused.retry_after_ms is not None
    assert 23_000 <= refused.retry_after_ms <= 26_000
    fleet.run(seconds=refused.retry_after_ms // 1_000 + 2)
    assert grant(fleet, client, "r3", 10, max_output_tokens=300).output_ceiling_tokens == 300
    too_long = denial(fleet, client, "r4", 601)
    assert (too_long.reason, too_long.retryable) == (Reason.RESERVATION_EXCEEDED, False)


def test_a_reservation_never_has_more_than_a_minutes_worth(fleet: Fleet) -> None:
    """An answer of which more is the least is refused for good, also while all of the rate is free."""
    reserved(fleet, 600)
    client = Client(fleet["a"])
    refused = denial(fleet, client, "r1", 10, max_output_tokens=4_000, min_output_tokens=601)
    assert (refused.reason, refused.retryable) == (Reason.RESERVATION_EXCEEDED, False)
    assert grant(fleet, client, "r2", 10, max_output_tokens=4_000, min_output_tokens=600).output_ceiling_tokens == 600


def test_what_a_reservation_does_not_cover_is_paid_where_that_is_agreed(fleet: Fleet) -> None:
    """All of a whole answer, at once."""
    reserved(fleet, 600, postpaid_pays=True, debt_allowed=True, price=Price(1, *[1_000_000] * 5))
    fleet.control.top_up(100_000)
    client = Client(fleet["a"])
    assert grant(fleet, client, max_output_tokens=4_000).output_ceiling_tokens == 4_000
    held = fleet["a"].node.services[SERVICE].open["r1"].held
    assert (held.reserved_output_tokens, held.money_nanos) == (600, 3_400)


@pytest.mark.parametrize("hold_s", [10, 45, 3_600])
def test_a_hold_lasts_for_its_time_and_no_longer(fleet: Fleet, hold_s: int) -> None:
    """Without a stream: neither the resume window nor anything else ends it before, and nothing of it is overrun."""
    with_trial(fleet, 10_000)
    client = Client(fleet["a"])
    got = grant(fleet, client, "r1", 10, max_output_tokens=1_000, hold_for_ns=hold_s * SECOND_NS)
    grant(fleet, client, "r2", 10, max_output_tokens=1_000, hold_for_ns=hold_s * SECOND_NS)
    assert 0 < got.valid_for_ms <= 20_000
    client.close()
    fleet.run(seconds=hold_s - 4)
    assert set(fleet["a"].node.services[SERVICE].open) == {"r1", "r2"}
    late = Client(fleet["a"])
    late.send(report(FINISH, "r1", Counts(10, output=1_000), want_receipt=True))
    fleet.run(seconds=1)
    told = late.said(1)
    assert told is not None
    assert told.receipt is not None
    assert (told.receipt.overrun_tokens, told.receipt.trial.total) == (0, 1_010)
    fleet.run(seconds=6)
    assert not fleet["a"].node.services[SERVICE].open
    record = next(each for each in fleet.database.requests.values() if each.request_id == "r2")
    assert record.state is RequestState.TIMED_OUT
    at_rest(fleet)


def test_a_hold_outlives_its_node(fleet: Fleet) -> None:
    """The next epoch keeps what the lost one held, until the request's own time is over."""
    with_trial(fleet, 2_000)
    client = Client(fleet["a"])
    grant(fleet, client, "r1", max_output_tokens=2_000, hold_for_ns=45 * SECOND_NS)
    fleet.run(ms=500)
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=40)
    assert [each.state for each in fleet.database.requests.values()] == [RequestState.OPEN]
    elsewhere = Client(fleet["b"])
    assert denial(fleet, elsewhere, "r2", max_output_tokens=2_000).reason is Reason.BUDGET_CONTENDED
    fleet.run(seconds=10)
    assert grant(fleet, elsewhere, "r3", max_output_tokens=2_000).output_ceiling_tokens == 2_000


def test_what_a_lost_node_held_for_long_pays_when_the_answer_comes(fleet: Fleet) -> None:
    """However long after the restart that is, within the request's own time: nothing of it is overrun, or a debt."""
    with_money(fleet, 1_000)
    client = Client(fleet["a"])
    got = grant(fleet, client, "r1", 9, max_output_tokens=800, hold_for_ns=600 * SECOND_NS)
    fleet.run(ms=500)
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=300)
    elsewhere = Client(fleet["b"])
    assert denial(fleet, elsewhere, "r2", max_output_tokens=800).reason is Reason.BUDGET_CONTENDED
    elsewhere.send(report(FINISH, "r1", Counts(9, output=700), resume=got.resume))
    at_rest(fleet)
    receipts = [each.receipt for each in fleet.database.requests.values()]
    assert sum(receipt.cost_nanos for receipt in receipts) == 709
    assert not any(receipt.overrun_tokens or receipt.debt_nanos for receipt in receipts)
    assert fleet.control.spent[fleet.control.key("", PotKind.MONEY)] == 709


def test_a_hold_that_another_node_finishes_does_not_wait_for_its_end(fleet: Fleet) -> None:
    """What the finish left unused is free when the next window is over, not when the hold would have been."""
    with_trial(fleet, 2_000)
    client = Client(fleet["a"])
    grant(fleet, client, "r1", max_output_tokens=2_000, hold_for_ns=3_600 * SECOND_NS)
    fleet.run(ms=500)
    client.close()
    other = Client(fleet["b"])
    other.send(report(FINISH, "r1", Counts(output=500)))
    fleet.run(seconds=40)
    assert not fleet["a"].node.services[SERVICE].open
    key = fleet.control.key(UID, PotKind.TRIAL)
    at_rest(fleet)
    assert fleet.control.spent[key] == 500


def test_it_goes_on_elsewhere_with_the_ceiling_that_it_has(fleet: Fleet) -> None:
    """A stream that breaks before the answer is there says the authorisation again, with its token."""
    with_trial(fleet, 2_000)
    first = Client(fleet["a"])
    got = grant(fleet, first, "r1", 10, max_output_tokens=500)
    fleet.run(ms=500)
    first.close()
    second = Client(fleet["b"])
    again = grant(fleet, second, "r1", 10, max_output_tokens=500, resume=got.resume)
    assert (again.output_ceiling_tokens, again.is_final) == (500, True)
    second.send(report(FINISH, "r1", Counts(10, output=500), want_receipt=True))
    at_rest(fleet)
    assert fleet.control.spent[fleet.control.key(UID, PotKind.TRIAL)] == 510


@pytest.mark.parametrize(
    ("phase", "more", "word"),
    [
        (PROGRESS, {"whole": True}, "AUTHORIZE"),
        (FINISH, {"whole": True}, "AUTHORIZE"),
        (AUTHORIZE, {"hold_for_ns": SECOND_NS}, "whole"),
        (FINISH, {"hold_for_ns": SECOND_NS}, "whole"),
        (AUTHORIZE, {"min_output_tokens": 1}, "whole"),
        (AUTHORIZE, {"whole": True, "hold_for_ns": 0}, "1 h"),
        (AUTHORIZE, {"whole": True, "hold_for_ns": -1}, "1 h"),
        (AUTHORIZE, {"whole": True, "hold_for_ns": 3_600 * SECOND_NS + 1}, "1 h"),
        (AUTHORIZE, {"whole": True, "min_output_tokens": -1}, "min_output_tokens"),
        (AUTHORIZE, {"whole": True, "min_output_tokens": 100_000_001}, "min_output_tokens"),
    ],
)
def test_what_is_out_of_place_is_refused(fleet: Fleet, phase: Phase, more: dict[str, Any], word: str) -> None:
    """As a malformed report, also of a request whose progress is not looked at closely."""
    with_trial(fleet, 10_000)
    client = Client(fleet["a"])
    grant(fleet, client, max_output_tokens=1_000)
    wrong = client.say(report(phase, "r1", Counts(output=1), **more))
    assert wrong is not None
    assert wrong.reason is Reason.INVALID_REPORT
    assert word in wrong.message
