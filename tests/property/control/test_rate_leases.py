"""Leases on the pot of a rate rule: nothing is made out of nothing, whatever nodes hold, refund, return and lose."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.lease import Lease, Statement
from control_service.domain.lease_round import LeaseRound, StatementWork
from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.rate_pot import RatePot

START_US = 1_700_000_000_000_000
LIMIT, PERIOD_MS, BURST = 6_000, 60_000, 3_000
KEY = PotKey.of_limit(LimitPotKey("acme", "rule-1"), PotKind.RATE)


def lease_of(node: str) -> Lease:
    """A lease with nothing granted yet."""
    return Lease(
        f"lease-{node}", node, 1, "acme", "", PotKind.RATE, START_US, START_US, limit=LimitPotKey("acme", "rule-1")
    )


class Rule:
    """A rule's pot and the leases on it, as control keeps them between exchanges."""

    def __init__(self, pot: RatePot, *nodes: str) -> None:
        self.pot = pot
        self.leases = {node: lease_of(node) for node in nodes}
        self.now_us = START_US

    def wait(self, us: int) -> None:
        """Time passes."""
        self.now_us += us
        self.pot = self.pot.refilled(self.now_us)

    def say(self, node: str, **said: int | bool) -> Lease:
        """A node's statement; what it does not name is as it was."""
        before = self.leases[node]
        as_before = Statement(
            before.lease_id,
            consumed_units=before.consumed_units,
            returned_units=before.returned_units,
            refunded_units=before.refunded_units,
        )
        statement = replace(as_before, **said)  # type: ignore[arg-type]  # the test knows its levels
        work = StatementWork(statement, before, pays=True)
        lease_round = LeaseRound({KEY: self.pot}, self.now_us)
        lease_round.run([work])
        pot = lease_round.pots[KEY]
        assert isinstance(pot, RatePot)
        self.pot, self.leases[node] = pot, work.lease
        return work.lease


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 3_000_000),
        st.integers(0, 2_000),
        st.integers(0, 150),
        st.integers(0, 100),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=30,
)


@given(steps=steps)
def test_no_more_is_used_than_burst_and_rate(steps: list[tuple[str, int, int, int, int, int, bool]]) -> None:
    """Used and on lease, of all that ever was held: never above what accrued, but for what is in debt."""
    rule = Rule(RatePot.full(LIMIT, PERIOD_MS, BURST, START_US), "a", "b")
    for node, elapsed_us, needed, percent_held, percent_refunded, percent_returned, closing in steps:
        rule.wait(elapsed_us)
        lease = rule.leases[node]
        held = lease.outstanding_units * percent_held // 100
        unused = (lease.consumed_units + held - lease.refunded_units) * percent_refunded // 100
        free = max(0, lease.outstanding_units - held + unused)
        rule.say(
            node,
            consumed_units=lease.consumed_units + held,
            refunded_units=lease.refunded_units + unused,
            returned_units=lease.returned_units + free * percent_returned // 100,
            needed_units=needed,
            closing=closing,
        )
        if closing:
            rule.leases[node] = lease_of(node)
        on_lease = sum(each.outstanding_units for each in rule.leases.values())
        assert rule.pot.leased_units == on_lease
        assert rule.pot.available_units <= max(0, BURST - on_lease)
        accrued_parts = (rule.now_us - START_US) // 1_000 * LIMIT
        in_use_parts = (rule.pot.spent_units + on_lease) * PERIOD_MS + max(0, rule.pot.level_parts)
        debt_parts = max(0, -rule.pot.level_parts)
        assert in_use_parts <= BURST * PERIOD_MS + accrued_parts + debt_parts


def test_what_a_lost_node_had_is_gone() -> None:
    """Its units are forfeited, while those that a node gives back as it leaves are there again."""
    rule = Rule(RatePot.full(LIMIT, PERIOD_MS, BURST, START_US), "a", "b")
    rule.say("a", needed_units=100)
    rule.say("b", needed_units=100)
    assert rule.say("a", closing=True).outstanding_units == 0
    assert (rule.pot.available_units, rule.pot.leased_units) == (BURST - 200, 100)
    rule.say("b", returned_units=100, closing=True)
    assert (rule.pot.available_units, rule.pot.leased_units) == (BURST - 100, 0)


def test_a_late_word_on_a_closed_lease_takes_nothing_more() -> None:
    """What was forfeited is not charged once more."""
    rule = Rule(RatePot.full(LIMIT, PERIOD_MS, BURST, START_US), "a")
    rule.say("a", needed_units=100)
    rule.say("a", closing=True)
    rule.say("a", consumed_units=60)
    assert rule.pot.available_units == BURST - 100


def test_a_debt_is_the_pots_and_not_the_leases() -> None:
    """Held beyond the lease lowers the level; what is granted later is free for requests that wait."""
    rule = Rule(RatePot(LIMIT, PERIOD_MS, BURST, 10 * PERIOD_MS, START_US), "a")
    rule.say("a", needed_units=10)
    rule.say("a", consumed_units=60)
    assert rule.pot.available_units == -50
    rule.wait(1_000_000)
    lease = rule.say("a", needed_units=30)
    assert (lease.outstanding_units, rule.pot.available_units) == (30, 20)


def test_a_refund_pays_the_debt_first() -> None:
    """What was held beyond the lease, and not used, takes back the debt that it made."""
    rule = Rule(RatePot(LIMIT, PERIOD_MS, BURST, 10 * PERIOD_MS, START_US), "a")
    rule.say("a", needed_units=10)
    rule.say("a", consumed_units=60)
    lease = rule.say("a", refunded_units=55)
    assert (lease.outstanding_units, rule.pot.available_units) == (5, 0)


def test_nobody_refunds_what_was_never_held() -> None:
    """A refund counts up to what was consumed."""
    rule = Rule(RatePot.full(LIMIT, PERIOD_MS, BURST, START_US), "a")
    rule.say("a", needed_units=10)
    assert rule.say("a", consumed_units=4, refunded_units=1_000).refunded_units == 4
