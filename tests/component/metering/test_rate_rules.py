"""Rate rules at a node: all or none is charged, what was not used comes back, and no answer is cut short."""

import random
from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.lease import Lease
from metering_service.domain.rate_rule import RateMetric
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.rules import Caller, put_rule, rate_of, slots_of, there
from tests.harness.metering.services import SERVICE, running, with_money
from tests.harness.metering.two_nodes import granted

PLENTY = 1 << 40
REQUESTS, INPUT, OUTPUT, TOTAL, SLOTS = RateMetric
AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """One node, and a service with plenty of money."""
    fleet = Fleet("a")
    with_money(fleet, PLENTY)
    return fleet


def settle(fleet: Fleet) -> None:
    """What rests on leases goes back, and what is held is stated; hardly anything accrues meanwhile."""
    fleet.run(ms=1_200)


def refused(decision: Decision | None, reason: Reason) -> Decision:
    """A denial for that reason."""
    assert decision is not None
    assert decision.reason is reason, decision
    return decision


@pytest.mark.parametrize("metric", [REQUESTS, INPUT, OUTPUT, TOTAL])
def test_a_rule_counts_its_own_metric(fleet: Fleet, metric: RateMetric) -> None:
    """What was used is gone from it when the request has ended, and nothing else."""
    put_rule(fleet, 6_000, metric=metric)
    server = Caller(fleet)
    granted(server.ask("r1", 100, max_output_tokens=50))
    server.finish("r1", 100, 30)
    fleet.run(ms=1_200)
    used = {REQUESTS: 1, INPUT: 100, OUTPUT: 30, TOTAL: 130}[metric]
    assert rate_of(fleet).spent_units == used


def test_requests_pass_until_the_burst_is_gone(fleet: Fleet) -> None:
    """Then one is refused with the time after which one more has accrued, and passes after that time."""
    put_rule(fleet, 60, metric=REQUESTS, burst=3)
    server = Caller(fleet)
    for number in range(3):
        granted(server.ask(f"r{number}"))
    denial = refused(server.ask("r3"), Reason.REQUEST_RATE)
    assert denial.retryable
    assert denial.retry_after_ms is not None
    assert 900 <= denial.retry_after_ms <= 1_000
    assert denial.rate is not None
    assert (denial.rate.rule.name, denial.rate.remaining_units) == ("accounts/acme/rateRules/uid-rule", 0)
    fleet.run(ms=denial.retry_after_ms - 100)
    refused(server.ask("r4"), Reason.REQUEST_RATE)
    fleet.run(ms=120)
    granted(server.ask("r5"))


@pytest.mark.parametrize("nodes", [("a",), ("a", "b", "c")])
@pytest.mark.parametrize("metric", [REQUESTS, INPUT, TOTAL, SLOTS])
def test_of_twenty_at_once_exactly_as_many_pass_as_fit(nodes: tuple[str, ...], metric: RateMetric) -> None:
    """At their first answers. A refused one leaves all other rules as they were."""
    for seed in range(8):
        fleet = Fleet(*nodes)
        with_money(fleet, PLENTY)
        units = 1 if metric in (REQUESTS, SLOTS) else 100
        put_rule(fleet, 5 * units, metric=metric)
        put_rule(fleet, 1_000_000, "uid-wide", metric=TOTAL)
        put_rule(fleet, 1_000, "uid-many", metric=REQUESTS)
        put_rule(fleet, 1_000, "uid-slots", metric=SLOTS)
        servers = [Caller(fleet, name) for name in nodes]
        rng = random.Random(seed)  # a seed, no secret
        sent = []
        for number in range(20):
            server = rng.choice(servers)
            server.client.send(report(AUTHORIZE, f"r{number}", Counts(100), max_output_tokens=0))
            sent.append((server, server.client.sequence))
        for _ in range(10):
            fleet.run(ms=20)
        answers = [server.client.said(sequence) for server, sequence in sent]
        assert all(answer is not None for answer in answers)
        passed = sum(answer is not None and answer.allowed for answer in answers)
        assert passed == 5, (seed, answers)
        fleet.run(ms=1_200)
        assert rate_of(fleet, "uid-wide").spent_units == 500
        assert rate_of(fleet, "uid-many").spent_units == 5
        assert sum(lease.held for server in servers for lease in _slot_leases(server)) == 5 * (
            2 if metric is SLOTS else 1
        )


def _slot_leases(server: Caller) -> list[Lease]:
    index = server.client.rig.node.lease_index
    return [lease for (_, key), pot in index.pots.items() if key.kind == "slots" for lease in pot.leases.values()]


def test_the_first_grant_shrinks_to_what_the_rule_has(fleet: Fleet) -> None:
    """To the smallest grant; with less a request is refused, and has to wait for as much."""
    put_rule(fleet, 6_000, metric=TOTAL, burst=120)
    server = Caller(fleet)
    grant = granted(server.ask("r1", 100, max_output_tokens=None))
    assert (grant.output_ceiling_tokens, grant.is_final) == (16, False)
    denial = refused(server.ask("r2", 100, max_output_tokens=None), Reason.TOKEN_RATE)
    assert denial.retry_after_ms is not None
    assert 1_080 <= denial.retry_after_ms <= 1_120


def test_what_was_held_and_not_used_comes_back(fleet: Fleet) -> None:
    """At the end, so that the next request finds it; and never more than the burst."""
    put_rule(fleet, 60, metric=TOTAL, burst=1_000)
    server = Caller(fleet)
    granted(server.ask("r1", 100, whole=True, max_output_tokens=900))
    refused(server.ask("r2", 100, whole=True, max_output_tokens=700), Reason.TOKEN_RATE)
    server.finish("r1", 100, 100)
    fleet.run(ms=300)
    granted(server.ask("r3", 100, whole=True, max_output_tokens=700))
    server.finish("r3", 0, 0)
    fleet.run(seconds=30)
    assert there(fleet) <= 1_000


def test_what_can_never_fit_is_refused_for_good(fleet: Fleet) -> None:
    """An input, or a whole answer's hold, above the burst: without asking control, though it is cut off."""
    put_rule(fleet, 60_000, metric=INPUT, burst=500)
    put_rule(fleet, 60_000, "uid-total", metric=TOTAL, burst=1_000)
    server = Caller(fleet)
    for more in ({"input_tokens": 501}, {"input_tokens": 400, "whole": True, "max_output_tokens": 601}):
        denial = refused(server.ask("r1", **more), Reason.TOKEN_RATE)
        assert (denial.retryable, denial.retry_after_ms) == (False, None)
    granted(server.ask("r2", 400, whole=True, max_output_tokens=600))


def test_a_running_answer_is_never_cut(fleet: Fleet) -> None:
    """It is charged below zero, and new requests wait until that has refilled."""
    put_rule(fleet, 6_000, metric=OUTPUT, burst=100)
    server = Caller(fleet)
    grant = granted(server.ask("r1", 10, max_output_tokens=None))
    generated = 0
    for _ in range(200):
        generated += grant.output_ceiling_tokens - generated
        grant = granted(server.progress("r1", 10, generated))
        assert grant.output_ceiling_tokens > generated
        assert not grant.is_final
    denial = refused(server.ask("r2", 10, max_output_tokens=None), Reason.TOKEN_RATE)
    assert denial.retry_after_ms is not None
    assert denial.retry_after_ms <= 1_200, "one burst's debt at most"
    fleet.run(ms=denial.retry_after_ms + 40)
    granted(server.ask("r3", 10, max_output_tokens=None))
    server.finish("r1", 10, generated)


def test_tokens_of_a_reservation_do_not_count() -> None:
    """Requests and slots do."""
    fleet = Fleet("a")
    config = fleet.control.put(running(reservation_pays=True, reserved_input_tpm=10_000, reserved_output_tpm=10_000))
    fleet.control.reserve(config)
    put_rule(fleet, 100, metric=TOTAL)
    put_rule(fleet, 2, "uid-requests", metric=REQUESTS)
    put_rule(fleet, 1, "uid-slots", metric=SLOTS)
    server = Caller(fleet)
    granted(server.ask("r1", 5_000, max_output_tokens=100))
    refused(server.ask("r2", 10, max_output_tokens=10), Reason.CONCURRENCY)
    server.finish("r1", 5_000, 100)
    granted(server.ask("r3", 10, max_output_tokens=10))
    server.finish("r3", 10, 10)
    refused(server.ask("r4", 10, max_output_tokens=10), Reason.REQUEST_RATE)
    fleet.run(ms=1_200)
    assert rate_of(fleet).spent_units == 0


def test_slots_are_free_again_at_the_end(fleet: Fleet) -> None:
    """Of a finish at once, of a silent request when it is booked."""
    put_rule(fleet, 2, metric=SLOTS)
    server = Caller(fleet)
    granted(server.ask("r1", 10))
    granted(server.ask("r2", 10))
    denial = refused(server.ask("r3", 10), Reason.CONCURRENCY)
    assert denial.rate is not None
    assert (denial.rate.rule.limit_units, denial.rate.remaining_units, denial.rate.reset_after_ms) == (2, 0, None)
    server.finish("r1", 10)
    granted(server.ask("r4", 10))
    server.client.close()
    fleet.run(seconds=40)
    again = Caller(fleet)
    granted(again.ask("r5", 10))
    granted(again.ask("r6", 10))
    refused(again.ask("r7", 10), Reason.CONCURRENCY)


def test_a_lowered_limit_lets_nobody_in_until_enough_have_ended(fleet: Fleet) -> None:
    """Those that run go on."""
    put_rule(fleet, 3, metric=SLOTS)
    server = Caller(fleet)
    for number in range(3):
        granted(server.ask(f"r{number}", 10))
    put_rule(fleet, 2, metric=SLOTS)
    fleet.run(ms=40)
    server.finish("r0", 10)
    fleet.run(ms=1_500)
    refused(server.ask("r3", 10), Reason.CONCURRENCY)
    server.finish("r1", 10)
    fleet.run(ms=1_500)
    granted(server.ask("r4", 10))
    assert slots_of(fleet).leased_units <= 2


def test_a_moved_request_is_refused_by_no_rule() -> None:
    """It takes its slot beyond the limit, and counts as no second request."""
    fleet = Fleet("a", "b")
    with_money(fleet, PLENTY)
    put_rule(fleet, 1, metric=SLOTS)
    put_rule(fleet, 1, "uid-requests", metric=REQUESTS, burst=3, period_ms=3_600_000)
    put_rule(fleet, 100, "uid-output", metric=OUTPUT)
    first = Caller(fleet, "a")
    grant = granted(first.ask("r1", 10, max_output_tokens=1_000))
    first.progress("r1", 10, 5)
    first.client.close()
    fleet.run(seconds=1)
    second = Client(fleet["b"])
    second.send(report(AUTHORIZE, "r1", Counts(10), resume=grant.resume, max_output_tokens=1_000))
    fleet.run(ms=100)
    moved = granted(second.said(1))
    assert moved.output_ceiling_tokens >= grant.output_ceiling_tokens
    refused(Caller(fleet, "b").ask("r2"), Reason.CONCURRENCY)
    fleet.run(seconds=40)
    assert sum(lease.held for name in "ab" for lease in _slot_leases(Caller(fleet, name))) == 1
    second.send(report(FINISH, "r1", Counts(10, output=20)))
    fleet.run(seconds=2)
    assert rate_of(fleet, "uid-requests").spent_units == 1
    granted(Caller(fleet, "a").ask("r3", max_output_tokens=0))


def test_slots_of_a_dead_node_come_back_when_its_requests_are_booked() -> None:
    """Until then nobody knows whether they still run; requests that wait for them may come again."""
    fleet = Fleet("a", "b")
    with_money(fleet, PLENTY)
    put_rule(fleet, 2, metric=SLOTS)
    lost = Caller(fleet, "a")
    granted(lost.ask("r1", 10))
    granted(lost.ask("r2", 10))
    fleet.run(ms=500)
    fleet.crash("a")
    other = Caller(fleet, "b")
    assert not _allowed(other.ask("r3", 10))
    fleet.start("a")
    fleet.run(seconds=20)
    assert not _allowed(other.ask("r4", 10))
    fleet.run(seconds=60)
    granted(other.ask("r5", 10))
    granted(other.ask("r6", 10))
    assert not _allowed(other.ask("r7", 10))


def test_a_request_is_told_when_slots_of_a_silent_node_come_back() -> None:
    """As control has said, less what has passed since; once another node has one, nobody knows when that ends."""
    fleet = Fleet("a", "b")
    with_money(fleet, PLENTY)
    put_rule(fleet, 1, metric=SLOTS)
    granted(Caller(fleet, "a").ask("r1", 10))
    fleet.run(ms=500)
    fleet.crash("a")
    fleet.control.returns_after_us["a"] = 30_000_000
    other = Caller(fleet, "b")
    other.ask("r2", 10)
    fleet.run(ms=300)
    denial = refused(other.client.said(1), Reason.BUDGET_CONTENDED)
    assert (denial.retryable, denial.retry_after_ms) == (True, 30_000)
    fleet.run(ms=400)
    assert refused(other.ask("r3", 10), Reason.BUDGET_CONTENDED).retry_after_ms == 29_300
    put_rule(fleet, 2, metric=SLOTS)
    fleet.run(seconds=2)
    granted(other.ask("r4", 10))
    fleet.run(seconds=2)
    assert refused(other.ask("r5", 10), Reason.CONCURRENCY).retry_after_ms == 1_000


def _allowed(decision: Decision | None) -> bool:
    return decision is not None and decision.allowed


def test_units_of_a_dead_node_are_gone(fleet: Fleet) -> None:
    """They accrue again."""
    put_rule(fleet, 600, metric=REQUESTS, burst=100)
    server = Caller(fleet)
    for number in range(10):
        granted(server.ask(f"r{number}"))
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=2)
    assert there(fleet) <= 100 - 10 + 40
    fleet.run(seconds=80)
    assert there(fleet) == 100


def test_without_control_rules_count_and_refuse_nothing() -> None:
    """A service that goes on does so without them; what passed is counted."""
    fleet = Fleet("a")
    with_money(fleet, PLENTY, outage_tokens_max=10_000)
    put_rule(fleet, 60, metric=REQUESTS, burst=2)
    server = Caller(fleet)
    granted(server.ask("r1"))
    fleet.run(seconds=1)
    fleet.control.reachable = False
    fleet.run(seconds=21)
    for number in range(10):
        granted(server.ask(f"q{number}"))
    fleet.control.reachable = True
    fleet.run(seconds=1)
    refused(server.ask("r2"), Reason.REQUEST_RATE)


def test_a_dry_run_refuses_nothing_and_says_what_it_would_have(fleet: Fleet) -> None:
    """It never waits; and made real, it goes on from where it stands."""
    put_rule(fleet, 60, metric=REQUESTS, burst=2, dry_run=True)
    server = Caller(fleet)
    for number in range(5):
        granted(server.ask(f"r{number}"))
        fleet.run(ms=60)
    fleet.run(ms=500)
    name = "would_deny:accounts/acme/rateRules/uid-rule"
    counted = {key.reason: count for key, count in fleet.database.denials.items()}
    assert counted == {f"{name}?": 1, name: 3}
    put_rule(fleet, 60, metric=REQUESTS, burst=2)
    fleet.run(ms=20)
    refused(server.ask("r9"), Reason.REQUEST_RATE)


def test_an_answer_says_how_near_the_tightest_own_rule_is(fleet: Fleet) -> None:
    """Of those on the key and the service only."""
    put_rule(fleet, 10, metric=REQUESTS)
    put_rule(fleet, 100, "uid-own", metric=REQUESTS, place=SERVICE, place_uid="uid-chat")
    put_rule(fleet, 100_000, "uid-wide", metric=TOTAL, place=SERVICE, place_uid="uid-chat")
    decision = Caller(fleet).ask("r1", 10)
    assert decision is not None
    assert decision.rate is not None
    assert decision.rate.rule.name.endswith("uid-own")
    assert (decision.rate.remaining_units, decision.rate.reset_after_ms) == (99, 600)


def test_a_service_without_rules_of_its_own_is_told_no_figures(fleet: Fleet) -> None:
    """Nor where there is no rule at all."""
    server = Caller(fleet)
    first = server.ask("r1", 10)
    put_rule(fleet, 10, metric=REQUESTS)
    fleet.run(ms=20)
    second = server.ask("r2", 10)
    assert [decision is not None and decision.rate for decision in (first, second)] == [None, None]


def test_of_a_rule_whose_lease_was_closed_while_a_request_runs_nothing_stays_on_lease(fleet: Fleet) -> None:
    """Its end and the next request are charged on one lease: of two only one would ever be told of, and go back."""
    put_rule(fleet, 6_000, metric=INPUT)
    server = Caller(fleet)
    granted(server.ask("r1", 10, max_output_tokens=50))
    granted(server.ask("r2", 10, max_output_tokens=50))
    fleet.run(ms=200)
    control = fleet.control
    control.leases.update({lease_id: replace(lease, closed=True) for lease_id, lease in control.leases.items()})
    server.finish("r2", 10, 10)
    fleet.run(seconds=1)
    put_rule(fleet, 9_000, "uid-other")
    fleet.run(seconds=1)

    server.ask("r3", 20, max_output_tokens=50)
    server.finish("r1", 40, 10)
    server.finish("r3", 20, 10)
    fleet.run(seconds=90)

    leases = [lease for lease in control.leases.values() if lease.pot.kind.is_rule and not lease.closed]
    assert [lease.outstanding_units for lease in leases] == [0] * len(leases)
    holders = fleet["a"].node.lease_index.holders.values()
    told = {lease.lease_id for holder in holders for lease in holder.all_leases()}
    assert {lease.lease_id for lease in leases} <= told
