"""The cheapest reservation of a service: sizes are searched class by class, and the cost of the best is exact.

Reserved tokens are those that had accrued when a request came, as far as they go; all others are billed. So the figures
are those of a service without a trial whose node has all of the rate at hand. Both classes are priced, and so searched,
separately: what one covers changes nothing for the other but the last nano of a request's cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from control_service.domain.bucket import MICRO_PER_TOKEN
from control_service.domain.input_bounds import RATE_TOKENS_MAX
from control_service.domain.model import ReservationPrice
from control_service.domain.reservation import DAY_US, OverflowPolicy, ReservationTerms, charge_nanos
from metering_service.domain.counts import take_front
from metering_service.domain.payer_split import split
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import TOKENS_PER_PRICE_UNIT, Price
from tallygate.whatif.workload import Job

SIZE_STEP_TPM: Final = 100
"""Step of the sizes that are looked at, in tokens per minute."""
GRID: Final = 20
"""Number of sizes that are looked at together, before the search goes on around the best of them."""
MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The reservation with which all requests cost least, for as many days as they take; none where it is of 0."""

    input_tpm: int
    output_tpm: int
    days: int
    reservation_nanos: int
    overflow_nanos: int
    """Cost of the tokens beyond it."""
    without_nanos: int
    """Cost of all tokens without a reservation."""

    def as_json(self) -> dict[str, Any]:
        """One object for programs."""
        return asdict(self)


def cheapest(jobs: Sequence[Job], price: Price, sold: ReservationPrice) -> Cheapest:
    """The cheapest reservation for these requests, which are in order of time."""
    days = max(1, -(-(jobs[-1].offset_us + 1) // DAY_US)) if jobs else 1
    kinds = price.kinds
    inputs = [(job.offset_us, list(job.counts[:3])) for job in jobs]
    outputs = [(job.offset_us, list(job.counts[3:])) for job in jobs]

    def charge(input_tpm: int, output_tpm: int) -> int:
        terms = ReservationTerms(input_tpm, output_tpm, days, OverflowPolicy.BILL_BY_TOKEN)
        return charge_nanos(sold, terms)

    input_tpm = _best_size(inputs, kinds[:3], lambda tpm: charge(tpm, 0))
    output_tpm = _best_size(outputs, kinds[3:], lambda tpm: charge(0, tpm))
    overflow_nanos = sum(
        split(
            job.counts, HeldUnits(reserved_input_tokens=front, reserved_output_tokens=back), price, debt_allowed=True
        ).cost_nanos
        for job, front, back in zip(jobs, covered(inputs, input_tpm), covered(outputs, output_tpm), strict=True)
    )
    without_nanos = sum(price.cost_nanos(job.counts) for job in jobs)
    return Cheapest(input_tpm, output_tpm, days, charge(input_tpm, output_tpm), overflow_nanos, without_nanos)


def _best_size(
    class_of_jobs: Sequence[tuple[int, list[int]]], prices: Sequence[int], charge: Callable[[int], int]
) -> int:
    """The size of one class at which its price less what it saves is least."""
    seen: dict[int, int] = {}

    def cost(tpm: int) -> int:
        if tpm not in seen:
            seen[tpm] = charge(tpm) * TOKENS_PER_PRICE_UNIT - _saved(class_of_jobs, prices, tpm)
        return seen[tpm]

    most = min(_busiest_minute(class_of_jobs), RATE_TOKENS_MAX)
    low, high = 0, -(-most // SIZE_STEP_TPM) * SIZE_STEP_TPM
    while True:
        step = max(SIZE_STEP_TPM, -(-(high - low) // GRID // SIZE_STEP_TPM) * SIZE_STEP_TPM)
        best = min(range(low, high + 1, step), key=cost)
        if step == SIZE_STEP_TPM:
            return min((0, best), key=cost)
        low, high = max(low, best - step), min(high, best + step)


def _saved(class_of_jobs: Sequence[tuple[int, list[int]]], prices: Sequence[int], tpm: int) -> int:
    """What the tokens would have cost that a rate covers, times `TOKENS_PER_PRICE_UNIT`."""
    saved, first_price = 0, prices[0]
    for (_, kinds), tokens in zip(class_of_jobs, covered(class_of_jobs, tpm), strict=True):
        if tokens <= kinds[0]:
            saved += tokens * first_price
        else:
            saved += sum(count * each for count, each in zip(take_front(list(kinds), tokens), prices, strict=True))
    return saved


def covered(class_of_jobs: Sequence[tuple[int, list[int]]], tpm: int) -> Iterator[int]:
    """How many tokens of each request a rate covers, from a full minute on.

    What `Bucket` would have, in a tenth of its time, since a search asks for it a million times; a test holds the two
    together.
    """
    level_micro = brim_micro = tpm * MICRO_PER_TOKEN
    last_us = 0
    for offset_us, kinds in class_of_jobs:
        level_micro = min(brim_micro, level_micro + (offset_us - last_us) * tpm)
        last_us = offset_us
        tokens = min(sum(kinds), level_micro // MICRO_PER_TOKEN)
        level_micro -= tokens * MICRO_PER_TOKEN
        yield tokens


def _busiest_minute(class_of_jobs: Sequence[tuple[int, list[int]]]) -> int:
    """The most tokens that came within a minute: a rate of as many covers all."""
    most = within = first = 0
    for offset_us, kinds in class_of_jobs:
        within += sum(kinds)
        while class_of_jobs[first][0] < offset_us - MINUTE_US:
            within -= sum(class_of_jobs[first][1])
            first += 1
        most = max(most, within)
    return most
