"""Units that stay set aside although a booking frees them: after a crash the request's record would still use them.

What is on record of a running request may say more than its booking: an exact finish lowers counts, late kinds are
cheaper, a payer that came first covers more. Until the commit with the booking is durable, a crash books the request as
its record says, on the lease that it had; so what that could take must not be spent by anybody else.
"""

from typing import Final, NamedTuple

from metering_service.domain.pot import HeldUnits
from metering_service.domain.receipt import Used
from metering_service.domain.request import Request


class Kept(NamedTuple):
    """Units of each payer, and tokens, which the pots of limits keep as well."""

    payers: Used
    tokens: int = 0


NOTHING_KEPT: Final = Kept(Used(0, 0, 0, 0))


def kept_units(request: Request, held: HeldUnits, now_used: Used) -> Kept:
    """What to keep of each pot at a request's first booking, of what was held and is not used.

    Records lag behind, and holds only grow: so it is the most that the tokens which may be on record can take from each
    payer, whatever their kinds, and whatever the others gave. Nearly all requests end before anything of them is.
    """
    if request.place is None:
        return NOTHING_KEPT
    counts, (input_tokens, output_tokens) = request.counts, request.lowered_from
    input_tokens = max(input_tokens, counts.input_class)
    output_tokens = max(output_tokens, counts.output_class)
    reserved_input, reserved_output, trial, money_nanos = now_used
    payers = Used(
        max(0, min(input_tokens, held.reserved_input_tokens) - reserved_input),
        max(0, min(output_tokens, held.reserved_output_tokens) - reserved_output),
        max(0, min(input_tokens + output_tokens, held.trial_tokens) - trial),
        max(0, min(request.price.hold_nanos(input_tokens, output_tokens), held.money_nanos) - money_nanos),
    )
    tokens = min(input_tokens + output_tokens, held.input_tokens + held.output_ceiling_tokens) - counts.total
    kept = Kept(payers, max(0, tokens) if request.stamp.pots else 0)
    return kept if any(payers) or kept.tokens else NOTHING_KEPT
