"""What the requests of a node hold, and what is kept of those that were booked just now."""

from metering_service.domain.pot import PAYERS, PotKind
from metering_service.domain.request import Request
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.state.service_state import ServiceState


def unbooked(request: Request) -> dict[PotKind, int]:
    """What a request holds of each pot and has not booked."""
    held, booked = request.held, request.booked
    return {
        PotKind.RESERVATION_INPUT: held.reserved_input_tokens - booked.reserved_input,
        PotKind.RESERVATION_OUTPUT: held.reserved_output_tokens - booked.reserved_output,
        PotKind.TRIAL: held.trial_tokens - booked.trial,
        PotKind.MONEY: held.money_nanos - booked.money_nanos,
    }


def kept(buffer: WriteBuffer, service: ServiceState) -> dict[PotKind, int]:
    """What is kept of each pot until bookings of a service are durable."""
    waiting = [pending for pending in (buffer._pending, buffer._in_flight) if pending is not None]
    units = [units.payers for pending in waiting for whose, _, units in pending.kept if whose is service]
    return {kind: sum(each[place] for each in units) for place, kind in enumerate(PAYERS)}
