"""What the requests of a node hold, and what is kept of those that were booked just now."""

from metering_service.domain.budget import BudgetKind
from metering_service.domain.request import Request
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.state.service_state import KINDS, ServiceState


def unbooked(request: Request) -> dict[BudgetKind, int]:
    """What a request holds of each budget and has not booked."""
    held, booked = request.held, request.booked
    return {
        BudgetKind.RESERVATION_INPUT: held.reserved_input_tokens - booked.reserved_input,
        BudgetKind.RESERVATION_OUTPUT: held.reserved_output_tokens - booked.reserved_output,
        BudgetKind.TRIAL: held.trial_tokens - booked.trial,
        BudgetKind.MONEY: held.money_nanos - booked.money_nanos,
    }


def kept(buffer: WriteBuffer, service: ServiceState) -> dict[BudgetKind, int]:
    """What is kept of each budget until bookings of a service are durable."""
    waiting = [pending for pending in (buffer._pending, buffer._in_flight) if pending is not None]
    units = [units for pending in waiting for whose, units in pending.kept if whose is service]
    return {kind: sum(each[place] for each in units) for place, kind in enumerate(KINDS)}
