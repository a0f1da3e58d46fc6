"""The end of a request that nothing is special about: one payer has set aside enough, and an exact finish says all.

Nearly all requests end so. What is booked is what `booking.book` would have, in a fifth of the steps; a test holds the
two together.
"""

from typing import Final

from metering_service.domain.counts import ZERO, Counts, Tally
from metering_service.domain.pot import HeldUnits
from metering_service.domain.receipt import Receipt, Used
from metering_service.domain.records import RequestState
from metering_service.domain.report import TOKENS_MAX
from metering_service.domain.request import NOTHING_LOWERED, Request
from metering_service.domain.running_counts import INPUT, LINE, TOTAL

FIRST_REVISION: Final = 1


def plain_receipt(request: Request, counts: Counts) -> Receipt | None:
    """The receipt for an exact finish with these counts; None where it takes more to tell."""
    new, cached, written, output, reasoning = counts
    input_tokens, output_tokens = new + cached + written, output + reasoning
    held_input, ceiling, reserved_input, reserved_output, trial_tokens, _, held_nanos = request.held
    if input_tokens > held_input or output_tokens > ceiling or max(input_tokens, output_tokens) > TOKENS_MAX:
        return None
    if min(counts) < 0 or reserved_input or reserved_output or not _is_plain(request, input_tokens, output_tokens):
        return None
    price = request.price
    if trial_tokens:
        is_covered = not held_nanos and input_tokens + output_tokens <= trial_tokens
        receipt = Receipt(counts, ZERO, counts, ZERO, ZERO, 0, 0, 0, price.version, FIRST_REVISION)
    else:
        cost_nanos = price.cost_nanos(counts)
        is_covered = request.debt_allowed and not price.is_absent and cost_nanos <= held_nanos
        receipt = Receipt(counts, ZERO, ZERO, counts, ZERO, 0, cost_nanos, 0, price.version, FIRST_REVISION)
    return receipt if is_covered else None


def _is_plain(request: Request, input_tokens: int, output_tokens: int) -> bool:
    """Whether it runs, was authorised here, is charged to no limit, and has said and been granted no more than this."""
    running, known, at = request.running, request.said, request.slot * LINE
    if running is None or not request.authorised or request.rules is not None or request.stamp.pots:
        return False
    if request.predecessor_part is not None or request.earlier or request.granted_output_tokens is not None:
        return False
    if request.lowered_from != NOTHING_LOWERED or known.exact:
        return False
    lines = running.lines
    return lines[at + TOTAL] <= output_tokens and sum(lines[at + INPUT : at + INPUT + 3]) <= input_tokens


def kept_nanos(request: Request, receipt: Receipt) -> int:
    """The money to keep until its booking is durable, of what was held: see `kept_units`."""
    usage, held_nanos = receipt.usage, request.held.money_nanos
    if not held_nanos or request.place is None:
        return 0
    most_nanos = request.price.hold_nanos(usage.input_class, usage.output_class)
    return max(0, min(most_nanos, held_nanos) - receipt.cost_nanos)


def end_plainly(request: Request, receipt: Receipt, now_us: int) -> None:
    """It is booked so, at this time, in microseconds since 1970."""
    usage, trial_tokens, cost_nanos = receipt.usage, receipt.trial.total, receipt.cost_nanos
    input_tokens, output_tokens = usage.input_class, usage.output_class
    request.said = Tally.of(usage, finish=True)
    request.state = RequestState.FINISHED
    request.receipt = receipt
    request.held = HeldUnits(
        input_tokens, output_tokens, 0, 0, trial_tokens, input_tokens + output_tokens - trial_tokens, cost_nanos
    )
    request.booked = Used(0, 0, trial_tokens, cost_nanos)
    request.booked_us = now_us
