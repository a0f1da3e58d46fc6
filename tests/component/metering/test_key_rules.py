"""Rate rules that hang on an API key, and on the team of a key: whose requests they count, and on whose name."""

from typing import Any

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.rate_rule import RateMetric
from metering_service.domain.report import Phase
from tests.harness.metering.keys import DEFAULT, allowed, by_key, with_key
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.rules import put_rule

OF_KEY: dict[str, Any] = {"place": "accounts/acme/keys/k", "place_uid": "uid-k"}
OF_TEAM: dict[str, Any] = {"place": "accounts/acme/teams/red", "place_uid": "red"}


def ask(client: Client, shown: str, request_id: str) -> Decision | None:
    """Ask for a request with a key, that ends at once if it may begin."""
    decision = client.say(by_key(Phase.AUTHORIZE, shown, request_id, Counts(10)))
    if decision is not None and decision.allowed:
        client.say(report(Phase.FINISH, request_id, Counts(10, output=1), service=""))
    return decision


def is_refused(decision: Decision | None, place: str) -> bool:
    """Whether it is a denial by the rule that hangs there."""
    assert decision is not None
    return decision.reason is Reason.REQUEST_RATE and decision.rate is not None and decision.rate.rule.place == place


def fleet_with(place: dict[str, Any], *, limit: int, team: str = "", config: dict[str, Any] | None = None) -> Fleet:
    """Two nodes, the key `k`, and a rule that lets so many requests begin at once."""
    fleet = with_key(team=team, config=config)
    fleet.start("b")
    put_rule(fleet, 6 * limit, metric=RateMetric.REQUESTS, burst=limit, **place)
    return fleet


def test_a_rule_on_a_key_counts_that_key_alone() -> None:
    """Another key, and what comes without one, is free of it."""
    fleet = fleet_with(OF_KEY, limit=2)
    fleet.control.put_key("other")
    client = Client(fleet["a"])

    allowed(ask(client, "k", "r1"))
    allowed(ask(client, "k", "r2"))

    assert is_refused(ask(client, "k", "r3"), OF_KEY["place"])
    allowed(ask(client, "other", "r4"))
    allowed(client.say(report(Phase.AUTHORIZE, "r5", Counts(10), service=DEFAULT)))


def test_a_rule_on_a_key_counts_all_of_its_secrets_on_all_nodes() -> None:
    """A rotation gives nothing back."""
    fleet = fleet_with(OF_KEY, limit=2)
    fleet.control.put_key("rotated", name="accounts/acme/keys/k", uid="uid-k")

    allowed(ask(Client(fleet["a"]), "k", "r1"))
    allowed(ask(Client(fleet["b"]), "rotated", "r2"))

    fleet.run(ms=100)
    assert is_refused(ask(Client(fleet["b"]), "k", "r3"), OF_KEY["place"])
    assert is_refused(ask(Client(fleet["a"]), "rotated", "r4"), OF_KEY["place"])


def test_a_rule_on_a_team_counts_the_keys_of_that_team() -> None:
    """Together; the key of another team is free of it, on the same service."""
    fleet = fleet_with(OF_TEAM, limit=2, team="red", config={"shared": True, "team": "green"})
    fleet.control.put_key("red too", team="red")
    fleet.control.put_key("blue", team="blue")
    client = Client(fleet["a"])

    allowed(ask(client, "k", "r1"))
    allowed(ask(client, "red too", "r2"))

    assert is_refused(ask(client, "k", "r3"), OF_TEAM["place"])
    allowed(ask(client, "blue", "r4"))


@pytest.mark.parametrize("key_team", ["red", ""])
def test_a_team_of_both_key_and_service_counts_once(key_team: str) -> None:
    """The same request is one, whichever of the two is in the team, or both."""
    fleet = fleet_with(OF_TEAM, limit=3, team=key_team, config={"team": "red"})
    client = Client(fleet["a"])

    decisions = [ask(client, "k", f"r{number}") for number in range(3)]

    assert all(allowed(decision) for decision in decisions)
    assert is_refused(ask(client, "k", "last"), OF_TEAM["place"])


def test_slots_of_a_key_are_free_again_when_its_requests_have_ended() -> None:
    """Those of another key are its own."""
    fleet = with_key()
    fleet.control.put_key("other")
    put_rule(fleet, 1, metric=RateMetric.CONCURRENT_REQUESTS, **OF_KEY)
    client = Client(fleet["a"])
    allowed(client.say(by_key(Phase.AUTHORIZE, "k", "r1")))

    denial = client.say(by_key(Phase.AUTHORIZE, "k", "r2"))

    assert denial is not None
    assert denial.reason is Reason.CONCURRENCY
    allowed(client.say(by_key(Phase.AUTHORIZE, "other", "r3")))
    client.say(report(Phase.FINISH, "r1", service=""))
    fleet.run(ms=100)
    allowed(client.say(by_key(Phase.AUTHORIZE, "k", "r4")))


def test_a_dry_run_on_a_key_is_counted_under_its_rule_and_key() -> None:
    """It refuses nothing."""
    fleet = with_key()
    put_rule(fleet, 60, metric=RateMetric.REQUESTS, burst=1, dry_run=True, **OF_KEY)
    client = Client(fleet["a"])
    for number in range(3):
        allowed(client.say(by_key(Phase.AUTHORIZE, "k", f"r{number}")))
        fleet.run(ms=60)
    fleet.run(ms=500)

    counted = {(key.credential, key.reason.rstrip("?")) for key in fleet.database.denials}

    assert counted == {("uid-k", "would_deny:accounts/acme/rateRules/uid-rule")}
