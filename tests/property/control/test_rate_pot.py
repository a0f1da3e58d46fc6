"""The pot of a rate rule, under arbitrary sequences of refills, leases, holds, refunds and changes of the rule."""

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.rate_pot import LEASED_AHEAD_MS, RatePot

START_US = 1_700_000_000_000_000
limits = st.integers(min_value=1, max_value=10_000_000)
periods_ms = st.sampled_from([60_000, 90_000, 3_600_000, 86_400_000])
bursts = st.integers(min_value=1, max_value=20_000_000)
steps = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=90_000_000),
        st.integers(min_value=0, max_value=2_000_000),
        st.integers(min_value=0, max_value=100),
        st.integers(min_value=0, max_value=100),
    ),
    max_size=30,
)


@given(limit=limits, period_ms=periods_ms, burst=bursts, steps=steps)
def test_what_is_held_never_exceeds_burst_and_rate(
    limit: int, period_ms: int, burst: int, steps: list[tuple[int, int, int, int]]
) -> None:
    """Over any time at most one burst, what accrued and what was not used are held; the brim is never exceeded."""
    pot, now_us, held, on_lease = RatePot.full(limit, period_ms, burst, START_US), START_US, 0, 0
    for elapsed_us, units, percent_held, percent_refunded in steps:
        now_us += elapsed_us
        pot = pot.refilled(now_us)
        granted = min(units, pot.grantable_units)
        pot, on_lease = pot.lent(granted), on_lease + granted
        taken = on_lease * percent_held // 100
        pot, on_lease, held = pot.settled(spent_units=taken, released_units=taken), on_lease - taken, held + taken
        refund = taken * percent_refunded // 100
        pot = pot.settled(spent_units=0, released_units=-refund, refunded_units=refund)
        on_lease, held = on_lease + refund, held - refund
        assert pot.leased_units == on_lease
        assert pot.available_units + on_lease <= max(burst, on_lease)
        elapsed_ms = now_us // 1_000 - START_US // 1_000
        assert (held + on_lease) * period_ms <= burst * period_ms + limit * elapsed_ms
    assert pot.spent_units == held


@given(limit=limits, period_ms=periods_ms, burst=bursts, cuts=st.lists(st.integers(0, 60_000_000), max_size=20))
def test_refilling_often_gives_what_refilling_once_gives(
    limit: int, period_ms: int, burst: int, cuts: list[int]
) -> None:
    """Nothing is lost to rounding, however often the pot is refilled."""
    empty = RatePot(limit, period_ms, burst, 0, START_US)
    often, now_us = empty, START_US
    for cut_us in cuts:
        now_us += cut_us
        often = often.refilled(now_us)
    assert often.level_parts == empty.refilled(now_us).level_parts


@given(limit=limits, period_ms=periods_ms, burst=bursts, units=st.integers(1, 30_000_000))
def test_units_are_there_when_it_was_said(limit: int, period_ms: int, burst: int, units: int) -> None:
    """They can be had at the end of the time said, and not a millisecond before; never what is above the burst."""
    pot = RatePot(limit, period_ms, burst, 0, START_US)
    after_us = pot.accrues_after_us(units)
    if after_us is None:
        assert units > burst
        return
    assert pot.refilled(START_US + after_us).grantable_units >= units
    assert pot.refilled(START_US + after_us - 1_000).grantable_units < units


def test_a_debt_is_paid_before_anything_is_granted() -> None:
    """Running requests may take it below zero, by one burst at most."""
    pot = RatePot.full(60, 60_000, 10, START_US).settled(spent_units=15, released_units=0)
    assert (pot.available_units, pot.grantable_units) == (-5, 0)
    assert pot.accrues_after_us(1) == 6_000_000
    assert pot.settled(spent_units=1_000, released_units=0).available_units == -10


def test_units_of_a_lost_node_are_forfeited() -> None:
    """They accrue again as any others, and are given back by nobody."""
    pot = RatePot.full(60, 60_000, 10, START_US).lent(4).forfeited(4)
    assert (pot.available_units, pot.leased_units) == (6, 0)
    assert pot.refilled(START_US + 4_000_000).available_units == 10


def test_little_is_on_lease_ahead_of_need() -> None:
    """What accrues in two seconds, less what is out already."""
    pot = RatePot.full(6_000, 60_000, 6_000, START_US)
    assert pot.spare_units == 6_000 * LEASED_AHEAD_MS // 60_000 == 200
    assert pot.lent(150).spare_units == 50


def test_a_changed_rule_keeps_what_had_accrued() -> None:
    """Up to the new brim; the same rule changes nothing."""
    pot = RatePot(60, 60_000, 10, 5 * 60_000, START_US)
    assert pot.ruled(60, 60_000, 10) is pot
    assert pot.ruled(120, 60_000, 10).available_units == 5
    assert pot.ruled(60, 3_600_000, 3).available_units == 3


def test_a_dry_run_makes_no_debts() -> None:
    """What passes is counted to no less than zero; made real, the rule goes on from there."""
    pot = RatePot(60, 60_000, 10, 2 * 60_000, START_US, only_counts=True).settled(spent_units=5, released_units=0)
    assert pot.available_units == 0
    assert pot.ruled(60, 60_000, 10).available_units == 0
