"""Limits of accounts that a node follows no longer: they are forgotten, and told again before they are needed."""

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.pot import LimitPotKey
from metering_service.domain.report import Phase
from metering_service.usecases.leases.config_intake import forget_idle
from metering_service.usecases.leases.limit_intake import take_limits
from tests.harness.metering.budgets import TOKENS, put_budget
from tests.harness.metering.keys import by_key, warm, with_key
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.rules import put_rule
from tests.harness.metering.services import with_money
from tests.harness.metering.two_nodes import granted

CAP = LimitPotKey(TOKENS, "uid-cap")


def used_and_idle(fleet: Fleet) -> None:
    """A request has ended, and for ten minutes nothing came; its service is forgotten."""
    client = Client(fleet["a"])
    granted(client.say(report(Phase.AUTHORIZE, "first", Counts(10), max_output_tokens=0)))
    client.say(report(Phase.FINISH, "first", Counts(10)))
    client.close()
    fleet.run(seconds=660)
    forget_idle(fleet["a"].node)
    assert not fleet["a"].node.services


def limited() -> Fleet:
    """One node, and a service of an account with a budget and a rule."""
    fleet = Fleet("a")
    with_money(fleet, 100_000_000)
    put_budget(fleet, 1_000)
    put_rule(fleet, 600)
    return fleet


def test_limits_are_forgotten_a_minute_after_the_last_service_of_their_account() -> None:
    """With their pots."""
    fleet = limited()
    used_and_idle(fleet)
    node = fleet["a"].node
    assert node.limits.limit_of(CAP) is not None
    assert node.lease_index.pots

    fleet.run(seconds=61)

    assert not node.limits
    assert not node.lease_index.pots


def test_limits_that_were_forgotten_bind_again_from_the_first_request_on() -> None:
    """Control tells them before the service that they are for."""
    fleet = limited()
    used_and_idle(fleet)
    fleet.run(seconds=61)

    client = Client(fleet["a"])
    said = client.say(report(Phase.AUTHORIZE, "second", Counts(2_000), max_output_tokens=0))
    fleet.run(seconds=1)

    said = said or client.said(client.sequence)
    assert said is not None
    assert said.reason in (Reason.BUDGET_EXCEEDED, Reason.TOKEN_RATE)


def test_limits_stay_as_long_as_a_key_of_their_account_is_followed() -> None:
    """Control does not tell them again before the next service then."""
    fleet = with_key()
    put_budget(fleet, 100)
    warm(fleet, "k").close()
    node = fleet["a"].node
    for _ in range(20):
        Client(fleet["a"]).say(by_key(Phase.AUTHORIZE, "k", "elsewhere", source_address="192.0.2.1", model="none"))
        fleet.run(seconds=60)
        forget_idle(node)

    assert not node.services
    assert node.limits.limit_of(CAP) is not None
    fleet.run(seconds=720)
    assert not node.limits


def test_limits_that_come_before_what_they_are_for_are_kept() -> None:
    """A key on its way counts at control already."""
    fleet = limited()
    used_and_idle(fleet)
    fleet.run(seconds=30)
    take_limits(fleet["a"].node, fleet.control.limits)

    fleet.run(seconds=40)

    assert fleet["a"].node.limits.limit_of(CAP) is not None
