"""Budgets at a node: all or none is charged, exactly the amount can be used, and a denial moves nothing."""

from collections.abc import Sequence

import pytest

from control_service.domain.pot import Quantity
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.lease import LeaseAnswer, LeaseStatement
from metering_service.domain.limit import Member, Period
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.report import Phase
from metering_service.domain.stamp import HOUR_US
from tests.harness.metering.budgets import MONEY, TOKENS, booked_on, drop_budget, pot_of, put_budget, spent
from tests.harness.metering.keys import sha256
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, running, with_money, with_trial
from tests.harness.metering.two_nodes import granted

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000
CAP = LimitPotKey(TOKENS, "uid-cap")


@pytest.fixture
def fleet() -> Fleet:
    """One node, and a service with plenty of money at a nano a token."""
    fleet = Fleet("a")
    with_money(fleet, BALANCE)
    return fleet


def ask(fleet: Fleet, request_id: str = "r1", tokens: int = 100, *, shown: str = "") -> Decision | None:
    """What becomes of a request with so much input and no output, whose server is not heard of again."""
    fleet.run(ms=20)
    client = Client(fleet["a"])
    key_sha256 = sha256(shown) if shown else b""
    said = client.say(report(AUTHORIZE, request_id, Counts(tokens), max_output_tokens=0, key_sha256=key_sha256))
    client.close()
    return said


def run(fleet: Fleet, request_id: str, tokens: int) -> None:
    """A request that is allowed and ends."""
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, request_id, Counts(tokens), max_output_tokens=0)))
    client.say(report(FINISH, request_id, Counts(tokens)))
    client.close()


def rest(fleet: Fleet) -> None:
    """Everything is committed, settled and given back."""
    fleet.run(seconds=70)


@pytest.mark.parametrize("kind", [TOKENS, MONEY])
@pytest.mark.parametrize(
    ("amount", "tokens", "allowed"), [(0, 1, False), (1, 1, True), (99, 100, False), (100, 100, True)]
)
def test_exactly_the_amount_can_be_used(
    fleet: Fleet, kind: PotKind, amount: int, tokens: int, *, allowed: bool
) -> None:
    """Not one token, and not one nano, more; and all of it."""
    put_budget(fleet, amount, kind=kind)
    decision = ask(fleet, tokens=tokens)
    assert decision is not None
    assert decision.allowed == allowed, decision
    if not allowed:
        assert (decision.reason, decision.retryable) == (Reason.BUDGET_EXCEEDED, False)
        assert decision.budget is not None
        assert (decision.budget.name, decision.budget.place) == ("accounts/acme/budgets/uid-cap", "accounts/acme")
        assert (decision.budget.amount_units, decision.budget.is_money) == (amount, kind is MONEY)


@pytest.mark.parametrize("nodes", [("a",), ("a", "b", "c")])
@pytest.mark.parametrize("kind", [TOKENS, MONEY])
def test_of_twenty_at_once_exactly_as_many_pass_as_fit(nodes: tuple[str, ...], kind: PotKind) -> None:
    """At their first answers; the others may come again, as what passed may yet give something back."""
    fleet = Fleet(*nodes)
    with_money(fleet, BALANCE)
    put_budget(fleet, 5 * 100, kind=kind)
    clients = {name: Client(fleet[name]) for name in nodes}
    for number in range(20):
        client = clients[nodes[number % len(nodes)]]
        client.send(report(AUTHORIZE, f"r{number}", Counts(100), max_output_tokens=0))
    fleet.run(seconds=3)
    for client in clients.values():
        client.hear()
    said = [decision for client in clients.values() for _, decision in client.decisions]
    assert len(said) == 20
    assert sum(decision.allowed for decision in said) == 5
    assert {decision.reason for decision in said if not decision.allowed} == {Reason.BUDGET_CONTENDED}


def test_what_was_used_up_is_exceeded_for_all(fleet: Fleet) -> None:
    """Nothing is held by anybody, so nothing may come back."""
    put_budget(fleet, 500)
    for number in range(5):
        run(fleet, f"r{number}", 100)
    rest(fleet)
    assert spent(fleet) == booked_on(fleet, CAP) == 500
    decision = ask(fleet, "r9", tokens=1)
    fleet.run(ms=200)
    assert decision is not None
    assert decision.reason is Reason.BUDGET_EXCEEDED


def test_a_denial_leaves_everything_as_it_was(fleet: Fleet) -> None:
    """One budget refuses: the others, and the payer, have what they had."""
    put_budget(fleet, 50, "uid-small")
    put_budget(fleet, 1_000, "uid-cap")
    put_budget(fleet, 1_000, "uid-money", kind=MONEY)
    decision = ask(fleet)
    assert decision is not None
    assert decision.budget is not None
    assert decision.budget.name.endswith("uid-small")
    rig = fleet["a"]
    leases = [lease for holder in rig.node.lease_index.holders.values() for lease in holder.all_leases()]
    assert leases
    assert all((lease.held, lease.booked) == (0, 0) for lease in leases)
    rest(fleet)
    for uid, kind in (("uid-small", TOKENS), ("uid-cap", TOKENS), ("uid-money", MONEY)):
        assert spent(fleet, uid, kind=kind) == 0
    assert fleet.control.pots[fleet.control.key(UID, PotKind.MONEY)].available_units == BALANCE


def test_a_cold_request_asks_for_all_that_is_short_at_once(fleet: Fleet) -> None:
    """One exchange of leases, for the payer and for every pot."""
    for number in range(3):
        put_budget(fleet, 1_000, f"uid-{number}", kind=MONEY if number else TOKENS)
    said: list[int] = []
    exchange = fleet.control.exchange

    def counted(node: str, epoch: int, statements: Sequence[LeaseStatement]) -> list[LeaseAnswer]:
        said.append(len(statements))
        return exchange(node, epoch, statements)

    fleet.control.exchange = counted  # type: ignore[method-assign]
    fleet["a"].hear_control()
    granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    assert [count for count in said if count] == [4]


def test_a_grant_ends_where_the_budget_does(fleet: Fleet) -> None:
    """What is left pays the input and some output: a small last grant; at its end a denial names the budget."""
    put_budget(fleet, 130)
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    while not grant.is_final:
        client.say(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens)))
        fleet.run(ms=400)
        grant = granted(client.said(client.sequence))
    assert grant.output_ceiling_tokens == 30
    client.say(report(PROGRESS, counts=Counts(100, output=30)))
    fleet.run(ms=400)
    decision = client.said(client.sequence)
    assert decision is not None
    assert decision.reason is Reason.BUDGET_EXCEEDED
    client.say(report(FINISH, counts=Counts(100, output=30)))
    rest(fleet)
    assert spent(fleet) == 130


def test_a_soft_budget_only_counts(fleet: Fleet) -> None:
    """Beyond its amount too, whatever control gives, and nobody waits for it."""
    put_budget(fleet, 50, only_counts=True)
    fleet.control.pots[pot_of(fleet)] = Quantity(50, 0, 0)
    granted(ask(fleet))
    run(fleet, "r2", 300)
    Client(fleet["a"]).say(report(FINISH, "r1", Counts(100)))
    rest(fleet)
    assert spent(fleet) == 400


def test_all_tokens_count_whoever_paid(fleet: Fleet) -> None:
    """Those of the trial, those that nobody paid for, and those beyond the grant."""
    fleet = Fleet("a")
    with_trial(fleet, 100)
    put_budget(fleet, 1_000)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(60), max_output_tokens=20)))
    client.say(report(FINISH, counts=Counts(60, output=90)))
    client.say(report(FINISH, "r2", Counts(7)))
    rest(fleet)
    assert sum(record.receipt.unfunded.total for record in fleet.database.requests.values()) == 57
    assert spent(fleet) == booked_on(fleet, CAP) == 157


def test_money_counts_with_its_debt(fleet: Fleet) -> None:
    """What a budget of money is charged is what receipts cost."""
    fleet = Fleet("a")
    with_money(fleet, 100)
    put_budget(fleet, 1_000, kind=MONEY)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(60), max_output_tokens=20)))
    client.say(report(FINISH, counts=Counts(60, output=90)))
    rest(fleet)
    assert spent(fleet, kind=MONEY) == 150


def test_open_requests_stay_with_their_period() -> None:
    """A new period has all its amount; what runs goes on with the pot that it began with."""
    fleet = Fleet("a")
    with_money(fleet, BALANCE)
    now_ns, hour_us = fleet.clock.monotonic_ns(), fleet.clock.now_us() // HOUR_US * HOUR_US
    turn_ns = now_ns + 60_000_000_000
    first, second = Period(hour_us, hour_us + HOUR_US, 0, turn_ns), Period(hour_us + HOUR_US, None, turn_ns)
    put_budget(fleet, 150, periods=(first, second))
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=50)))
    exceeded = ask(fleet, "r2")
    assert exceeded is not None
    assert exceeded.reason is Reason.BUDGET_CONTENDED
    fleet.run(seconds=61)
    granted(ask(fleet, "r3"))
    client.say(report(FINISH, counts=Counts(100, output=20)))
    Client(fleet["a"]).say(report(FINISH, "r3", Counts(100)))
    rest(fleet)
    assert spent(fleet, start_us=first.start_us) == 120
    assert spent(fleet, start_us=second.start_us) == 100
    # Sums by the hour of authorisation are those of the periods, wherever this node's clock stands in the hour.
    hours = {key.hour_us: cell.usage.total for key, cell in fleet.database.aggregates.items()}
    assert hours == {first.start_us: 120, second.start_us: 100}


def test_a_denial_says_when_the_budget_begins_anew(fleet: Fleet) -> None:
    """Of several the one is named that lasts longest."""
    hour_us = fleet.clock.now_us() // HOUR_US * HOUR_US
    for hours in (2, 5, 3):
        period = Period(hour_us, hour_us + hours * HOUR_US, 0, hours * 3_600_000_000_000)
        put_budget(fleet, hours, f"uid-{hours}", periods=(period,))
    decision = ask(fleet)
    assert decision is not None
    assert decision.budget is not None
    assert (decision.budget.amount_units, decision.budget.end_us) == (5, hour_us + 5 * HOUR_US)
    put_budget(fleet, 1, "uid-ever")
    decision = ask(fleet, "r2")
    assert decision is not None
    assert decision.budget is not None
    assert decision.budget.end_us is None


def test_each_key_has_a_pot_of_its_own(fleet: Fleet) -> None:
    """And without a key such a budget does not apply."""
    put_budget(fleet, 100, member=Member.EACH_KEY)
    for shown in ("1", "2"):
        fleet.control.put_key(shown)
    granted(ask(fleet, "r1", shown="1"))
    granted(ask(fleet, "r2", shown="2"))
    contended = ask(fleet, "r3", tokens=1, shown="1")
    fleet.run(seconds=3)
    assert contended is None or not contended.allowed
    granted(ask(fleet, "r4", tokens=500))
    for request_id in ("r1", "r2", "r4"):
        Client(fleet["a"]).say(report(FINISH, request_id, Counts(100)))
    rest(fleet)
    assert (spent(fleet, member="uid-1"), spent(fleet, member="uid-2")) == (100, 100)


def test_a_pot_is_shared_by_all_services_of_a_node(fleet: Fleet) -> None:
    """One lease, and what one service gives back another one that waits for it gets."""
    other = "accounts/acme/services/other"
    fleet.control.put(
        running(other, postpaid_pays=True, debt_allowed=True, price=fleet.control.services[SERVICE].price)
    )
    put_budget(fleet, 100)
    client, waiting = Client(fleet["a"]), Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=0)))
    client.say(report(FINISH, counts=Counts(40)))
    granted(waiting.say(report(AUTHORIZE, "r2", Counts(60), service=other, max_output_tokens=0)))
    assert len(fleet["a"].node.lease_index.pots) == 1
    assert len([lease for lease in fleet.control.leases.values() if lease.limit is not None]) == 1
    waiting.say(report(FINISH, "r2", Counts(60), service=other))
    rest(fleet)
    assert spent(fleet) == 100


def test_a_deleted_budget_no_longer_refuses(fleet: Fleet) -> None:
    """What runs goes on beyond it, and what was held is given back."""
    put_budget(fleet, 120)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    drop_budget(fleet)
    client.say(report(PROGRESS, counts=Counts(100, output=18)))
    fleet.run(ms=400)
    assert granted(client.said(client.sequence)).output_ceiling_tokens > 20
    client.say(report(FINISH, counts=Counts(100, output=20)))
    rest(fleet)
    assert fleet.control.pots[pot_of(fleet)].leased_units == 0


def test_a_budget_keeps_a_reserve_for_an_outage() -> None:
    """A service that goes on without control does so with its budgets; after its last use all is given back."""
    fleet = Fleet("a")
    with_money(fleet, BALANCE, outage_tokens_max=5_000)
    put_budget(fleet, 100_000)
    fleet.run(ms=20)
    run(fleet, "warm", 1)
    fleet.run(seconds=5)
    fleet["a"].linked = False
    fleet.run(seconds=21)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(4_900), max_output_tokens=0)))
    client.say(report(FINISH, counts=Counts(4_900)))
    fleet["a"].linked = True
    fleet.run(seconds=150)
    assert spent(fleet) == 4_901


def test_a_raise_lets_waiting_requests_pass(fleet: Fleet) -> None:
    """At once, though the pot was confirmed to be empty."""
    put_budget(fleet, 50)
    assert ask(fleet) is not None
    put_budget(fleet, 100)
    fleet.control.replenished_limit_pots.clear()
    granted(ask(fleet, "r2"))


def test_whole_answers_are_held_in_full(fleet: Fleet) -> None:
    """What a budget has left caps one where the rest is spent for good; where it may come back, it is sent again."""
    put_budget(fleet, 300)
    client = Client(fleet["a"])
    held = client.say(report(AUTHORIZE, counts=Counts(50), max_output_tokens=100, whole=True))
    assert (granted(held).output_ceiling_tokens, granted(held).is_final) == (100, True)
    contended = client.say(report(AUTHORIZE, "r2", Counts(50), max_output_tokens=200, whole=True))
    assert contended is not None
    assert contended.reason is Reason.BUDGET_CONTENDED
    client.say(report(FINISH, counts=Counts(50, output=100)))
    rest(fleet)
    cut = client.say(report(AUTHORIZE, "r3", Counts(50), max_output_tokens=200, whole=True))
    fleet.run(ms=400)
    assert granted(cut or client.said(client.sequence)).output_ceiling_tokens == 100
    exceeded = client.say(report(AUTHORIZE, "r4", Counts(350), max_output_tokens=200, whole=True))
    assert exceeded is not None
    assert exceeded.reason is Reason.BUDGET_EXCEEDED


def test_what_its_record_would_use_stays_until_the_booking_is_durable(fleet: Fleet) -> None:
    """An exact finish lowers counts that are on record: a crash would book those, so nobody else spends them yet."""
    put_budget(fleet, 1_000)
    fleet["a"].hear_control()
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(300), max_output_tokens=200)))
    client.say(report(PROGRESS, counts=Counts(252, output=20), estimated=True))
    fleet.run(ms=200)
    lease = fleet["a"].node.lease_index.pots["accounts/acme", CAP].mine
    client.say(report(FINISH, counts=Counts(100, output=15)))
    assert (lease.booked, lease.held) == (115, 272 - 115)
    fleet["a"].commit()
    assert (lease.booked, lease.held) == (115, 0)


def test_after_a_crash_parts_are_booked_on_their_pots() -> None:
    """By the list on record, on the lease of the lost epoch, which is closed when all of them are booked."""
    fleet = Fleet("a", "b")
    with_money(fleet, BALANCE)
    other = "accounts/acme/services/other"
    fleet.control.put(
        running(other, postpaid_pays=True, debt_allowed=True, price=fleet.control.services[SERVICE].price)
    )
    put_budget(fleet, 1_000)
    put_budget(fleet, 1_000, "uid-money", kind=MONEY)
    client = Client(fleet["a"])
    for name, request_id in ((SERVICE, "r1"), (other, "r2")):
        granted(client.say(report(AUTHORIZE, request_id, Counts(100), service=name)))
        client.say(report(PROGRESS, request_id, Counts(100, output=3), service=name))
    fleet.run(ms=400)
    fleet.crash("a")
    drop_budget(fleet, "uid-other")
    fleet.start("a")
    rest(fleet)
    assert spent(fleet) == booked_on(fleet, CAP) == 206
    assert spent(fleet, "uid-money", kind=MONEY) == 206
    assert fleet.control.pots[pot_of(fleet)].available_units == 1_000 - 206


def test_a_moved_request_is_charged_to_the_same_pots() -> None:
    """What lies beyond the first grant by the second node, on a lease of its own."""
    fleet = Fleet("a", "b")
    with_money(fleet, BALANCE)
    put_budget(fleet, 1_000)
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=8)))
    fleet.run(ms=80)
    first.close()
    drop_budget(fleet)
    put_budget(fleet, 1_000, "uid-later")
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))
    fleet.run(ms=80)
    second.say(report(FINISH, counts=Counts(100, output=12), resume=grant.resume))
    rest(fleet)
    assert spent(fleet) == booked_on(fleet, CAP) == 112
    assert spent(fleet, "uid-later") == 0
