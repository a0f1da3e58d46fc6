"""The search of the cheapest reservation: it covers what a bucket would, and finds what trying all sizes finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.bucket import Bucket
from control_service.domain.model import ReservationPrice
from metering_service.domain.counts import Counts
from metering_service.domain.price import Price
from tallygate.whatif import cheapest as room
from tallygate.whatif.cheapest import cheapest, covered
from tallygate.whatif.workload import SECOND_US, Job

PRICE = Price(1, 2_000_000_000, 500_000_000, 2_500_000_000, 6_000_000_000, 7_000_000_000)
ARRIVALS = st.lists(st.tuples(st.integers(0, 90_000_000), st.integers(0, 3_000)), max_size=30)


@given(ARRIVALS, st.integers(0, 2_000))
def test_a_rate_covers_what_a_bucket_would(arrivals: list[tuple[int, int]], tpm: int) -> None:
    """Request by request, the same tokens."""
    jobs, now_us = [], 0
    for passed_us, tokens in arrivals:
        now_us += passed_us
        jobs.append((now_us, [tokens]))
    bucket = Bucket.empty(0).rated(tpm, added_tokens=tpm)
    expected = []
    for at_us, (tokens,) in jobs:
        bucket = bucket.refilled(at_us)
        taken = min(tokens, bucket.grantable_units)
        bucket = bucket.settled(spent_units=taken, released_units=0)
        expected.append(taken)
    assert list(covered(jobs, tpm)) == expected


def test_the_best_size_is_found() -> None:
    """Of a steady load with a peak now and then the search finds the size that trying each one finds."""
    jobs = [Job(at * 10 * SECOND_US, "t", Counts(150, 50, 0, 20, 5)) for at in range(360)]
    jobs += [Job(at * 600 * SECOND_US + 1, "t", Counts(9_000, output=2_000)) for at in range(6)]
    jobs.sort()
    sold = ReservationPrice(20_000_000, 90_000_000)
    found = cheapest(jobs, PRICE, sold)
    inputs = [(job.offset_us, list(job.counts[:3])) for job in jobs]

    def cost(tpm: int) -> int:
        return tpm * 20_000_000 // 1_000 * 1_000_000 - room._saved(inputs, PRICE.kinds[:3], tpm)

    assert found.input_tpm == min(range(0, 20_001, 100), key=cost) > 0
    assert found.output_tpm > 0
    assert found.days == 1
    assert found.reservation_nanos == (found.input_tpm * 20_000_000 + found.output_tpm * 90_000_000) // 1_000
    assert found.without_nanos == sum(PRICE.cost_nanos(job.counts) for job in jobs)
    assert found.reservation_nanos + found.overflow_nanos < found.without_nanos


def test_none_is_found_where_tokens_are_cheaper() -> None:
    """Then all is billed; also where there are no requests at all."""
    jobs = [Job(0, "t", Counts(100, output=10)), Job(3 * 86_400 * SECOND_US, "t", Counts(100, output=10))]
    found = cheapest(jobs, PRICE, ReservationPrice(10**12, 10**12))
    assert (found.input_tpm, found.output_tpm, found.reservation_nanos, found.days) == (0, 0, 0, 4)
    assert found.overflow_nanos == found.without_nanos == 2 * (100 * 2_000 + 10 * 6_000)
    assert cheapest([], PRICE, ReservationPrice(1, 1)).days == 1
