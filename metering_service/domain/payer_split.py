"""The split of a request's tokens among its payers, worked out from its final counts.

How much each payer gives was fixed when tokens were held. The kinds lie in one sequence: input, cached_input,
cache_write, output, reasoning. The reservation covers the front of each class, the trial the front of what is left,
money the rest; what nothing covers is debt or unfunded. So a cost does not depend on how often a request was reported.
"""

from collections.abc import Sequence

from metering_service.domain.counts import ZERO, Counts, take_front
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import TOKENS_PER_PRICE_UNIT, Price
from metering_service.domain.receipt import Receipt


def split(
    counts: Counts, held: HeldUnits, price: Price, *, debt_allowed: bool, overrun_tokens: int = 0, revision: int = 0
) -> Receipt:
    """Who paid for `counts`, given what was held for them. Overrun and revision are the caller's to know.

    What nothing covers is billed as debt where that is allowed, else unfunded. Without a price nothing is billed.
    """
    debt_allowed = debt_allowed and not price.is_absent
    if debt_allowed and not (held.trial_tokens or held.reserved_input_tokens or held.reserved_output_tokens):
        # The commonest receipt: nothing but money pays.
        cost_nanos = price.cost_nanos(counts)
        debt_nanos = max(0, cost_nanos - held.money_nanos)
        return Receipt(
            counts, ZERO, ZERO, counts, ZERO, overrun_tokens, cost_nanos, debt_nanos, price.version, revision
        )
    input_kinds = [counts.input, counts.cached_input, counts.cache_write]
    output_kinds = [counts.output, counts.reasoning]
    reserved = [
        *take_front(input_kinds, held.reserved_input_tokens),
        *take_front(output_kinds, held.reserved_output_tokens),
    ]
    rest = [*input_kinds, *output_kinds]
    trial = take_front(rest, held.trial_tokens)
    billed = take_front(rest, sum(rest)) if debt_allowed else _take_paid(rest, held, price)
    billed_counts = Counts(*billed)
    cost_nanos = price.cost_nanos(billed_counts)
    return Receipt(
        usage=counts,
        reserved=Counts(*reserved),
        trial=Counts(*trial),
        billed=billed_counts,
        unfunded=Counts(*rest),
        overrun_tokens=overrun_tokens,
        cost_nanos=cost_nanos,
        debt_nanos=max(0, cost_nanos - held.money_nanos),
        price_version=price.version,
        revision=revision,
    )


def _take_paid(kinds: list[int], held: HeldUnits, price: Price) -> Sequence[int]:
    """Take the front of a sequence of kinds as far as tokens and money were set aside for it.

    The money covers any counts within the hold; other counts may be dearer, and then it covers fewer tokens.
    """
    if price.is_absent:
        return [0] * len(kinds)
    tokens, parts = held.billed_tokens, held.money_nanos * TOKENS_PER_PRICE_UNIT + TOKENS_PER_PRICE_UNIT - 1
    taken = [0] * len(kinds)
    for index, each in enumerate(price.kinds):
        count = min(kinds[index], tokens)
        taken[index] = min(count, parts // each) if each else count
        kinds[index] -= taken[index]
        tokens -= taken[index]
        parts -= taken[index] * each
        if taken[index] < count:
            break
    return taken
