"""What rate limits of others were known to get wrong, tried here."""

from metering_service.domain.decision import Decision, Reason
from metering_service.domain.rate_rule import RateMetric
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.rules import Caller, put_rule, rate_of
from tests.harness.metering.services import SERVICE, with_money

PLENTY = 1 << 40
HOUR_MS = 3_600_000
REQUESTS, INPUT, OUTPUT, TOTAL, _SLOTS = RateMetric


def passes(decision: Decision | None) -> bool:
    return decision is not None and decision.allowed


def with_rules(*nodes: str) -> Fleet:
    fleet = Fleet(*nodes)
    with_money(fleet, PLENTY)
    return fleet


def test_a_looser_limit_shadows_no_stricter_one() -> None:
    """Whichever of them was made first, and whichever place it hangs on: the stricter rules."""
    for loose_is_first in (True, False):
        fleet = with_rules("a")
        account = {"limit": 3 if loose_is_first else 50, "uid": "uid-account"}
        service = {
            "limit": 50 if loose_is_first else 3,
            "uid": "uid-service",
            "place": SERVICE,
            "place_uid": "uid-chat",
        }
        for rule in (account, service):
            put_rule(fleet, metric=REQUESTS, **rule)  # type: ignore[arg-type]  # of several types
        server = Caller(fleet)
        assert [passes(server.ask(f"r{number}")) for number in range(5)] == [True, True, True, False, False]


def test_a_refusal_burns_no_other_limit() -> None:
    """A hundred requests that one rule refuses leave what the others have."""
    fleet = with_rules("a")
    put_rule(fleet, 1, metric=REQUESTS, period_ms=HOUR_MS)
    put_rule(fleet, 60_000, "uid-tokens", metric=TOTAL)
    put_rule(fleet, 100, "uid-many", metric=REQUESTS)
    server = Caller(fleet)
    assert passes(server.ask("first", 100))
    for number in range(100):
        assert not passes(server.ask(f"r{number}", 100))
        fleet.run(ms=20)
    fleet.run(ms=1_000)
    assert (rate_of(fleet, "uid-tokens").spent_units, rate_of(fleet, "uid-many").spent_units) == (100, 1)


def test_a_limit_is_not_multiplied_by_the_replicas() -> None:
    """Ten on three nodes are ten, not thirty."""
    fleet = with_rules("a", "b", "c")
    put_rule(fleet, 10, metric=REQUESTS, period_ms=HOUR_MS)
    servers = [Caller(fleet, name) for name in "abc"]
    sent = []
    for number in range(30):
        server = servers[number % 3]
        server.ask(f"r{number}")
        sent.append((server, server.client.sequence))
        fleet.run(ms=20)
    fleet.run(ms=500)
    answers = [server.client.said(sequence) for server, sequence in sent]
    assert sum(map(passes, answers)) == 10


def test_a_counter_of_each_metric_fires_no_sooner_than_its_limit() -> None:
    """Rules of several metrics share no window: a thousand input tokens are a thousand, whatever comes out."""
    fleet = with_rules("a")
    put_rule(fleet, 1_000, "uid-input", metric=INPUT, period_ms=HOUR_MS)
    put_rule(fleet, 10_000, "uid-output", metric=OUTPUT, period_ms=HOUR_MS)
    put_rule(fleet, 100, "uid-requests", metric=REQUESTS, period_ms=HOUR_MS)
    server = Caller(fleet)
    for number in range(10):
        assert passes(server.ask(f"r{number}", 100, max_output_tokens=500))
        server.finish(f"r{number}", 100, 400)
    last = server.ask("r10", 100, max_output_tokens=500)
    assert last is not None
    assert last.reason is Reason.TOKEN_RATE
    assert last.rate is not None
    assert last.rate.rule.metric is INPUT
    fleet.run(ms=1_000)
    assert rate_of(fleet, "uid-output").spent_units == 4_000
