"""A lease in a node's hands: what it says of itself, and what it gives back."""

from dataclasses import replace

import pytest

from metering_service.domain.burn import WINDOW_NS
from metering_service.domain.lease import CLOSE_AFTER_NS, Lease, LeaseAnswer, LeaseStatement
from metering_service.domain.lease_demand import IDLE_NS
from metering_service.domain.pot import PotKind

SECOND_NS = 1_000_000_000
PLENTY = 10**9


def answer(granted: int, *, empty: bool = False, available: int = 1_000, closed: bool = False) -> LeaseAnswer:
    """What control says."""
    return LeaseAnswer(
        "lease-1",
        granted,
        empty=empty,
        recalling=False,
        available_units=available,
        leased_elsewhere_units=0,
        accrues_after_ms=None,
        closed=closed,
    )


def ask(lease: Lease, now_ns: int) -> LeaseStatement:
    """What the lease has to say, which must be something."""
    statement = lease.statement(now_ns, idle=False)
    assert statement is not None
    return statement


@pytest.fixture
def lease() -> Lease:
    """A lease of 100 trial tokens, all free."""
    lease = Lease("lease-1", "accounts/acme/services/chat", "uid-1", PotKind.TRIAL)
    lease.demand.need(100)
    lease.answered(ask(lease, SECOND_NS), answer(100), SECOND_NS, SECOND_NS)
    lease.demand.forget_needs()
    return lease


def test_counters_add_up(lease: Lease) -> None:
    """What is held is not free; what is booked and not committed is still said to be held."""
    lease.hold(60, 2 * SECOND_NS)
    assert lease.free == 40
    lease.book(60, 25)
    assert (lease.free, lease.booked) == (75, 25)
    said = ask(lease, 2 * SECOND_NS)
    assert (said.consumed_units, said.held_units) == (0, 25)
    lease.committed = 25
    said = ask(lease, 2 * SECOND_NS)
    assert (said.consumed_units, said.held_units) == (25, 0)


def test_a_debt_is_consumption_beyond_the_lease(lease: Lease) -> None:
    """More used than held leaves less than nothing free, and nothing on offer."""
    lease.book(0, 130)
    assert lease.free == -30
    assert lease.offer(2 * SECOND_NS).units == 0


def test_a_recalled_lease_gives_back_what_is_free(lease: Lease) -> None:
    """What requests hold stays."""
    lease.hold(60, 2 * SECOND_NS)
    lease.demand.recalled = True
    said = ask(lease, 2 * SECOND_NS)
    assert (said.returned_units, said.held_units) == (40, 60)


def test_a_recalled_lease_that_cannot_serve_its_own_need_lets_go_for_one_round(lease: Lease) -> None:
    """Two leases that each keep half of what either needs would otherwise starve each other."""
    lease.demand.need(150)
    lease.demand.recalled = True
    said = ask(lease, 2 * SECOND_NS)
    assert (said.returned_units, said.needed_units, said.wanted_units) == (100, 0, 0)
    lease.answered(said, answer(100), 2 * SECOND_NS, 2 * SECOND_NS)
    said = ask(lease, 2 * SECOND_NS)
    assert (said.returned_units, said.needed_units) == (100, 150)


def test_a_recalled_lease_that_can_serve_its_own_need_keeps_it(lease: Lease) -> None:
    """Nobody is made to wait for what is there."""
    lease.demand.need(100)
    lease.demand.recalled = True
    assert ask(lease, 2 * SECOND_NS).returned_units == 0


def test_emptiness_that_was_overtaken_does_not_count(lease: Lease) -> None:
    """An answer to a question from before a top-up says nothing of what came with it."""
    lease.demand.need(200)
    said = ask(lease, 2 * SECOND_NS)
    lease.demand.replenished()
    lease.answered(said, answer(100, empty=True, available=0), 2 * SECOND_NS, 2 * SECOND_NS)
    assert not lease.offer(2 * SECOND_NS).exhausted
    said = ask(lease, 2 * SECOND_NS)
    lease.answered(said, answer(100, empty=True, available=0), 2 * SECOND_NS, 2 * SECOND_NS)
    assert lease.offer(2 * SECOND_NS).exhausted


def test_an_unused_lease_is_given_back_and_then_closed(lease: Lease) -> None:
    """Its units come back within seconds, the lease itself ends when it has been left alone for long."""
    later = SECOND_NS + IDLE_NS + 1
    said = lease.statement(later, idle=True)
    assert said is not None
    assert said.returned_units == 100
    assert not lease.is_idle(later)
    assert lease.is_idle(SECOND_NS + CLOSE_AFTER_NS + 1)


def burst(lease: Lease) -> int:
    """One request holds some of it, and what was asked for ahead of more came; the moment of that."""
    now_ns = 2 * SECOND_NS
    lease.hold(40, now_ns)
    said = ask(lease, now_ns)
    assert said.wanted_units == 320
    lease.answered(said, answer(100 + said.wanted_units), now_ns, now_ns)
    return now_ns


def test_that_less_is_wanted_is_no_news(lease: Lease) -> None:
    """Nothing is granted unless it is asked for, so control need not hear of it each time that the burn has halved."""
    now_ns = burst(lease)
    for step in range(1, 4):
        assert lease.statement(now_ns + step * SECOND_NS // 4, idle=False) is None
    lease.hold(1, now_ns + SECOND_NS)
    assert ask(lease, now_ns + SECOND_NS).wanted_units < 320


def test_a_lease_at_rest_gives_back_all_of_it_once(lease: Lease) -> None:
    """A request that runs and asks for nothing more keeps what it holds, and no more is fetched for it."""
    now_ns, granted, said = burst(lease), 420, []
    for step in range(1, 60):
        at_ns = now_ns + step * SECOND_NS // 4
        statement = lease.statement(at_ns, idle=False)
        if statement is not None:
            said.append((at_ns, statement))
            granted = max(granted, granted + statement.wanted_units - max(0, lease.free))
            lease.answered(statement, answer(granted, available=PLENTY), at_ns, at_ns)
    last_ns, last = said[-1]
    assert WINDOW_NS < last_ns - now_ns < WINDOW_NS + 2 * SECOND_NS
    assert (last.held_units, last.wanted_units, lease.free) == (40, 0, 0)
    assert last.returned_units == last.consumed_units + granted - 40


def loaded(available: int, elsewhere: int = 0) -> tuple[Lease, LeaseStatement]:
    """A lease from which 100 units are used each second, for 20 s, and the last that it said."""
    lease, returned = Lease("lease-1", "accounts/acme/services/chat", "uid-1", PotKind.TRIAL), 0
    lease.demand.need(1)
    said = ask(lease, SECOND_NS // 2)
    lease.demand.forget_needs()
    for now_ns in range(SECOND_NS, 21 * SECOND_NS, SECOND_NS):
        lease.hold(150, now_ns)
        lease.book(150, 100)
        lease.committed = lease.booked
        said = ask(lease, now_ns)
        available += said.returned_units - returned
        more = max(0, min(said.wanted_units - lease.free, available // 4))
        available, returned = available - more, said.returned_units
        answered = answer(lease.granted + more, available=available)
        lease.answered(said, replace(answered, leased_elsewhere_units=elsewhere), now_ns, now_ns)
    return lease, said


def test_a_lease_asks_for_twenty_seconds_of_its_burn() -> None:
    """Net of what came back, and the mean of ten seconds: so a node goes on while control is away."""
    lease, said = loaded(PLENTY)
    assert (said.wanted_units, said.burn_units) == (20 * 100, 100)
    assert lease.free >= 20 * 100


def test_where_much_is_on_lease_a_lease_goes_down_to_five_seconds_of_burn() -> None:
    """Others have more than a quarter of the pot: this lease keeps what it needs for a while, though it has little."""
    lease, said = loaded(10_000, elsewhere=100_000)
    assert (said.wanted_units, lease.free) == (5 * 100, 5 * 100)


def test_a_lease_keeps_its_part_of_a_quarter() -> None:
    """Of 4,000 that are left it has some 1,000; what is too much goes back once a second."""
    lease, said = loaded(6_000)
    assert said.burn_units == 100
    assert 900 <= lease.free <= 1_100


@pytest.mark.parametrize(("held", "booked", "committed"), [(1, 0, 0), (0, 1, 0)])
def test_a_lease_with_something_to_settle_is_never_idle(lease: Lease, held: int, booked: int, committed: int) -> None:
    """Neither while a request holds of it, nor before its last commit."""
    lease.held, lease.booked, lease.committed = held, booked, committed
    lease.returned = 100
    assert not lease.is_idle(SECOND_NS + 10 * CLOSE_AFTER_NS)


def test_a_rest_of_money_too_small_for_those_who_wait_is_given_back() -> None:
    """Otherwise control would have to think that the account may still pay, and never call it overdue."""
    lease = Lease("lease-1", "accounts/acme/services/chat", "uid-1", PotKind.MONEY)
    lease.demand.need(100)
    lease.answered(ask(lease, SECOND_NS), answer(30, empty=True, available=0), SECOND_NS, SECOND_NS)
    lease.demand.forget_needs()
    assert ask(lease, SECOND_NS + 1).returned_units == 30


def test_a_prefetch_does_not_confirm_that_a_pot_is_empty(lease: Lease) -> None:
    """Only a need does: so the next request's need reaches the control service."""
    lease.hold(100, 2 * SECOND_NS)
    lease.answered(ask(lease, 2 * SECOND_NS), answer(100, available=0), 2 * SECOND_NS, 2 * SECOND_NS)
    assert not lease.offer(2 * SECOND_NS).exhausted
    lease.demand.need(1)
    lease.answered(ask(lease, 2 * SECOND_NS), answer(100, available=0), 2 * SECOND_NS, 2 * SECOND_NS)
    assert lease.offer(2 * SECOND_NS).exhausted


def test_a_lease_that_was_just_made_is_not_closed_as_idle() -> None:
    """However long the node runs: one that got nothing yet stays, for those who ask their payers one by one."""
    late_ns = 10 * CLOSE_AFTER_NS
    lease = Lease("lease-1", "accounts/acme/services/chat", "uid-1", PotKind.TRIAL)
    lease.demand.need(100)
    lease.answered(ask(lease, late_ns), answer(0, empty=True, available=0), late_ns, late_ns)
    lease.demand.forget_needs()
    assert not lease.is_idle(late_ns + SECOND_NS)
    assert lease.is_idle(late_ns + 2 * CLOSE_AFTER_NS)


def test_a_lease_that_found_nothing_is_looked_at_when_it_may_ask_again(lease: Lease) -> None:
    """Its pot was confirmed to be empty, and all that was on it is used up: in a second it asks for more."""
    lease.hold(100, 2 * SECOND_NS)
    lease.book(100, 100)
    lease.committed = 100
    lease.demand.need(1)
    now_ns = 4 * SECOND_NS
    lease.answered(ask(lease, now_ns), answer(100, empty=True, available=0), now_ns, now_ns)
    lease.demand.forget_needs()
    lease.answered(ask(lease, now_ns), answer(100, available=0), now_ns, now_ns)
    assert lease.statement(now_ns, idle=False) is None
    assert lease.next_look_ns(now_ns, idle=False) == now_ns
    assert ask(lease, now_ns + SECOND_NS).wanted_units > 0
