"""Merging, holding and splitting, for arbitrary reports, kinds and prices."""

from functools import reduce
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from metering_service.domain.counts import Counts, Tally, beyond, up_to
from metering_service.domain.funding import NOTHING, Offer, Offers, _by_one_payer, _Draw, extend, required_money
from metering_service.domain.payer_split import split
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.receipt import held_by, used
from metering_service.domain.request_parts import front_of

tokens = st.one_of(st.integers(0, 40), st.integers(0, 1_000_000_000))
few = st.integers(0, 40)
counts = st.builds(Counts, tokens, tokens, tokens, tokens, tokens)
few_counts = st.builds(Counts, few, few, few, few, few)
nanos_per_million = st.one_of(st.integers(0, 9_000_000), st.sampled_from([0, 333_333, 1_000_000, 10**12]))
prices = st.builds(Price, st.just(1), *[nanos_per_million] * 5)
said = st.builds(
    lambda counts, finish, estimated: Tally.of(counts, finish=finish, estimated=estimated),
    few_counts,
    st.booleans(),
    st.booleans(),
)
tallies = st.lists(said, min_size=1, max_size=3).map(lambda said: reduce(Tally.merge, said))
offers_of = st.one_of(st.just(NOTHING), st.builds(Offer, st.integers(0, 60), st.booleans()))
money_of = st.one_of(st.just(NOTHING), st.builds(Offer, st.integers(0, 400), st.booleans()))
all_offers = st.builds(Offers, offers_of, offers_of, offers_of, money_of)
steps = st.lists(st.tuples(few, few, all_offers), min_size=1, max_size=4)


@given(tallies, tallies, tallies)
def test_merging_is_a_maximum(one: Tally, two: Tally, three: Tally) -> None:
    """Commutative, associative, idempotent: repetition, reordering and replay change nothing."""
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one
    assert one.merge(two).merge(one) == one.merge(two)


@given(st.lists(said, max_size=6), st.randoms(use_true_random=False))
def test_the_greatest_rank_holds(reports: list[Tally], chance: Random) -> None:
    """Exact finishes alone, if there is one, else all that was said: of these, the greatest total of each class."""
    order = reports * 2
    chance.shuffle(order)
    merged = reduce(Tally.merge, order, Tally())
    ranked = [each for each in reports if each.exact] or reports
    assert merged.counts.input_class == max((each.counts.input_class for each in ranked), default=0)
    assert merged.counts.output_class == max((each.counts.output_class for each in ranked), default=0)
    assert merged.exact is any(each.exact for each in reports)


@given(tallies, tallies)
def test_a_record_ranks_as_what_was_recorded(one: Tally, two: Tally) -> None:
    """Counts and ranks are all of it: what is read back merges as if it had never been written."""
    assert Tally.from_ranks(one.counts, one.ranks) == one
    read, written = Tally.from_ranks(one.counts, one.ranks).merge(two), one.merge(two)
    assert read == written


@given(tallies, st.booleans())
def test_one_report_is_told_from_several(tally: Tally, finish: bool) -> None:
    """It is the one that says these counts, and is a finish or not, and an estimate or not."""
    one = Tally.of(tally.counts, finish=finish, estimated=tally.estimated)
    assert tally.is_of_one(finish=finish) is (tally == one)


@given(tallies, tallies, few, few)
def test_the_front_of_a_request_merges_as_the_whole(one: Tally, two: Tally, input_end: int, output_end: int) -> None:
    """How much of it a part before the last has does not depend on which part heard what."""
    of_both = front_of(one.merge(two), input_end, output_end)
    by_part = front_of(one, input_end, output_end).merge(front_of(two, input_end, output_end))
    for merged in (of_both, by_part):
        assert merged.counts.input_class <= input_end
        assert merged.counts.output_class <= output_end
    assert (of_both.input[:2], of_both.output[:2]) == (by_part.input[:2], by_part.output[:2])


unreserved = st.builds(Offers, st.just(NOTHING), st.just(NOTHING), offers_of, money_of)


@given(prices, st.lists(st.tuples(few, few, unreserved), min_size=1, max_size=4))
def test_one_payer_that_covers_all_gives_what_the_walk_finds(
    price: Price, steps: list[tuple[int, int, Offers]]
) -> None:
    """The short way and the long one set the same aside, from whatever was set aside before."""
    held = HeldUnits()
    for more_input, more_output, offers in steps:
        input_tokens, output_tokens = held.input_tokens + more_input, held.output_ceiling_tokens + more_output
        walk = _Draw(held, offers, price)
        if walk.cover_input(more_input, more_output):
            walk.cover_output(more_output)
        short = _by_one_payer(held, input_tokens, output_tokens, offers, price)
        assert short in (None, walk.held)
        assert short is None or walk.want is None
        held = walk.held


def covered(held: HeldUnits) -> int:
    return held.reserved_input_tokens + held.reserved_output_tokens + held.trial_tokens + held.billed_tokens


@given(prices, steps)
def test_an_extension_takes_what_is_offered_and_keeps_what_is_held(
    price: Price, steps: list[tuple[int, int, Offers]]
) -> None:
    """Never more than offered, never less than held, never more than wanted; tokens and payers always add up."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        before, extension = held, extend(held, input_tokens, output_tokens, offers, price)
        held = extension.held
        for name in ("reserved_input_tokens", "reserved_output_tokens", "trial_tokens", "billed_tokens", "money_nanos"):
            assert getattr(held, name) >= getattr(before, name)
        assert held.reserved_input_tokens - before.reserved_input_tokens <= offers.reserved_input.units
        assert held.reserved_output_tokens - before.reserved_output_tokens <= offers.reserved_output.units
        assert held.trial_tokens - before.trial_tokens <= offers.trial.units
        assert held.money_nanos - before.money_nanos <= offers.money.units
        assert before.input_tokens <= held.input_tokens <= max(before.input_tokens, input_tokens)
        ceiling = max(before.output_ceiling_tokens, output_tokens)
        assert before.output_ceiling_tokens <= held.output_ceiling_tokens <= ceiling
        assert held.input_tokens + held.output_ceiling_tokens == covered(held)
        complete = held.input_tokens >= input_tokens and held.output_ceiling_tokens >= output_tokens
        assert not (complete and extension.want is not None)
        assert offers.money.pays or held.billed_tokens == before.billed_tokens


@given(prices, steps)
def test_nobody_is_passed_over_who_may_have_more(price: Price, steps: list[tuple[int, int, Offers]]) -> None:
    """Where a later payer gives, each earlier one has given all it had; where nothing is asked for, all ran dry."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        before, extension = held, extend(held, input_tokens, output_tokens, offers, price)
        held = extension.held
        more_trial = held.trial_tokens - before.trial_tokens
        more_billed = held.billed_tokens - before.billed_tokens
        if more_billed:
            assert offers.trial.exhausted
            assert more_trial == offers.trial.units
        short = held.input_tokens < input_tokens or held.output_ceiling_tokens < output_tokens
        if short and extension.want is None:
            assert offers.money.exhausted


@given(prices, steps)
def test_an_extension_is_as_large_as_can_be(price: Price, steps: list[tuple[int, int, Offers]]) -> None:
    """Asked again with what is left of the same offers, it finds nothing more."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        before, held = held, extend(held, input_tokens, output_tokens, offers, price).held
        rest = Offers(
            offers.reserved_input._replace(
                units=offers.reserved_input.units - held.reserved_input_tokens + before.reserved_input_tokens
            ),
            offers.reserved_output._replace(
                units=offers.reserved_output.units - held.reserved_output_tokens + before.reserved_output_tokens
            ),
            offers.trial._replace(units=offers.trial.units - held.trial_tokens + before.trial_tokens),
            offers.money._replace(units=offers.money.units - held.money_nanos + before.money_nanos),
        )
        assert extend(held, input_tokens, output_tokens, rest, price).held == held


@given(prices, steps, st.lists(st.integers(0, 100), min_size=3, max_size=3), st.booleans())
def test_money_held_covers_any_counts_within_what_is_held(
    price: Price, steps: list[tuple[int, int, Offers]], cuts: list[int], debt_allowed: bool
) -> None:
    """Whatever the kinds turn out to be: no debt, nothing unfunded, no payer beyond its hold."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        held = extend(held, input_tokens, output_tokens, offers, price).held
    assert required_money(held, price) <= held.money_nanos
    final = Counts(
        held.input_tokens * cuts[0] // 100 * cuts[1] // 100,
        held.input_tokens * cuts[0] // 100 * (100 - cuts[1]) // 100,
        held.input_tokens * (100 - cuts[0]) // 100,
        held.output_ceiling_tokens * cuts[2] // 100,
        held.output_ceiling_tokens * (100 - cuts[2]) // 100,
    )
    receipt = split(final, held, price, debt_allowed=debt_allowed)
    assert receipt.debt_nanos == receipt.unfunded.total == 0
    assert receipt.cost_nanos <= held.money_nanos
    assert used(receipt).reserved_input <= held.reserved_input_tokens
    assert used(receipt).reserved_output <= held.reserved_output_tokens
    assert used(receipt).trial <= held.trial_tokens


@given(prices, steps, few_counts, st.booleans())
def test_a_split_conserves(
    price: Price, steps: list[tuple[int, int, Offers]], final: Counts, debt_allowed: bool
) -> None:
    """Kind by kind, whatever was held and whatever was used; no payer gives beyond its hold but by debt."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        held = extend(held, input_tokens, output_tokens, offers, price).held
    receipt = split(final, held, price, debt_allowed=debt_allowed)
    assert receipt.reserved + receipt.trial + receipt.billed + receipt.unfunded == final
    parts = (receipt.reserved, receipt.trial, receipt.billed, receipt.unfunded)
    for part in parts:
        assert min(part.input, part.cached_input, part.cache_write, part.output, part.reasoning) >= 0
    assert receipt.reserved.input_class <= held.reserved_input_tokens
    assert receipt.reserved.output_class <= held.reserved_output_tokens
    assert receipt.trial.total <= held.trial_tokens
    assert receipt.cost_nanos - receipt.debt_nanos <= held.money_nanos
    assert receipt.unfunded.total == 0 if debt_allowed else receipt.debt_nanos == 0


@given(prices, steps, few_counts)
def test_a_settled_request_settles_to_the_same(
    price: Price, steps: list[tuple[int, int, Offers]], final: Counts
) -> None:
    """A repeat of the final counts, split by what remained held, changes nothing."""
    held = HeldUnits()
    for input_tokens, output_tokens, offers in steps:
        held = extend(held, input_tokens, output_tokens, offers, price).held
    receipt = split(final, held, price, debt_allowed=False)
    assert split(final, held_by(receipt), price, debt_allowed=False) == receipt


@given(counts, tokens, tokens)
def test_predecessor_and_successor_share_without_gap_or_overlap(
    said: Counts, base_input: int, base_output: int
) -> None:
    """The front of each class and what lies beyond it are the whole."""
    front, rest = up_to(said, base_input, base_output), beyond(said, base_input, base_output)
    assert front + rest == said
    assert front.input_class == min(said.input_class, base_input)
    assert front.output_class == min(said.output_class, base_output)


@given(prices, counts, tokens)
def test_parts_of_a_cost_are_differences_of_one_floor(price: Price, said: Counts, more: int) -> None:
    """More tokens never cost less, and a hold of the same classes is never too small."""
    larger = said._replace(output=said.output + more)
    assert price.cost_nanos(said) <= price.cost_nanos(larger)
    assert price.cost_nanos(said) <= price.hold_nanos(said.input_class, said.output_class)
