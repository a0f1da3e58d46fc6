"""The rate bucket of a reservation, under arbitrary sequences of refills, loans, settlements and new rates."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.bucket import FULL_AFTER_US, MICRO_PER_TOKEN, SET_BACK_US, Bucket
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.rate_pot import RatePot
from control_service.usecases.fleet.elapsed_time import SPARE_NS, ElapsedTime
from tallygate._server.clock import ManualClock

KEY = PotKey.of("acme", "uid", PotKind.RESERVATION_OUTPUT)

START_US = 1_700_000_000_000_000
rates = st.integers(min_value=1, max_value=10_000_000)
steps = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=90_000_000),
        st.integers(min_value=0, max_value=2_000_000),
        st.integers(min_value=0, max_value=100),
    ),
    max_size=30,
)


def full(rate: int) -> Bucket:
    """A bucket as a first purchase leaves it."""
    return Bucket.empty(START_US).rated(rate, added_tokens=rate)


@given(rate=rates, steps=steps)
def test_available_and_leased_never_exceed_the_burst(rate: int, steps: list[tuple[int, int, int]]) -> None:
    """Whatever happens, no more than one minute's worth is available and leased together."""
    bucket, now_us = full(rate), START_US
    for elapsed_us, units, percent_used in steps:
        now_us += elapsed_us
        bucket = bucket.refilled(now_us)
        granted = min(units, bucket.grantable_units)
        bucket = bucket.lent(granted)
        assert bucket.level_micro + bucket.leased_units * MICRO_PER_TOKEN <= rate * MICRO_PER_TOKEN
        bucket = bucket.settled(spent_units=granted * percent_used // 100, released_units=granted)
        assert bucket.level_micro + bucket.leased_units * MICRO_PER_TOKEN <= rate * MICRO_PER_TOKEN


@given(rate=rates, steps=steps)
def test_consumption_never_exceeds_burst_and_rate(rate: int, steps: list[tuple[int, int, int]]) -> None:
    """Over any time, at most one burst and the rate for that time are consumed."""
    bucket, now_us, consumed = full(rate), START_US, 0
    for elapsed_us, units, _ in steps:
        now_us += elapsed_us
        bucket = bucket.refilled(now_us)
        granted = min(units, bucket.grantable_units)
        bucket = bucket.lent(granted).settled(spent_units=granted, released_units=granted)
        consumed += granted
        assert consumed * MICRO_PER_TOKEN <= rate * MICRO_PER_TOKEN + rate * (now_us - START_US)
    assert bucket.spent_units == consumed


@given(rate=rates, cuts=st.lists(st.integers(min_value=0, max_value=60_000_000), max_size=20))
def test_refilling_often_gives_what_refilling_once_gives(rate: int, cuts: list[int]) -> None:
    """Nothing is lost to rounding, however often the bucket is refilled."""
    drained = full(rate).lent(rate).settled(spent_units=rate, released_units=rate)
    stepwise = drained
    for cut_us in sorted(cuts):
        stepwise = stepwise.refilled(START_US + cut_us)
    end_us = START_US + 60_000_000
    assert stepwise.refilled(end_us) == drained.refilled(end_us)


@given(rate=rates, units=st.integers(min_value=0, max_value=10_000_000))
def test_units_are_there_when_they_were_promised(rate: int, units: int) -> None:
    """After the promised time the units are available, and not a microsecond before."""
    drained = full(rate).lent(rate).settled(spent_units=rate, released_units=rate)
    after_us = drained.accrues_after_us(units)
    if after_us is None:
        assert units > rate
        return
    assert drained.refilled(START_US + after_us).available_units >= units
    if after_us:
        assert drained.refilled(START_US + after_us - 1).available_units < units


@given(rate=rates, back_us=st.integers(min_value=1, max_value=10**12))
def test_a_clock_that_goes_back_adds_nothing(rate: int, back_us: int) -> None:
    """A little back, the same time does not count twice; far back, the bucket does not stand still until it is over."""
    drained = full(rate).lent(rate)
    after = drained.refilled(START_US - back_us)
    assert after.level_micro == drained.level_micro
    assert after.updated_us == (START_US if back_us <= SET_BACK_US else START_US - back_us)


@given(
    rate=rates,
    offsets=st.lists(st.integers(min_value=-(10**11), max_value=10**11), min_size=1, max_size=3),
    turns=st.lists(st.tuples(st.integers(min_value=0, max_value=2), st.integers(min_value=0, max_value=10**7))),
)
def test_replicas_whose_clocks_differ_make_up_no_time(
    rate: int, offsets: list[int], turns: list[tuple[int, int]]
) -> None:
    """However far apart their clocks are, each replica adds the time that it measured: in all, one bucket each."""
    clocks = [ManualClock(START_US + offset_us) for offset_us in offsets]
    replicas = [ElapsedTime(clock) for clock in clocks]
    bucket, consumed, passed_us = full(rate).settled(spent_units=rate, released_units=0), 0, 0
    for turn, step_us in turns:
        for clock in clocks:
            clock.advance(us=step_us)
        passed_us += step_us
        replica, clock = replicas[turn % len(replicas)], clocks[turn % len(clocks)]
        bucket = replica.refilled(KEY, bucket, clock.now_us())
        granted = bucket.grantable_units
        bucket = bucket.lent(granted).settled(spent_units=granted, released_units=granted)
        consumed += granted
    most_us = len(clocks) * (FULL_AFTER_US + passed_us + SPARE_NS // 1_000)
    assert consumed * MICRO_PER_TOKEN <= rate * most_us
    if len(clocks) == 1:
        assert consumed * MICRO_PER_TOKEN <= rate * (FULL_AFTER_US + passed_us + SPARE_NS // 1_000)


@given(
    ahead_us=st.integers(min_value=SET_BACK_US + 1, max_value=10**11),
    step_us=st.integers(min_value=1_000, max_value=20_000),
    turns=st.lists(st.integers(min_value=0, max_value=1), min_size=50, max_size=100),
)
def test_replicas_in_turn_make_up_no_time(ahead_us: int, step_us: int, turns: list[int]) -> None:
    """Where clocks set each other back, each replica adds what it measured, however often they take turns."""
    clocks = [ManualClock(START_US + offset_us) for offset_us in (0, ahead_us)]
    replicas = [ElapsedTime(clock) for clock in clocks]
    bucket, accrued_us = Bucket.empty(START_US).rated(1), [0, 0]
    for replica, clock in zip(replicas, clocks, strict=True):
        bucket = replace(replica.refilled(KEY, bucket, clock.now_us()), level_micro=0)
    for turn in turns:
        for clock in clocks:
            clock.advance(us=step_us)
        refilled = replicas[turn].refilled(KEY, bucket, clocks[turn].now_us())
        accrued_us[turn] += refilled.level_micro
        bucket = replace(refilled, level_micro=0)
    assert max(accrued_us) <= len(turns) * step_us + SPARE_NS // 1_000


@given(rate=rates, jumps=st.lists(st.integers(-(10**11), -SET_BACK_US - 10_000) | st.integers(0, 10**11)))
def test_a_wall_clock_that_jumps_makes_up_no_time(rate: int, jumps: list[int]) -> None:
    """Where a bucket is dealt with again and again, only time that really passed adds to it, and goes on to."""
    clock = ManualClock(START_US + 1)
    replica = ElapsedTime(clock)
    bucket = replica.refilled(KEY, full(rate).settled(spent_units=rate, released_units=0), START_US + 1)
    begin, spare = bucket.level_micro, SPARE_NS // 1_000 * rate
    for step, jump_us in enumerate(jumps, 1):
        before = bucket.level_micro
        clock.advance(us=1_000)
        clock.jump(us=jump_us)
        bucket = replica.refilled(KEY, bucket, clock.now_us())
        assert before <= bucket.level_micro <= begin + spare + step * 1_000 * rate
    before = bucket.level_micro
    clock.advance(us=10_000_000)
    bucket = replica.refilled(KEY, bucket, clock.now_us())
    assert bucket.level_micro == min(bucket.brim_micro, before + 10_000_000 * rate)


@given(steps=st.lists(st.integers(1_000, 20_000), min_size=100, max_size=200), late=st.data())
def test_clocks_that_are_not_read_at_once_lose_no_time(steps: list[int], late: st.DataObject) -> None:
    """However often a pot is dealt with, and however late the second of the two clocks is read, it all accrues."""
    clock = ManualClock(START_US)
    replica = ElapsedTime(clock)
    pot = replica.refilled(KEY, RatePot(60_000, 60_000, 10**9, 0, START_US), START_US)
    for step_us in steps:
        late_us = late.draw(st.integers(0, 900))
        clock.advance(us=step_us - late_us)
        wall_us = clock.now_us()
        clock.advance(us=late_us)
        pot = replica.refilled(KEY, pot, wall_us)
    accrued_ms = pot.level_parts // 60_000
    assert accrued_ms == pot.updated_us // 1_000 - START_US // 1_000


@given(rate=rates, debt=st.integers(min_value=0, max_value=100_000_000))
def test_a_debt_costs_one_empty_minute_at_most(rate: int, debt: int) -> None:
    """Usage over the lease lowers the level, but a minute later something is available again."""
    bucket = full(rate).settled(spent_units=debt, released_units=0)
    assert bucket.available_units >= -rate
    assert bucket.refilled(START_US + 61_000_000 + 60_000_000 // rate).available_units > 0


@given(first=rates, second=rates)
def test_another_reservation_brings_its_own_minute(first: int, second: int) -> None:
    """What the first had used stays used; what the second brings can be had at once."""
    drained = full(first).lent(first).settled(spent_units=first, released_units=first)
    assert drained.rated(first + second, added_tokens=second).available_units == second


@given(first=rates, second=rates)
def test_a_lower_rate_lowers_the_brim(first: int, second: int) -> None:
    """When a reservation ends, what had gathered of it is gone."""
    low, high = sorted((first, second))
    assert full(high).rated(low).available_units == low
