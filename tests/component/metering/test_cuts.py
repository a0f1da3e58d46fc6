"""Why a request had to end: its record says what its server was told, and nothing where it was not."""

from collections.abc import Callable

import pytest

from metering_service.domain.api_key import KeyState
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.records import RequestState, ShownRecord
from metering_service.domain.report import Phase
from metering_service.domain.service import StopReason
from tests.harness.metering.budgets import put_budget
from tests.harness.metering.keys import by_key, with_key
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.records import shown
from tests.harness.metering.services import NANO_EACH, SERVICE, stopped, with_money, with_trial
from tests.harness.metering.two_nodes import granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


def record_of(fleet: Fleet, request_id: str = "r1", *, node: str = "a") -> ShownRecord:
    """What is on record of a request, of the part of one node."""
    fleet.run(ms=100)
    (record,) = (
        each for each in fleet.database.requests.values() if (each.request_id, each.node) == (request_id, node)
    )
    return shown(record)


def reason_of(fleet: Fleet, request_id: str = "r1", *, node: str = "a") -> Reason | None:
    cut = record_of(fleet, request_id, node=node).cut
    return cut.reason if cut is not None else None


def begin(fleet: Fleet, request_id: str = "r1", node: str = "a") -> Client:
    """A stream on which a request runs."""
    client = Client(fleet[node])
    granted(client.say(report(AUTHORIZE, request_id, Counts(100))))
    client.say(report(PROGRESS, request_id, Counts(100, output=1)))
    return client


def stop(fleet: Fleet, reason: StopReason = StopReason.SUSPENDED) -> None:
    fleet.control.put(stopped(fleet.control.config(SERVICE), reason))
    for rig in fleet.rigs.values():
        rig.pump()


def to_the_last_ceiling(fleet: Fleet, client: Client) -> int:
    """A request that goes on until a grant is the last one; the ceiling of that."""
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    while not grant.is_final:
        client.say(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens)))
        fleet.run(ms=400)
        grant = granted(client.said(client.sequence))
    return grant.output_ceiling_tokens


def test_a_stop_is_on_record_of_whom_it_was_told(fleet: Fleet) -> None:
    """With its time, while the request runs and when it has ended; what ended before or begins later has none."""
    config = with_money(fleet, BALANCE)
    begin(fleet, "ended").say(report(FINISH, "ended", Counts(100, output=2)))
    client = begin(fleet)
    told_us = fleet.clock.now_us()
    stop(fleet)
    running = record_of(fleet)
    assert running.state is RequestState.OPEN
    assert running.cut is not None
    assert (running.cut.reason, running.cut.at_us, running.cut.budget) == (Reason.SUSPENDED, told_us, "")
    client.say(report(PROGRESS, counts=Counts(100, output=3)))
    client.say(report(FINISH, counts=Counts(100, output=3)))
    ended = record_of(fleet)
    assert (ended.state, ended.cut) == (RequestState.FINISHED, running.cut)
    fleet.control.put(config)
    fleet["a"].pump()
    begin(fleet, "later").say(report(FINISH, "later", Counts(100, output=2)))
    assert [reason_of(fleet, request_id) for request_id in ("ended", "later")] == [None, None]


def test_a_stop_that_nobody_was_told_is_on_record_of_nobody(fleet: Fleet) -> None:
    """Its stream had broken: when another one says that it goes on, that is told."""
    with_money(fleet, BALANCE)
    begin(fleet).close()
    stop(fleet)
    assert reason_of(fleet) is None
    Client(fleet["a"]).say(report(PROGRESS, counts=Counts(100, output=2)))
    assert reason_of(fleet) is Reason.SUSPENDED


def test_the_end_of_a_key_is_on_record() -> None:
    """In the one form: what was wrong with the key stays with the key."""
    fleet = with_key()
    client = Client(fleet["a"])
    client.say(by_key(AUTHORIZE, "k", counts=Counts(10)))
    fleet.control.put_key("k", KeyState.REVOKED)
    fleet["a"].pump()
    client.say(report(FINISH, counts=Counts(10, output=4), service=""))
    assert reason_of(fleet) is Reason.CREDENTIAL_INVALID


@pytest.mark.parametrize(
    ("pays", "reason", "budget"),
    [
        (lambda fleet: with_money(fleet, 130), Reason.BALANCE_INSUFFICIENT, ""),
        (lambda fleet: with_trial(fleet, 130), Reason.TRIAL_INSUFFICIENT, ""),
        (
            lambda fleet: (with_money(fleet, BALANCE), put_budget(fleet, 130)),
            Reason.BUDGET_EXCEEDED,
            "accounts/acme/budgets/uid-cap",
        ),
    ],
)
@pytest.mark.parametrize("is_denied", [False, True])
def test_the_end_of_a_last_grant_is_on_record(
    fleet: Fleet, client: Client, pays: Callable[[Fleet], object], reason: Reason, budget: str, *, is_denied: bool
) -> None:
    """Why there was no more, whether or not its server asked for more; a token less, and it has ended by itself."""
    pays(fleet)
    ceiling = to_the_last_ceiling(fleet, client)
    assert ceiling == 30
    if is_denied:
        client.say(report(PROGRESS, counts=Counts(100, output=ceiling)))
        assert reason_of(fleet) is reason
    else:
        client.say(report(PROGRESS, counts=Counts(100, output=ceiling - 1)))
        assert reason_of(fleet) is None
    client.say(report(FINISH, counts=Counts(100, output=ceiling)))
    cut = record_of(fleet).cut
    assert cut is not None
    assert (cut.reason, cut.budget) == (reason, budget)


def test_whoever_ends_before_the_last_ceiling_ends_by_itself(fleet: Fleet, client: Client) -> None:
    """One token is enough."""
    with_money(fleet, 130)
    ceiling = to_the_last_ceiling(fleet, client)
    assert record_of(fleet).told is not None
    client.say(report(FINISH, counts=Counts(100, output=ceiling - 1)))
    assert reason_of(fleet) is None


def test_whoever_stops_at_its_own_limit_ends_by_itself(fleet: Fleet, client: Client) -> None:
    """Although that was the last token that was paid for."""
    with_money(fleet, 116)
    assert granted(client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=16))).is_final
    client.say(report(FINISH, counts=Counts(100, output=16)))
    assert record_of(fleet).told is None


def test_whoever_is_given_more_goes_on(fleet: Fleet, client: Client) -> None:
    """A grant is raised after a denial: the request ends by itself after all."""
    with_trial(fleet, 130, price=NANO_EACH)
    ceiling = to_the_last_ceiling(fleet, client)
    denied = client.say(report(PROGRESS, counts=Counts(100, output=ceiling)))
    assert denied is not None
    assert denied.reason is Reason.TRIAL_INSUFFICIENT
    assert reason_of(fleet) is Reason.TRIAL_INSUFFICIENT
    with_money(fleet, BALANCE, trial_pays=True)
    fleet.run(ms=400)
    client.say(report(PROGRESS, counts=Counts(100, output=ceiling)))
    fleet.run(ms=400)
    assert granted(client.said(client.sequence)).output_ceiling_tokens > ceiling
    assert record_of(fleet).told is None
    client.say(report(FINISH, counts=Counts(100, output=ceiling + 1)))
    assert reason_of(fleet) is None


def test_who_is_denied_before_a_last_grant_goes_on_with_the_next_one(fleet: Fleet, client: Client) -> None:
    """Others hold what it lacks. When there is more, its next progress in columns brings a grant."""
    with_money(fleet, 232)
    for request_id, handle in (("r1", 1), ("r2", 2)):
        client.say(report(AUTHORIZE, request_id, Counts(100), handle=handle))
        fleet.run(ms=400)
    client.send_columns({1: 18})
    fleet.run(ms=2_000)
    assert reason_of(fleet) is Reason.BUDGET_CONTENDED
    fleet.control.top_up(BALANCE)
    client.say(report(AUTHORIZE, "more", Counts(100)))
    fleet.run(ms=400)
    client.send_columns({1: 19})
    fleet.run(ms=100)
    assert record_of(fleet).told is None


def test_a_whole_answer_that_was_lowered_is_cut_at_its_ceiling(fleet: Fleet) -> None:
    """By what is spent for good; one that had all it asked for is not."""
    with_money(fleet, 1_000)
    fleet.run(ms=100)
    client = Client(fleet["a"])
    for request_id, limit, reason in (("all", 50, None), ("lowered", 5_000, Reason.BALANCE_INSUFFICIENT)):
        client.say(report(AUTHORIZE, request_id, Counts(100), whole=True, max_output_tokens=limit))
        fleet.run(ms=2_000)
        ceiling = granted(client.said(client.sequence)).output_ceiling_tokens
        client.say(report(FINISH, request_id, Counts(100, output=ceiling)))
        fleet.run(seconds=4)
        assert reason_of(fleet, request_id) is reason


def test_an_id_that_was_reused_is_on_record() -> None:
    """Of what ran under it; the request that had it before keeps its own record."""
    fleet = two_nodes()
    begin(fleet).say(report(FINISH, counts=Counts(100, output=2)))
    fleet.run(ms=100)
    begin(fleet, node="b")
    fleet.run(ms=100)
    assert reason_of(fleet, node="a") is None
    assert reason_of(fleet, node="b") is Reason.REQUEST_ID_REUSED


def test_who_comes_back_too_late_is_told_and_that_is_on_record(fleet: Fleet) -> None:
    """It was booked, since no stream spoke of it for the window."""
    with_money(fleet, BALANCE)
    begin(fleet).close()
    fleet.run(seconds=31)
    assert (record_of(fleet).state, reason_of(fleet)) == (RequestState.TIMED_OUT, None)
    client = Client(fleet["a"])
    client.say(report(PROGRESS, counts=Counts(100, output=5)))
    fleet.run(ms=100)
    assert (record_of(fleet).receipt.usage.output, reason_of(fleet)) == (5, Reason.REQUEST_ID_REUSED)


def test_a_stop_that_ends_in_silence_stays_on_record(fleet: Fleet) -> None:
    """Its server never finished it, and comes back after it was booked: what stopped it first holds."""
    with_money(fleet, BALANCE)
    client = begin(fleet)
    stop(fleet)
    client.close()
    fleet.run(seconds=31)
    Client(fleet["a"]).say(report(PROGRESS, counts=Counts(100, output=5)))
    assert (record_of(fleet).state, reason_of(fleet)) == (RequestState.TIMED_OUT, Reason.SUSPENDED)


def test_what_could_not_be_told_is_on_record(fleet: Fleet, client: Client) -> None:
    """Control is away for longer than the grant is valid."""
    with_money(fleet, BALANCE)
    ceiling = granted(client.say(report(AUTHORIZE, counts=Counts(100)))).output_ceiling_tokens
    fleet.control.reachable = False
    fleet.run(seconds=21)
    client.say(report(PROGRESS, counts=Counts(100, output=ceiling)))
    fleet.run(seconds=2)
    assert reason_of(fleet) is Reason.CONTROL_UNREACHABLE


@pytest.mark.parametrize(("committed_ms", "reason"), [(0, None), (100, Reason.SUSPENDED)])
def test_a_node_that_crashes_keeps_what_it_had_committed(committed_ms: int, reason: Reason | None) -> None:
    """Whoever books the request then says it, to the end; a crash before the next checkpoint leaves none."""
    fleet = two_nodes()
    begin(fleet)
    fleet.run(ms=100)
    stop(fleet)
    fleet.run(ms=committed_ms)
    fleet.crash("a")
    fleet.run(seconds=100)
    fleet.start("a")
    fleet.run(seconds=40)
    assert record_of(fleet).state is RequestState.TIMED_OUT
    assert reason_of(fleet) is reason


def test_a_request_that_finishes_elsewhere_keeps_the_stop(fleet: Fleet) -> None:
    """Each part says what its own node has told."""
    fleet = two_nodes()
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.run(ms=100)
    stop(fleet)
    client.close()
    fleet.run(ms=100)
    other = Client(fleet["b"])
    other.say(report(FINISH, counts=Counts(100, output=3), resume=grant.resume))
    fleet.run(seconds=80)
    assert [reason_of(fleet, node=node) for node in ("a", "b")] == [Reason.SUSPENDED, None]
