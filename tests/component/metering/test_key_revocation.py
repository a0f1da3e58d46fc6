"""The end of an API key reaches what runs by it, on every node, and nothing else; what was done is paid for."""

from dataclasses import replace
from typing import Any

import pytest

from metering_service.domain.api_key import KeyState
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.report import Phase, Report
from tests.harness.metering.keys import DEFAULT, MODEL, allowed, by_key, is_invalid, sha256, warm, with_key
from tests.harness.metering.node_harness import Client, Fleet, report

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
SECOND_NS = 1_000_000_000


def run(fleet: Fleet, shown: str = "k", request_id: str = "r1", node: str = "a") -> Client:
    """A stream on which a request with this key runs."""
    client = Client(fleet[node])
    allowed(client.say(by_key(AUTHORIZE, shown, request_id, counts=Counts(10))))
    assert client.say(report(PROGRESS, request_id, Counts(10, output=1), service="")) is None
    return client


def orders(client: Client) -> list[Decision]:
    """What it was told without having asked."""
    client.hear()
    return [decision for sequence, decision in client.decisions if sequence is None]


@pytest.mark.parametrize("state", [KeyState.REVOKED, KeyState.EXPIRED, KeyState.UNKNOWN])
def test_the_end_of_a_key_stops_its_requests_on_every_node(state: KeyState) -> None:
    """Once, in the one form; those of another key go on."""
    fleet = with_key()
    fleet.start("b")
    fleet.control.put_key("other")
    clients = [run(fleet, "k", "r1", "a"), run(fleet, "k", "r2", "b")]
    bystander = run(fleet, "other", "r3", "a")

    fleet.control.put_key("k", state)
    fleet.run(ms=100)
    fleet.control.put_key("k", state)
    fleet.run(ms=100)

    for client, request_id in zip(clients, ("r1", "r2"), strict=True):
        (order,) = orders(client)
        assert is_invalid(order)
        assert order.request_id == request_id
    assert orders(bystander) == []


def test_what_goes_on_is_told_to_stop_each_time_and_its_finish_is_paid_as_authorised() -> None:
    """Also of progress that would need no answer."""
    fleet = with_key()
    client = run(fleet)
    fleet.control.put_key("k", KeyState.REVOKED)
    fleet.run(ms=100)

    for output in (2, 3):
        assert is_invalid(client.say(report(PROGRESS, counts=Counts(10, output=output), service="")))
    client.say(report(FINISH, counts=Counts(10, output=4), service="", want_receipt=True))

    fleet.run(seconds=1)
    decision = client.said(client.sequence)
    assert decision is not None
    assert (decision.reason, decision.receipt is not None) == (None, True)
    assert decision.receipt is not None
    assert (decision.receipt.trial.total, decision.receipt.unfunded.total) == (14, 0)
    assert {key.credential for key in fleet.database.aggregates} == {"uid-k"}
    assert not fleet["a"].node.keys.of_request


def test_finishes_that_are_booked_together_are_their_keys() -> None:
    """And are followed no longer, each of them."""
    fleet = with_key()
    fleet.control.put_key("other")
    client = Client(fleet["a"])
    shown = {"r1": "k", "r2": "k", "r3": "other", "r4": "k"}
    for request_id, key in shown.items():
        allowed(client.say(by_key(AUTHORIZE, key, request_id, counts=Counts(10))))
    assert len(fleet["a"].node.keys.of_request) == 4
    client.send(*(report(FINISH, request_id, Counts(10, output=4), service="") for request_id in shown))
    assert not fleet["a"].node.keys.of_request
    fleet.run(ms=100)
    booked = {each.request_id: (each.credential, each.counts.total) for each in fleet.database.requests.values()}
    assert booked == {request_id: (f"uid-{key}", 14) for request_id, key in shown.items()}
    totals = {key.credential: cell.request_count for key, cell in fleet.database.aggregates.items()}
    assert totals == {"uid-k": 3, "uid-other": 1}


def test_a_key_that_opens_again_lets_its_requests_go_on() -> None:
    """Enabled again before they ended."""
    fleet = with_key()
    client = run(fleet)
    fleet.control.put_key("k", KeyState.REVOKED)
    fleet.run(ms=100)
    fleet.control.put_key("k")
    fleet.run(ms=100)

    assert client.say(report(PROGRESS, counts=Counts(10, output=2), service="")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"services": frozenset({"accounts/acme/services/chat"})},
        {"models": frozenset({"models/other"})},
        {"team": "red"},
    ],
)
def test_a_request_whose_service_leaves_the_scope_of_its_key_is_stopped(change: dict[str, Any]) -> None:
    """As if the key had ended."""
    fleet = with_key()
    client = run(fleet)

    fleet.control.put_key("k", **change)
    fleet.run(ms=100)

    assert [is_invalid(order) for order in orders(client)] == [True]


def test_a_change_that_takes_nothing_away_stops_nothing() -> None:
    """A narrower scope that still has the service."""
    fleet = with_key()
    client = run(fleet)

    fleet.control.put_key("k", services=frozenset({DEFAULT}), models=frozenset({MODEL}))
    fleet.run(ms=100)

    assert orders(client) == []
    assert client.say(report(PROGRESS, counts=Counts(10, output=2), service="")) is None


def test_a_secret_that_is_rotated_out_stops_what_began_with_it_only() -> None:
    """The key goes on with its new secret."""
    fleet = with_key()
    fleet.control.put_key("new", name="accounts/acme/keys/k", uid="uid-k")
    old, new = run(fleet, "k", "r1"), run(fleet, "new", "r2")

    fleet.control.put_key("k", KeyState.REVOKED)
    fleet.run(ms=100)

    assert (len(orders(old)), len(orders(new))) == (1, 0)


def test_a_key_ends_by_the_clock_of_the_node_though_control_is_gone() -> None:
    """Its time counts from when control said it, on the clock that nobody sets."""
    fleet = with_key(valid_for_ns=60 * SECOND_NS)
    client = run(fleet)
    fleet.control.reachable = False
    fleet.run(seconds=59)
    assert orders(client) == []

    fleet.run(seconds=2)

    (order,) = orders(client)
    assert is_invalid(order)
    assert is_invalid(client.say(by_key(AUTHORIZE, "k", "r2")))


def test_a_key_whose_end_is_put_off_goes_on() -> None:
    """What control said last holds."""
    fleet = with_key(valid_for_ns=60 * SECOND_NS)
    client = run(fleet)
    fleet.control.put_key("k", valid_for_ns=600 * SECOND_NS)
    fleet.run(seconds=90)
    assert orders(client) == []
    allowed(client.say(by_key(AUTHORIZE, "k", "r2")))


def moved(fleet: Fleet, authorised: Report, shown: str, *, phase: Phase = PROGRESS) -> Client:
    """A stream to node b on which a request goes on that began on node a; its first report there shows this key."""
    first = Client(fleet["a"])
    grant = allowed(first.say(authorised)).grant
    assert grant is not None
    first.close()
    fleet.run(ms=200)
    second = Client(fleet["b"])
    again: dict[str, Any] = {"service": DEFAULT, "resume": grant.resume, "key_sha256": sha256(shown)}
    second.send(report(phase, counts=Counts(10, output=1), **again))
    fleet.run(ms=200)
    return second


@pytest.mark.parametrize("is_known", [False, True], ids=["that node has not met it", "that node knows it"])
def test_a_moved_request_is_stopped_by_its_key_on_the_node_that_went_on_with_it(*, is_known: bool) -> None:
    """The first report on the new stream brings the key."""
    fleet = with_key()
    fleet.start("b")
    if is_known:
        warm(fleet, "k", "b")
    second = moved(fleet, by_key(AUTHORIZE, "k", counts=Counts(10)), "k")

    fleet.control.put_key("k", KeyState.REVOKED)
    fleet.run(ms=100)

    assert [is_invalid(order) for order in orders(second)] == [True]
    second.say(report(FINISH, counts=Counts(10, output=5), service=""))
    fleet.run(seconds=40)
    of_request = [one for one in fleet.database.requests.values() if one.request_id == "r1"]
    assert {record.credential for record in of_request} == {"uid-k"}
    assert max(record.counts.total for record in of_request) == 15


def test_a_moved_request_does_not_end_by_a_key_that_only_came_along() -> None:
    """It runs by the one that it was authorised with."""
    fleet = with_key()
    fleet.start("b")
    fleet.control.put_key("other")
    second = moved(fleet, by_key(AUTHORIZE, "k", counts=Counts(10)), "other")

    fleet.control.put_key("other", KeyState.REVOKED)
    fleet.run(ms=100)

    assert orders(second) == []


def test_a_key_of_nobody_stops_no_moved_request_of_an_open_service() -> None:
    """As it did not when the request was authorised."""
    fleet = with_key()
    fleet.start("b")
    second = moved(fleet, by_key(AUTHORIZE, "made up", counts=Counts(10), service=DEFAULT), "made up")

    assert orders(second) == []
    assert second.say(report(PROGRESS, counts=Counts(10, output=2), service="")) is None


@pytest.mark.parametrize("shown", ["other", "made up"])
def test_what_goes_on_elsewhere_with_another_key_is_malformed(shown: str) -> None:
    """A resume token says with which key its request was authorised; one of nobody is another one as well."""
    fleet = with_key()
    fleet.start("b")
    fleet.control.put_key("other")

    second = moved(fleet, by_key(AUTHORIZE, "k", counts=Counts(10)), shown, phase=AUTHORIZE)

    decision = second.said(1)
    assert decision is not None
    assert decision.reason is Reason.INVALID_REPORT


def test_a_service_that_moves_out_of_a_teams_reach_stops_the_keys_of_that_team() -> None:
    """With the next report."""
    fleet = with_key(team="red", config={"team": "red"})
    client = run(fleet)

    fleet.control.put(replace(fleet.control.services[DEFAULT], team="blue"))
    fleet.run(ms=100)

    assert is_invalid(client.say(report(PROGRESS, counts=Counts(10, output=2), service="")))


def test_a_key_with_open_requests_is_not_forgotten() -> None:
    """However long nobody shows it; without them it is."""
    fleet = with_key()
    client = run(fleet)
    warm(fleet, "k")
    fleet.run(seconds=700)
    assert fleet["a"].node.keys.find(sha256("k")) is not None
    client.say(report(FINISH, counts=Counts(10, output=2), service=""))
    fleet.run(seconds=700)
    assert fleet["a"].node.keys.find(sha256("k")) is None
