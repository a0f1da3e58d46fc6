"""A node that is cut off from control: services that go on for a bounded number of tokens, on leases they have."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Grant, Reason
from metering_service.domain.errors import NodeFencedError
from metering_service.domain.pot import PotKind
from metering_service.domain.price import Price
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import NANO_EACH, SERVICE, UID, running, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
LAPSE_S = 21
BALANCE = 1_000_000


def warm(client: Client, fleet: Fleet, request_id: str = "warm") -> None:
    """Use the service, so that what it has on lease for an outage gathers."""
    client.say(report(AUTHORIZE, request_id, Counts(1), max_output_tokens=0))
    client.say(report(FINISH, request_id, Counts(1)))
    fleet.run(seconds=3)


def cut_off(fleet: Fleet, seconds: int = LAPSE_S) -> None:
    """Control is gone, and the leases have lapsed."""
    fleet["a"].linked = False
    fleet.run(seconds=seconds)


def decided(fleet: Fleet, client: Client) -> Decision:
    """The decision on the last report, after as long as it waits for control."""
    fleet.run(ms=200)
    decision = client.said(client.sequence)
    assert decision is not None
    return decision


def ask(
    fleet: Fleet, client: Client, request_id: str, input_tokens: int, most: int | None = 0, *, service: str = SERVICE
) -> Decision:
    client.say(report(AUTHORIZE, request_id, Counts(input_tokens), max_output_tokens=most, service=service))
    return decided(fleet, client)


def granted(decision: Decision) -> Grant:
    assert decision.grant is not None, decision
    return decision.grant


def free(fleet: Fleet, kind: PotKind, name: str = "a") -> int:
    return fleet[name].node.services[SERVICE].leases[kind].free


def tokens(fleet: Fleet) -> int:
    outage = fleet["a"].node.services[SERVICE].outage
    return outage.tokens if outage is not None else 0


# --- leased beforehand -----------------------------------------------------------------------------------------------


def test_the_reserve_is_leased_beforehand_and_kept_while_the_service_is_in_use(fleet: Fleet, client: Client) -> None:
    """Of a trial as many tokens; given back some time after the last request, and none of it is lost."""
    with_trial(fleet, BALANCE, outage_tokens_max=5_000)
    warm(client, fleet)
    assert free(fleet, PotKind.TRIAL) >= 5_000
    fleet.run(seconds=50)
    assert free(fleet, PotKind.TRIAL) == 5_000
    fleet.run(seconds=80)
    assert fleet["a"].node.services[SERVICE].leases == {}
    pot = fleet.control.pots[fleet.control.key(UID, PotKind.TRIAL)]
    assert (pot.available_units, pot.leased_units) == (BALANCE - 1, 0)


@pytest.mark.parametrize(("output_nanos", "reserve"), [(1_500_000, 7_502), (100, 5_001)])
def test_the_reserve_of_money_goes_by_the_dearest_price(
    fleet: Fleet, client: Client, output_nanos: int, reserve: int
) -> None:
    """Of either class, rounded up."""
    price = replace(NANO_EACH, cache_write=0, output=output_nanos)
    with_money(fleet, BALANCE, price=price, outage_tokens_max=5_001)
    warm(client, fleet)
    fleet.run(seconds=10)
    assert free(fleet, PotKind.MONEY) == reserve


def test_what_denies_in_an_outage_has_no_reserve(fleet: Fleet, client: Client) -> None:
    """Unused, its lease goes back within seconds; so does that of a service whose reservation pays first."""
    with_trial(fleet, BALANCE)
    warm(client, fleet)
    assert free(fleet, PotKind.TRIAL) == 0
    fleet.control.put(
        running(trial_pays=True, outage_tokens_max=5_000, reservation_pays=True, reserved_input_tpm=10_000)
    )
    warm(client, fleet, "again")
    assert free(fleet, PotKind.TRIAL) == 0


def test_a_reserve_is_recalled_when_another_node_needs_it() -> None:
    """The last of a pot goes to whoever asks; the reserve is not asked for again at once."""
    fleet = Fleet("a", "b")
    with_trial(fleet, 1_000, outage_tokens_max=100_000)
    here, there = Client(fleet["a"]), Client(fleet["b"])
    warm(here, fleet)
    fleet.run(seconds=20)
    assert free(fleet, PotKind.TRIAL) > 900
    assert granted(ask(fleet, there, "r1", 950)).output_ceiling_tokens == 0
    assert free(fleet, PotKind.TRIAL) == 0
    there.say(report(FINISH, "r1", Counts(950)))
    assert granted(ask(fleet, there, "r2", 40)).output_ceiling_tokens == 0


# --- the bound -------------------------------------------------------------------------------------------------------


def test_a_service_goes_on_up_to_its_bound_and_not_a_token_further(fleet: Fleet, client: Client) -> None:
    """At the bound, one short of it, one beyond it; then it denies as any other."""
    with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    warm(client, fleet)
    cut_off(fleet)
    assert ask(fleet, client, "too-large", 1_001).reason is Reason.CONTROL_UNREACHABLE
    assert granted(ask(fleet, client, "r1", 999)).valid_for_ms > 5_000
    assert ask(fleet, client, "r2", 2).reason is Reason.CONTROL_UNREACHABLE
    assert granted(ask(fleet, client, "r3", 1)).is_final
    assert tokens(fleet) == 1_000
    assert ask(fleet, client, "r4", 1).reason is Reason.CONTROL_UNREACHABLE
    assert ask(fleet, client, "r5", 0, None).reason is Reason.CONTROL_UNREACHABLE


def test_all_of_it_can_be_granted(fleet: Fleet, client: Client) -> None:
    """The whole bound to one request, if that is what it needs."""
    with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    warm(client, fleet)
    cut_off(fleet)
    assert ask(fleet, client, "r1", 1_000).allowed
    assert tokens(fleet) == 1_000


def test_output_is_granted_up_to_the_bound(fleet: Fleet, client: Client) -> None:
    """In grants that shrink; at the last ceiling nobody can tell, and what was generated up to there is paid for."""
    with_money(fleet, BALANCE, outage_tokens_max=200)
    warm(client, fleet)
    cut_off(fleet)
    ceiling, output = granted(ask(fleet, client, "r1", 50, None)).output_ceiling_tokens, 0
    assert 0 < ceiling < 150
    while ceiling < 150:
        output = ceiling
        client.say(report(PROGRESS, "r1", Counts(50, output=output)))
        grant = granted(decided(fleet, client))
        assert grant.output_ceiling_tokens > ceiling
        assert not grant.is_final
        ceiling = grant.output_ceiling_tokens
        assert tokens(fleet) == 50 + ceiling <= 200
    client.say(report(PROGRESS, "r1", Counts(50, output=149)))
    assert granted(decided(fleet, client)).output_ceiling_tokens == 150
    client.say(report(PROGRESS, "r1", Counts(50, output=150)))
    assert decided(fleet, client).reason is Reason.CONTROL_UNREACHABLE
    client.say(report(FINISH, "r1", Counts(50, output=150), want_receipt=True))
    decision = decided(fleet, client)
    assert decision.receipt is not None
    assert (decision.receipt.cost_nanos, decision.receipt.debt_nanos, decision.receipt.overrun_tokens) == (200, 0, 0)


def test_what_requests_do_not_use_of_their_grants_can_be_granted_again(fleet: Fleet, client: Client) -> None:
    """The bound is of tokens that are used, or may still be."""
    with_trial(fleet, BALANCE, outage_tokens_max=400)
    warm(client, fleet)
    cut_off(fleet)
    for number in range(8):
        grant = granted(ask(fleet, client, f"r{number}", 10, None))
        assert grant.output_ceiling_tokens >= 16
        client.say(report(FINISH, f"r{number}", Counts(10, output=5)))
        assert tokens(fleet) == 15 * (number + 1)
    assert ask(fleet, client, "r8", 281).reason is Reason.CONTROL_UNREACHABLE
    assert ask(fleet, client, "r9", 280).allowed


def test_overrun_is_within_the_bound(fleet: Fleet, client: Client) -> None:
    """What a server generated beyond its grant takes of it, too; beyond the bound it has no payer meanwhile."""
    with_trial(fleet, BALANCE, outage_tokens_max=100)
    warm(client, fleet)
    cut_off(fleet)
    ask(fleet, client, "r1", 10, 20)
    client.say(report(FINISH, "r1", Counts(10, output=50), want_receipt=True))
    assert tokens(fleet) == 60
    client.say(report(FINISH, "alone", Counts(70), want_receipt=True))
    fleet.run(seconds=6)
    client.hear()
    receipts = [decision.receipt for _, decision in client.decisions if decision.receipt is not None]
    assert [(each.trial.total, each.unfunded.total) for each in receipts] == [(60, 0), (40, 30)]
    assert tokens(fleet) == 100


def test_a_service_that_costs_nothing_is_bounded_all_the_same(fleet: Fleet, client: Client) -> None:
    """Its payers never run dry."""
    fleet.control.put(running(postpaid_pays=True, price=Price(1), outage_tokens_max=100))
    warm(client, fleet)
    cut_off(fleet)
    assert ask(fleet, client, "r1", 101).reason is Reason.CONTROL_UNREACHABLE
    assert ask(fleet, client, "r2", 90, None).grant is not None
    assert tokens(fleet) <= 100


def test_without_enough_on_lease_the_bound_is_what_is_there(fleet: Fleet, client: Client) -> None:
    """Nothing is made up."""
    with_trial(fleet, 101, outage_tokens_max=1_000)
    warm(client, fleet)
    fleet.run(seconds=30)
    left = free(fleet, PotKind.TRIAL)
    cut_off(fleet)
    assert ask(fleet, client, "r1", left + 1).reason is Reason.CONTROL_UNREACHABLE
    assert ask(fleet, client, "r2", left).allowed


# --- who goes on, and for how long -----------------------------------------------------------------------------------


def test_a_service_that_denies_is_not_affected(fleet: Fleet, client: Client) -> None:
    """On the same stream: its requests are denied, and nothing renews its grants."""
    other = "accounts/acme/services/other"
    with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    denies = fleet.control.put(running(other, trial_pays=True))
    fleet.control.trial(denies, BALANCE)
    warm(client, fleet)
    assert ask(fleet, client, "running", 10, None, service=other).allowed
    cut_off(fleet)
    assert ask(fleet, client, "r1", 10, None).allowed
    assert client.valid_for_ms == 0
    assert ask(fleet, client, "r2", 10, None, service=other).reason is Reason.CONTROL_UNREACHABLE
    client.say(report(PROGRESS, "running", Counts(10, output=1), service=other))
    fleet.run(ms=200)
    assert client.said(client.sequence) is None


def test_an_open_request_goes_on(fleet: Fleet, client: Client) -> None:
    """Its grant is said again, by name, whenever it reports, though no more is granted; also one that is final."""
    with_trial(fleet, BALANCE, outage_tokens_max=10)
    warm(client, fleet)
    ceiling = granted(ask(fleet, client, "r1", 10, None)).output_ceiling_tokens
    ask(fleet, client, "capped", 10, 20)
    cut_off(fleet)
    for output in (1, ceiling - 20, ceiling - 1):
        client.say(report(PROGRESS, "r1", Counts(10, output=output)))
        grant = granted(decided(fleet, client))
        assert grant.valid_for_ms > 5_000
        assert not grant.is_final
    client.say(report(PROGRESS, "capped", Counts(10, output=20)))
    grant = granted(decided(fleet, client))
    assert (grant.output_ceiling_tokens, grant.is_final) == (20, True)
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    assert granted(decided(fleet, client)).valid_for_ms > 5_000


def test_a_reservation_is_not_passed_over(fleet: Fleet, client: Client) -> None:
    """Nobody can say what its rate has free, so nobody else is charged in its stead."""
    config = with_money(fleet, BALANCE, outage_tokens_max=1_000, reservation_pays=True, reserved_input_tpm=10_000)
    fleet.control.reserve(config)
    warm(client, fleet)
    cut_off(fleet)
    assert ask(fleet, client, "r1", 10).reason is Reason.CONTROL_UNREACHABLE


def test_a_node_that_cannot_commit_does_not_go_on(fleet: Fleet, client: Client) -> None:
    """Somebody may have taken it over, and given its leases to others."""
    with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    warm(client, fleet)
    cut_off(fleet)
    assert ask(fleet, client, "r1", 10, None).allowed
    fleet.database.down = True
    fleet.run(seconds=6)
    decision = ask(fleet, client, "r2", 10)
    assert 0 < granted(decision).valid_for_ms < 4_000
    fleet.run(seconds=5)
    assert ask(fleet, client, "r3", 10).reason is Reason.CONTROL_UNREACHABLE
    client.say(report(PROGRESS, "r1", Counts(10, output=1)))
    fleet.run(ms=200)
    assert client.said(client.sequence) is None
    fleet.database.down = False
    fleet.run(ms=200)
    assert ask(fleet, client, "r4", 10).allowed


def test_a_node_that_starts_in_the_outage_denies(fleet: Fleet) -> None:
    """It has no leases, and never had."""
    config = with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    warm(Client(fleet["a"]), fleet)
    fleet.control.reachable = False
    fleet.crash("a")
    client = Client(fleet.start("a"))
    assert ask(fleet, client, "r1", 10).reason is Reason.CONTROL_UNREACHABLE
    fleet["a"].node.service(SERVICE).config = config
    fleet.run(seconds=3)
    assert ask(fleet, client, "r2", 10).reason is Reason.CONTROL_UNREACHABLE


def test_when_control_is_back_nothing_is_to_be_done(fleet: Fleet, client: Client) -> None:
    """What waited is decided on, the next outage has its bound anew, and the books agree."""
    with_trial(fleet, BALANCE, outage_tokens_max=100)
    warm(client, fleet)
    for outage in range(2):
        cut_off(fleet)
        assert ask(fleet, client, f"r{outage}", 100).allowed
        client.say(report(AUTHORIZE, f"waits{outage}", Counts(100), max_output_tokens=0))
        fleet["a"].linked = True
        fleet.run(ms=60)
        waited = client.said(client.sequence)
        assert waited is not None
        assert waited.allowed
        assert tokens(fleet) == 0
        for name in (f"r{outage}", f"waits{outage}"):
            client.say(report(FINISH, name, Counts(100)))
        fleet.run(seconds=2)
    assert tokens(fleet) == 0
    client.close()
    fleet.run(seconds=140)
    pot = fleet.control.pots[fleet.control.key(UID, PotKind.TRIAL)]
    assert (pot.leased_units, pot.available_units) == (0, BALANCE - 401)


@pytest.mark.parametrize("balance", [3_000, BALANCE])
def test_a_node_that_is_taken_over_spends_nothing_twice(balance: int) -> None:
    """Cut off by itself it goes on until it is fenced; its requests end elsewhere, and the books agree."""
    fleet = Fleet("a", "b")
    with_money(fleet, balance, outage_tokens_max=1_000)
    here, there = Client(fleet["a"]), Client(fleet["b"])
    warm(here, fleet)
    cut_off(fleet, 20)
    assert ask(fleet, here, "done", 100, 20).allowed
    left = granted(ask(fleet, here, "left", 100, None))
    here.say(report(FINISH, "done", Counts(100, output=20)))
    fleet.run(seconds=2)
    lost = fleet.rigs.pop("a")
    fleet.start("a")
    # It has not noticed yet, and grants what whoever took it over does not know of.
    decision = here.say(report(AUTHORIZE, "unwritten", Counts(100), max_output_tokens=50))
    assert decision is not None
    unwritten, output = granted(decision), left.output_ceiling_tokens
    with pytest.raises(NodeFencedError):
        lost.commit()
    there.say(report(FINISH, "left", Counts(100, output=output), resume=left.resume))
    there.say(report(FINISH, "unwritten", Counts(100, output=50), resume=unwritten.resume))
    fleet.run(seconds=140)
    records = list(fleet.database.requests.values())
    assert {record.state for record in records} <= {RequestState.FINISHED, RequestState.TIMED_OUT}
    spent = 1 + 120 + (100 + output) + 150
    assert sum(record.receipt.usage.total for record in records) == spent
    assert sum(record.receipt.cost_nanos for record in records) == spent
    assert sum(record.receipt.debt_nanos + record.receipt.overrun_tokens for record in records) == 0
    key = fleet.control.key(UID, PotKind.MONEY)
    assert fleet.control.spent[key] == spent
    pot = fleet.control.pots[key]
    assert (pot.leased_units, pot.available_units) == (0, balance - spent)


def test_a_policy_that_changes_applies_at_once(fleet: Fleet, client: Client) -> None:
    """The reserve of a service that denies from now on goes back."""
    config: ServiceConfig = with_trial(fleet, BALANCE, outage_tokens_max=1_000)
    warm(client, fleet)
    assert free(fleet, PotKind.TRIAL) >= 1_000
    fleet.control.put(replace(config, outage_tokens_max=0))
    fleet.run(seconds=3)
    assert free(fleet, PotKind.TRIAL) == 0
    cut_off(fleet)
    assert ask(fleet, client, "r1", 10).reason is Reason.CONTROL_UNREACHABLE
