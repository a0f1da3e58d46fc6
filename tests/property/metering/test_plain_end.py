"""An end that nothing is special about comes to what any other booking would have."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from metering_service.domain.booking import book
from metering_service.domain.counts import ZERO, Counts, Tally
from metering_service.domain.plain_end import end_plainly, kept_nanos, plain_receipt
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.price import NO_PRICE, Price
from metering_service.domain.records import RequestState
from metering_service.domain.request import Request
from metering_service.domain.running_counts import LINE, TOTAL, RunningCounts
from metering_service.domain.stamp import shared_stamp

PRICE = Price(3, input=1_300_000, cached_input=400_000, output=5_700_000, reasoning=2_000_000)
FREE = Price(4)
POT = LimitPotKey(PotKind.BUDGET_TOKENS, "limit")
TALLIES = st.builds(
    Tally.of,
    st.builds(Counts, st.integers(0, 25), st.integers(0, 9), st.just(0), st.integers(0, 20), st.integers(0, 20)),
    finish=st.sampled_from([False, False, True]),
    estimated=st.booleans(),
)
MORE = st.builds(
    Counts, st.integers(0, 30), st.integers(0, 9), st.integers(0, 10), st.integers(0, 30), st.integers(0, 30)
)
USUAL: dict[str, Any] = {}
UNUSUAL: list[dict[str, Any]] = [
    {"price": FREE},
    {"price": NO_PRICE},
    {"debt_allowed": False},
    {"pots": (POT,)},
    {"authorised": False},
    {"granted_output_tokens": 30},
    {"lowered_from": (20, 40)},
]


@st.composite
def holds(draw: st.DrawFn) -> HeldUnits:
    """Mostly of one payer with enough, as holds are."""
    tokens, output = draw(st.integers(60, 150)), draw(st.integers(60, 150))
    everything = tokens + output
    nanos = (tokens * PRICE.dearest_input + output * PRICE.dearest_output) // 1_000_000
    alone = [
        HeldUnits(tokens, output, 0, 0, 0, everything, nanos),
        HeldUnits(tokens, output, 0, 0, 0, everything, 0),
        HeldUnits(tokens, output, 0, 0, everything, 0, 0),
    ]
    mixed = st.builds(HeldUnits, *map(st.integers, [0] * 7, [tokens, output, 30, 30, everything, everything, nanos]))
    held: HeldUnits = draw(st.one_of(*map(st.just, alone), st.just(alone[0]), mixed))
    return held


def running(
    held: HeldUnits, said: Sequence[Tally], progress: int, more: dict[str, Any], *, is_recorded: bool
) -> Request:
    """A request that has come so far."""
    stamp = shared_stamp("", "", "", 0, more.get("pots", ()))
    terms = {"price": more.get("price", PRICE), "debt_allowed": more.get("debt_allowed", True)}
    request = Request("r1", "a.1.1", service="accounts/a/services/s", service_uid="s", start_us=0, stamp=stamp, **terms)
    request.authorised = True
    request.held = held
    arrays = RunningCounts()
    request.run_in(arrays)
    for tally in said:
        request.learn(tally)
    arrays.lines[request.slot * LINE + TOTAL] += progress  # As the fast road counts it.
    if is_recorded:
        arrays.recorded_whole(request.slot, 1)
    for name in ("authorised", "granted_output_tokens", "lowered_from"):
        setattr(request, name, more.get(name, getattr(request, name)))
    return request


@settings(max_examples=400)
@given(
    held=holds(),
    said=st.lists(TALLIES, max_size=2),
    progress=st.sampled_from([0, 0, 1, 40]),
    more=st.sampled_from([USUAL] * 12 + UNUSUAL),
    is_recorded=st.booleans(),
    growth=MORE,
    fall=st.sampled_from([ZERO, ZERO, ZERO, Counts(1), Counts(30), Counts(0, 0, 0, 9, 30)]),
)
def test_it_is_booked_as_any_other(
    *,
    held: HeldUnits,
    said: list[Tally],
    progress: int,
    more: dict[str, Any],
    is_recorded: bool,
    growth: Counts,
    fall: Counts,
) -> None:
    """Receipt, hold, what is taken of each payer and kept of it, and the counts as they rank; if it is plain at all."""
    request, other = (running(held, said, progress, more, is_recorded=is_recorded) for _ in range(2))
    counts = other.tally.counts + growth - fall
    receipt = plain_receipt(request, counts)
    if receipt is None:
        event("not plain")
        return
    event(f"recorded {is_recorded}, trial {held.trial_tokens > 0}, said {len(said)}")
    assert min(counts) >= 0
    assert other.authorised
    kept = kept_nanos(request, receipt)
    end_plainly(request, receipt, 5)
    other.learn(Tally.of(counts, finish=True))
    other.state = RequestState.FINISHED
    booking = book(other, 5)
    assert (0, 0, 0, kept, 0) == (*booking.kept.payers, booking.kept.tokens)
    ends = [
        (each.tally, each.receipt, each.held, each.booked, each.booked_us, each.state, each.lowered_from)
        for each in (request, other)
    ]
    assert ends[0] == ends[1]


FINISH = Counts(20, 5, 0, 30, 10)
ENOUGH = HeldUnits(40, 60, 0, 0, 0, 100, 1_000)
NOT_PLAIN: dict[str, tuple[HeldUnits, list[Tally], int, dict[str, Any]]] = {
    "more input than was held": (ENOUGH._replace(input_tokens=24), [], 0, USUAL),
    "more output than was granted": (ENOUGH._replace(output_ceiling_tokens=39), [], 0, USUAL),
    "dearer than what was held": (ENOUGH._replace(money_nanos=200), [], 0, USUAL),
    "a reservation pays, too": (ENOUGH._replace(reserved_output_tokens=1), [], 0, USUAL),
    "a trial and money pay": (ENOUGH._replace(trial_tokens=90), [], 0, USUAL),
    "a trial pays for a part": (ENOUGH._replace(trial_tokens=64, money_nanos=0), [], 0, USUAL),
    "there is no price": (ENOUGH, [], 0, {"price": NO_PRICE}),
    "money must not go below zero": (ENOUGH, [], 0, {"debt_allowed": False}),
    "a budget is charged": (ENOUGH, [], 0, {"pots": (POT,)}),
    "nobody authorised it": (ENOUGH, [], 0, {"authorised": False}),
    "payers were looked for beyond its grant": (ENOUGH, [], 0, {"granted_output_tokens": 60}),
    "more was said, and less since": (ENOUGH, [], 0, {"lowered_from": (0, 50)}),
    "more input was said": (ENOUGH, [Tally.of(Counts(26), finish=False)], 0, USUAL),
    "more output was said in columns": (ENOUGH, [], 41, USUAL),
    "another finish waits": (ENOUGH, [Tally.of(Counts(20, 5, 0, 20, 20), finish=True)], 0, USUAL),
}


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_what_is_special_is_left_to_the_long_way(what: str) -> None:
    """Each of these alone; without any of them it is plain."""
    held, said, progress, more = NOT_PLAIN[what]
    assert plain_receipt(running(ENOUGH, [], 0, USUAL, is_recorded=True), FINISH) is not None
    assert plain_receipt(running(held, said, progress, more, is_recorded=True), FINISH) is None


def test_a_count_below_zero_is_left_to_the_long_way() -> None:
    """There it is refused."""
    assert plain_receipt(running(ENOUGH, [], 0, USUAL, is_recorded=True), Counts(-1, 9, 0, 5)) is None
