"""What is kept at a booking covers whatever a record from before it would use."""

from hypothesis import given
from hypothesis import strategies as st

from metering_service.domain.booking import book
from metering_service.domain.counts import Counts, Tally
from metering_service.domain.funding import Offer, Offers, extend
from metering_service.domain.payer_split import split
from metering_service.domain.price import Price
from metering_service.domain.receipt import used
from metering_service.domain.request import Request
from metering_service.domain.running_counts import RunningCounts
from metering_service.domain.stamp import Stamp

COUNTS = st.builds(Counts, *[st.integers(0, 40)] * 5)
OFFER = st.builds(Offer, st.integers(0, 60), st.just(True))
OFFERS = st.builds(Offers, OFFER, OFFER, OFFER, OFFER)
PRICE = st.builds(Price, st.integers(0, 1), *[st.integers(0, 3_000_000)] * 5)
STEPS = st.lists(st.tuples(COUNTS, st.booleans(), OFFERS), min_size=1, max_size=5)


@given(STEPS, COUNTS, PRICE, st.booleans(), st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_what_is_kept_covers_every_record_from_before(
    steps: list[tuple[Counts, bool, Offers]],
    last: Counts,
    price: Price,
    debt_allowed: bool,
    base: tuple[int, int],
) -> None:
    """However counts and holds changed while it ran, and also where a part begins further on in the end."""
    request = Request(
        "r1", "a.1.1", service="", service_uid="", price=price, debt_allowed=debt_allowed, start_us=0, stamp=Stamp()
    )
    request.run_in(running := RunningCounts())
    running.recorded_whole(request.slot, 1)
    records = []
    for counts, is_exact, offers in steps:
        request.learn(Tally.of(counts, finish=is_exact))
        records.append((request.counts, request.held))
        request.held = extend(request.held, counts.input_class, counts.output_class, offers, price).held
        records.append((request.counts, request.held))
    request._note_lowered()
    request.base_input_tokens, request.base_output_tokens = base
    request.learn(Tally.of(last, finish=True))
    booking = book(request, 1)
    assert all(units >= 0 for units in booking.kept.payers)
    for counts, held in records:
        receipt = split(counts, held, price, debt_allowed=debt_allowed)
        # What became debt was on no lease.
        money_nanos = receipt.cost_nanos - receipt.debt_nanos
        would_use = used(receipt)._replace(money_nanos=money_nanos)
        has = [now + kept for now, kept in zip(booking.used, booking.kept.payers, strict=True)]
        assert all(units <= there for units, there in zip(would_use, has, strict=True)), (would_use, has)
        assert all(
            there <= max(was, now) for there, was, now in zip(has, booking.held.by_kind, booking.used, strict=True)
        )
