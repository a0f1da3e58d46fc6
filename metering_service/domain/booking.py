"""Booking: how a part of a request is paid for at its end, and again when larger counts come late.

Each part is booked once by the node that granted it, on the leases that it holds. What was booked stays booked: leases
only count up, so counts that shrink later change the record and no pot.
"""

from typing import NamedTuple

from metering_service.domain.counts import at_least
from metering_service.domain.kept_units import NOTHING_KEPT, Kept, kept_units
from metering_service.domain.overrun import overrun
from metering_service.domain.payer_split import split
from metering_service.domain.pot import HeldUnits
from metering_service.domain.receipt import Receipt, Used, held_by, used
from metering_service.domain.request import Request


class Booking(NamedTuple):
    """What one booking changed.

    Attributes:
        before: The receipt that was booked before; revision 0 where there was none.
        receipt: The receipt that holds from now on.
        held: What was set aside until now.
        used_before: Units that were booked before, of each pot.
        used: Units that are booked from now on, of each pot.
        kept: Units that stay set aside until the booking is durable, of each pot.
    """

    before: Receipt
    receipt: Receipt
    held: HeldUnits
    used_before: Used
    used: Used
    kept: Kept = NOTHING_KEPT

    @property
    def is_first(self) -> bool:
        """Whether nothing of the part was booked before."""
        return not self.before.revision

    @property
    def moves_tokens(self) -> bool:
        """Whether the totals change: not where a revision corrects only the counts of the record."""
        return self.is_first or self.receipt._replace(revision=self.before.revision) != self.before


def book(request: Request, now_us: int) -> Booking:
    """Book a part at its counts as they are now; where it was booked before, what it has more.

    Args:
        request: The part. Its state is the caller's to set.
        now_us: The time of the booking, in microseconds since 1970.
    """
    before, held, used_before, receipt = request.receipt, request.held, request.booked, next_receipt(request)
    request.receipt = receipt
    request.held = held_by(receipt)
    request.booked = now_used = used(receipt)
    kept = kept_units(request, held, now_used) if request.booked_us is None else NOTHING_KEPT
    request.booked_us = now_us
    request.is_corrected = False
    return Booking(before, receipt, held, used_before, now_used, kept)


def next_receipt(request: Request) -> Receipt:
    """The receipt of a part at its counts as they are now; where it was booked before, the next revision.

    Output above the ceiling of the first booking is overrun, and so is all that is reported after it.
    """
    before, counts, held = request.receipt, request.counts, request.held
    is_first = request.booked_us is None
    if is_first:
        granted = request.granted_output_tokens
        overrun_tokens = overrun(counts, held, held.output_ceiling_tokens if granted is None else granted)
    else:
        if not request.has_unbooked:
            return before._replace(revision=before.revision + 1)
        counts = at_least(counts, before.usage)
        overrun_tokens = before.overrun_tokens + counts.total - before.usage.total
    receipt = split(
        counts,
        held,
        request.price,
        debt_allowed=request.debt_allowed,
        overrun_tokens=overrun_tokens,
        revision=before.revision + 1,
    )
    if is_first:
        return receipt
    return receipt._replace(
        # Money that was booked is not taken back by a late report: AdjustAccount is for that.
        cost_nanos=max(receipt.cost_nanos, before.cost_nanos),
        debt_nanos=receipt.debt_nanos + before.debt_nanos,
    )
