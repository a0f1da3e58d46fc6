"""What users of other metering systems suffered, by name: each is what they would have wanted to see instead.

The file is named after where its cases come from: readers compare them with those systems, not with one rule here.
"""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import NANO_EACH, SERVICE, UID, running, stopped, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
TRIAL, MONEY = PotKind.TRIAL, PotKind.MONEY


def available(fleet: Fleet, kind: PotKind) -> int:
    """What can be had once everything is settled: nothing is on lease any more."""
    fleet.run(seconds=35)
    pot = fleet.control.pots[fleet.control.key(UID, kind)]
    assert pot.leased_units == 0
    return pot.available_units


def spent(fleet: Fleet, kind: PotKind) -> int:
    """What the books say was used."""
    return fleet.control.spent[fleet.control.key(UID, kind)]


def recorded(fleet: Fleet, request_id: str = "r1") -> int:
    """Tokens on record of one request, all of its parts together."""
    return sum(
        record.receipt.usage.total for record in fleet.database.requests.values() if record.request_id == request_id
    )


def allowed(decision: Decision | None) -> int:
    """The ceiling of a grant that must have been given."""
    assert decision is not None
    assert decision.grant is not None, decision
    return decision.grant.output_ceiling_tokens


def test_a_hold_that_leaks_on_an_aborted_stream() -> None:
    """A client that vanishes amid its requests leaves nothing held behind, and what it had used is charged."""
    fleet = Fleet()
    with_trial(fleet, 100_000)
    for number in range(20):
        client = Client(fleet["a"])
        allowed(client.say(report(AUTHORIZE, f"r{number}", Counts(100))))
        client.say(report(PROGRESS, f"r{number}", Counts(100, output=7)))
        client.close()
    assert available(fleet, TRIAL) == 100_000 - 20 * 107


def test_a_hold_released_twice() -> None:
    """Finish, finish again, break the stream, time out: the unused part of the hold comes back once."""
    fleet = Fleet("a", "b")
    with_trial(fleet, 10_000)
    client = Client(fleet["a"])
    decision = client.say(report(AUTHORIZE, "r1", Counts(100)))
    assert decision is not None
    assert decision.grant is not None
    client.say(report(FINISH, "r1", Counts(100, output=5)))
    client.say(report(FINISH, "r1", Counts(100, output=5)))
    client.close()
    fleet.run(ms=100)
    Client(fleet["b"]).say(report(FINISH, "r1", Counts(100, output=5), resume=decision.grant.resume))
    assert available(fleet, TRIAL) == 10_000 - 105
    assert spent(fleet, TRIAL) == 105


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_retry_billed_twice(node: str) -> None:
    """The answer to a finish was lost, so it is said again, to the same node or to another: it is billed once."""
    fleet = Fleet("a", "b")
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    decision = client.say(report(AUTHORIZE, "r1", Counts(100)))
    assert decision is not None
    assert decision.grant is not None
    client.say(report(FINISH, "r1", Counts(100, output=50)))
    fleet.run(ms=100)
    client.close()
    for _ in range(3):
        Client(fleet[node]).say(report(FINISH, "r1", Counts(100, output=50), resume=decision.grant.resume))
    assert available(fleet, MONEY) == 1_000_000 - 150
    assert recorded(fleet) == 150


def test_the_first_burst_on_an_empty_cache_passing_over_the_limit() -> None:
    """A thousand requests meet nodes that know nothing yet: together they get what the trial has, and no more."""
    fleet = Fleet("a", "b", "c")
    with_trial(fleet, 1_000)
    clients = [Client(fleet[name]) for name in ("a", "b", "c")]
    for number in range(999):
        client = clients[number % 3]
        client.send(report(AUTHORIZE, f"r{number}", Counts(90), max_output_tokens=10))
    fleet.run(ms=2_000)
    for client in clients:
        client.hear()
    begun = {
        (client, decision.request_id)
        for client in clients
        for _, decision in client.decisions
        if decision.grant is not None
    }
    assert 0 < len(begun) <= 1_000 // 91
    for client, request_id in begun:
        client.say(report(FINISH, request_id, Counts(90, output=1)))
    assert available(fleet, TRIAL) == 1_000 - 91 * len(begun)


def test_n_nodes_reseeding_a_counter_n_times() -> None:
    """Nodes start, and start again: the trial is what it was, not so much for each of them."""
    fleet = Fleet("a", "b", "c")
    with_trial(fleet, 900)
    used = 0
    for round_number in range(4):
        for name in ("a", "b", "c"):
            client = Client(fleet[name])
            request_id = f"{name}{round_number}"
            client.say(report(AUTHORIZE, request_id, Counts(99), max_output_tokens=1))
            fleet.run(ms=200)
            decision = next((each for _, each in client.decisions if each.request_id == request_id), None)
            if decision is not None and decision.allowed:
                client.say(report(FINISH, request_id, Counts(99, output=1)))
                used += 100
            fleet.run(ms=100)
            fleet.crash(name)
            fleet.start(name)
            fleet.run(seconds=35)
    assert used == 900
    assert spent(fleet, TRIAL) == 900


def test_a_reservation_stuck_until_restart() -> None:
    """Requests that held the whole rate and ended without a word give it back by themselves."""
    fleet = Fleet()
    config = fleet.control.put(running(reservation_pays=True, reserved_input_tpm=600, reserved_output_tpm=600))
    fleet.control.reserve(config)
    for number in range(6):
        client = Client(fleet["a"])
        client.say(report(AUTHORIZE, f"r{number}", Counts(100), max_output_tokens=100))
        client.close()
    fleet.run(seconds=100)
    client = Client(fleet["a"])
    assert allowed(client.say(report(AUTHORIZE, "after", Counts(590), max_output_tokens=5))) == 5


def test_a_denial_that_moved_a_counter() -> None:
    """Refusals, however many, leave what is there for the one that fits."""
    fleet = Fleet()
    with_trial(fleet, 200)
    client = Client(fleet["a"])
    for number in range(50):
        decision = client.say(report(AUTHORIZE, f"large{number}", Counts(10_000)))
        assert decision is not None
        assert decision.reason is Reason.TRIAL_INSUFFICIENT
    assert allowed(client.say(report(AUTHORIZE, "fits", Counts(199), max_output_tokens=1))) == 1
    client.say(report(FINISH, "fits", Counts(199, output=1)))
    assert available(fleet, TRIAL) == 0


def test_a_tightened_limit_shadowed_by_an_old_one() -> None:
    """Once the service is stopped nothing passes any more, however much the node still has on lease for it."""
    fleet = Fleet()
    config = with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    allowed(client.say(report(AUTHORIZE, "r1", Counts(100))))
    assert fleet["a"].node.services[SERVICE].leases[MONEY].free > 0
    fleet.control.put(stopped(config))
    fleet.run(ms=20)
    told = client.said(None)
    assert told is not None
    assert told.reason is Reason.POSTPAID_DISABLED
    for number in range(10):
        decision = client.say(report(AUTHORIZE, f"late{number}", Counts(1)))
        assert decision is not None
        assert decision.reason is Reason.POSTPAID_DISABLED


def test_usage_dropped_once_over_the_limit() -> None:
    """Work that was done is on record in full, though nothing is left that pays for it; and it is called what it is."""
    fleet = Fleet()
    with_trial(fleet, 150)
    client = Client(fleet["a"])
    ceiling = allowed(client.say(report(AUTHORIZE, "r1", Counts(100))))
    client.say(report(FINISH, "r1", Counts(100, output=5_000)))
    fleet.run(seconds=7)
    (record,) = fleet.database.requests.values()
    assert recorded(fleet) == 5_100
    assert record.receipt.trial.total == 150
    assert record.receipt.unfunded.total == 4_950
    assert record.receipt.overrun_tokens == 5_000 - ceiling
    assert spent(fleet, TRIAL) == 150


def test_explicit_zero_usage_billed_as_an_estimate() -> None:
    """A request that failed before it used anything costs nothing, whatever was expected of it."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    allowed(client.say(report(AUTHORIZE, "r1", Counts(5_000), max_output_tokens=5_000)))
    client.say(report(FINISH, "r1", Counts()))
    assert available(fleet, MONEY) == 1_000_000
    (record,) = fleet.database.requests.values()
    assert (record.state, record.receipt.usage, record.receipt.cost_nanos) == (RequestState.FINISHED, Counts(), 0)


def test_cumulative_counts_summed() -> None:
    """A hundred reports of a growing count are one count, in whatever order they come."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    allowed(client.say(report(AUTHORIZE, "r1", Counts(100))))
    for output_tokens in [*range(100), *reversed(range(100))]:
        client.say(report(PROGRESS, "r1", Counts(100, output=output_tokens)))
    client.say(report(FINISH, "r1", Counts(100, output=99)))
    assert available(fleet, MONEY) == 1_000_000 - 199
    assert recorded(fleet) == 199


@pytest.mark.parametrize("silence_s", [0, 90])
@pytest.mark.parametrize("node", ["a", "b"])
def test_a_reused_id_that_generates_free_tokens(node: str, silence_s: int) -> None:
    """An id that has finished runs nothing more: refused at once or stopped, and what it generated is paid for."""
    fleet = Fleet("a", "b")
    with_money(fleet, 1_000_000, price=NANO_EACH)
    client = Client(fleet["a"])
    allowed(client.say(report(AUTHORIZE, "r1", Counts(100))))
    client.say(report(FINISH, "r1", Counts(100, output=10)))
    fleet.run(seconds=max(1, silence_s))
    again = Client(fleet[node])
    again.say(report(AUTHORIZE, "r1", Counts(100)))
    fleet.run(ms=100)
    again.hear()
    generated = 0
    if any(decision.grant is not None for _, decision in again.decisions):
        generated = 16
        again.say(report(PROGRESS, "r1", Counts(100, output=generated)))
    again.say(report(FINISH, "r1", Counts(100, output=generated)))
    fleet.run(ms=100)
    used = 110 + (100 + generated if generated else 0)
    assert available(fleet, MONEY) == 1_000_000 - used
    assert recorded(fleet) == used
