"""Tokens that were not given for the request that shows them: nothing of them is believed."""

from collections.abc import Callable

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.key_ring import KeyRing, ResumeKey
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.domain.resume_token import ResumeToken
from metering_service.domain.stamp import Stamp
from tests.harness.metering.fake_control import ACCOUNT
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import NANO_EACH, SERVICE, UID, running, with_money
from tests.harness.metering.two_nodes import AUTHORIZE, FINISH, PROGRESS, granted, two_nodes

DEAR = f"accounts/{ACCOUNT}/services/dear"
DEAR_PRICE = Price(1, *[10**9] * 5)
LARGE = 100_000_000


def made_up(*, key: ResumeKey) -> bytes:
    """What somebody writes who knows how tokens look, but not the keys: a grant of a node that there is not."""
    ring = KeyRing()
    ring.take([key], 0)
    held = HeldUnits(LARGE, LARGE, money_nanos=1, billed_tokens=2 * LARGE)
    token = ResumeToken("x.1.1", "x", "", 1, 1_700_000_000_000_000, 0, 0, False, held, NANO_EACH, Stamp())
    return ring.sign(UID, "r1", token.encode())


def of_another_service(fleet: Fleet) -> bytes:
    fleet.control.put(running(DEAR, postpaid_pays=True, debt_allowed=True, price=DEAR_PRICE))
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(5))))
    fleet["a"].commit()
    return grant.resume


def of_another_request(fleet: Fleet) -> bytes:
    return granted(Client(fleet["a"]).say(report(AUTHORIZE, "r2", Counts(5)))).resume


def of_a_lost_key(fleet: Fleet) -> bytes:
    token = granted(Client(fleet["a"]).say(report(AUTHORIZE, "r1", Counts(5)))).resume
    client = Client(fleet["a"])
    client.say(report(FINISH, counts=Counts(5)))
    fleet.run(seconds=1)
    fleet.database.requests.clear()
    fleet.database.keys.clear()
    fleet.start("b")
    return token


BAD: dict[str, Callable[[Fleet], bytes]] = {
    "of another request": of_another_request,
    "made up with a key of that number": lambda _: made_up(key=ResumeKey(1, 0, b"guessed")),
    "made up with a key of another number": lambda _: made_up(key=ResumeKey(9, 0, b"guessed")),
    "a bit flipped in the content": lambda fleet: of_another_request(fleet)[:-1] + b"\x5c",
    "truncated": lambda fleet: of_another_request(fleet)[:-2],
    "oversize": lambda _: b"\0\0\0\1" + b"0" * 5_000,
    "no text": lambda _: b"\xff",
    "as they were before they were signed": lambda _: b'["x.1.1","x","",1,1,0,0,1,9,9,0,0,0,0,0,1,1,1,1,1,1,5]',
}
bad_tokens = pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD.items()])


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


@bad_tokens
def test_progress_with_a_bad_token_and_nothing_on_record_is_invalid(
    fleet: Fleet, bad: Callable[[Fleet], bytes]
) -> None:
    """It goes on from nothing. What was generated is recorded by its finish."""
    token = bad(fleet)
    client = Client(fleet["b"])
    decision = client.say(report(PROGRESS, counts=Counts(10, output=5), resume=token))
    assert decision is not None
    assert (decision.reason, decision.retryable) == (Reason.INVALID_REPORT, False)
    fleet.run(seconds=1)
    assert client.durable == client.answered == 1
    assert not [record for record in fleet.database.requests.values() if record.request_id == "r1"]


@bad_tokens
@pytest.mark.parametrize("says_it_again", [False, True])
def test_a_finish_with_a_bad_token_and_nothing_on_record_is_one_without_authorisation(
    fleet: Fleet, bad: Callable[[Fleet], bytes], says_it_again: bool
) -> None:
    """Recorded in full, without a ceiling, on the service's own terms; once, whoever hears it again."""
    token = bad(fleet)
    client = Client(fleet["b"])
    counts = Counts(10, output=90_000)
    client.say(report(FINISH, counts=counts, resume=token, want_receipt=True))
    if says_it_again:
        Client(fleet["a"]).say(report(FINISH, counts=counts, resume=token))
    fleet.run(seconds=2)
    (record,) = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert (record.part, record.predecessor_part, record.state) == ("", None, RequestState.FINISHED)
    assert record.receipt.usage == counts
    assert (record.receipt.cost_nanos, record.receipt.overrun_tokens) == (counts.total, 0)
    decision = client.said(1)
    assert decision is not None
    assert decision.receipt == record.receipt
    assert client.durable == 1


@bad_tokens
def test_an_authorisation_with_a_bad_token_is_one_without(fleet: Fleet, bad: Callable[[Fleet], bytes]) -> None:
    """It holds what it may, and no more."""
    token = bad(fleet)
    client = Client(fleet["b"])
    client.say(report(AUTHORIZE, counts=Counts(10), resume=token))
    fleet.run(ms=100)
    request = fleet["b"].node.services[SERVICE].open["r1"]
    assert (request.predecessor_part, request.base_output_tokens) == (None, 0)
    assert granted(client.said(1)).output_ceiling_tokens < LARGE


def test_a_made_up_grant_lets_nobody_without_money_run() -> None:
    """Refused as without it."""
    fleet = Fleet("a", "b")
    with_money(fleet, 0)
    client = Client(fleet["b"])
    for phase in (AUTHORIZE, PROGRESS):
        client.say(report(phase, counts=Counts(10), resume=made_up(key=ResumeKey(1, 0, b"guessed"))))
        fleet.run(seconds=2)
    assert {decision.allowed for _, decision in client.decisions} == {False}


@pytest.mark.parametrize("phase", [AUTHORIZE, PROGRESS, FINISH])
def test_a_token_of_a_cheap_service_pays_for_nothing_on_a_dear_one(fleet: Fleet, phase: Phase) -> None:
    """Neither at its price, nor from its grant: also where the request has the same id there."""
    token = of_another_service(fleet)
    client = Client(fleet["b"])
    client.say(report(phase, counts=Counts(10), service=DEAR, resume=token))
    fleet.run(ms=100)
    client.say(report(FINISH, counts=Counts(10, output=3_000), service=DEAR, resume=token))
    fleet.run(seconds=40)
    (record,) = [record for record in fleet.database.requests.values() if record.service == DEAR]
    assert (record.predecessor_part, record.base_output_tokens) == (None, 0)
    assert record.price_nanos_per_million == DEAR_PRICE.kinds
    assert record.receipt.cost_nanos == 3_010 * 1_000


def test_a_bad_token_is_no_obstacle_where_the_request_is_on_record(fleet: Fleet) -> None:
    """The node goes on from that, as if there were no token."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    first.close()
    second = Client(fleet["b"])
    flipped = grant.resume[:-1] + b"\x5c"
    assert second.say(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens), resume=flipped))
    request = fleet["b"].node.services[SERVICE].open["r1"]
    assert request.base_output_tokens == grant.output_ceiling_tokens
    second.say(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens + 4), resume=flipped))
    fleet.run(seconds=40)
    records = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert sum(record.receipt.usage.total for record in records) == 104 + grant.output_ceiling_tokens


def test_a_bad_token_is_no_obstacle_where_the_request_runs(fleet: Fleet) -> None:
    """Nor does it say how far that may go."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    made = made_up(key=ResumeKey(1, 0, b"guessed"))
    client.say(report(PROGRESS, counts=Counts(100, output=1), resume=made))
    assert fleet["a"].node.services[SERVICE].open["r1"].ceiling_tokens == grant.output_ceiling_tokens
    client.say(report(FINISH, counts=Counts(100, output=2), resume=made))
    fleet.run(seconds=2)
    (record,) = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert record.receipt.usage == Counts(100, output=2)


def test_a_bad_token_lets_nothing_go_on_while_the_database_is_away(fleet: Fleet) -> None:
    """A good one does, as far as its grant."""
    good = granted(Client(fleet["a"]).say(report(AUTHORIZE, "good", Counts(10)))).resume
    fleet.database.down = True
    client = Client(fleet["b"])
    client.send(
        report(PROGRESS, "good", Counts(10, output=5), resume=good),
        report(PROGRESS, "r1", Counts(10, output=5), resume=made_up(key=ResumeKey(1, 0, b"guessed"))),
        report(PROGRESS, "r1", Counts(10, output=5), resume=made_up(key=ResumeKey(9, 0, b"guessed"))),
    )
    fleet.run(ms=200)
    client.hear()
    reasons = {sequence: decision.reason for sequence, decision in client.decisions}
    assert reasons == {2: Reason.STORAGE_UNAVAILABLE, 3: Reason.STORAGE_UNAVAILABLE}


def test_a_token_that_its_node_signed_with_a_lost_key_counts_as_none(fleet: Fleet) -> None:
    """The database was put back to a copy from before that key, and from before the request."""
    token = of_a_lost_key(fleet)
    client = Client(fleet["b"])
    decision = client.say(report(PROGRESS, counts=Counts(5, output=5), resume=token))
    assert decision is not None
    assert decision.reason is Reason.INVALID_REPORT
    client.say(report(FINISH, counts=Counts(5, output=5), resume=token))
    fleet.run(seconds=1)
    (record,) = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert (record.part, record.receipt.usage.total) == ("", 10)


def test_a_token_whose_key_came_later_is_waited_for(fleet: Fleet) -> None:
    """A node that has not read the table since reads it, and goes on from the grant."""
    fleet.clock.advance(seconds=86_400)
    key = ResumeKey(2, fleet.clock.now_us(), b"new")
    for _ in range(2):
        fleet["a"].keys.ring.take([*fleet.database.keys.values(), key], fleet.clock.monotonic_ns())
        fleet.clock.advance(seconds=61)
    for name in ("a", "b"):
        fleet[name].exchange_leases()
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    assert fleet["b"].keys.ring.lacks(grant.resume)
    fleet["b"].keys.ring.is_lacking = False
    fleet.database.keys[2] = key
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=2), resume=grant.resume))
    fleet.run(ms=100)
    assert fleet["b"].node.services[SERVICE].open["r1"].base_output_tokens == grant.output_ceiling_tokens
