"""What requests hold and book on the pots of limits that they are charged to.

A part holds input and output ceiling on every pot of tokens, and its money on every pot of money. It books all tokens
and all cost there, whoever paid: what it has beyond its hold is a debt of the lease.
"""

from metering_service.domain.booking import Booking
from metering_service.domain.kept_units import Kept
from metering_service.domain.lease import Lease
from metering_service.domain.outage import tokens_of
from metering_service.domain.pot import HeldUnits
from metering_service.domain.request import Request
from metering_service.usecases.state.lease_holder import LeaseIndex
from metering_service.usecases.state.pot_state import pots_of, units_of


def hold(index: LeaseIndex, request: Request, held: HeldUnits, now_ns: int) -> None:
    """Set aside what a request's new hold has more than its old one."""
    old = request.held
    tokens, money_nanos = tokens_of(held) - tokens_of(old), held.money_nanos - old.money_nanos
    for pot in pots_of(index, request.service, request.stamp.pots):
        units = units_of(pot.key.kind, tokens, money_nanos)
        if units:
            pot.mine.hold(units, now_ns)


def book(index: LeaseIndex, request: Request, booking: Booking) -> None:
    """Turn what was held into what was used; the rest is free again at once."""
    before, receipt = booking.before, booking.receipt
    held_tokens = tokens_of(booking.held) - (before.usage.total - before.unfunded.total)
    held_nanos = booking.held.money_nanos - booking.used_before.money_nanos
    tokens = receipt.usage.total - before.usage.total
    money_nanos = booking.used.money_nanos - booking.used_before.money_nanos
    for pot in pots_of(index, request.service, request.stamp.pots):
        kind = pot.key.kind
        held_units, used_units = units_of(kind, held_tokens, held_nanos), units_of(kind, tokens, money_nanos)
        if held_units or used_units:
            pot.mine.book(held_units, used_units)


def keep(index: LeaseIndex, request: Request, kept: Kept, *, sign: int) -> None:
    """Set aside what stays so until the booking is durable; with a negative sign it is free then."""
    for pot in pots_of(index, request.service, request.stamp.pots):
        units = units_of(pot.key.kind, kept.tokens, kept.payers.money_nanos)
        if units:
            pot.mine.book(-sign * units, 0)


def leases_of(index: LeaseIndex, request: Request) -> list[Lease]:
    """The leases on the pots that a request is charged to, as far as there are any."""
    pots = pots_of(index, request.service, request.stamp.pots)
    return [lease for pot in pots for lease in pot.leases.values()]
