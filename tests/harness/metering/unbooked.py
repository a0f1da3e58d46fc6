"""What the requests of a node hold."""

from metering_service.domain.budget import BudgetKind
from metering_service.domain.request import Request


def unbooked(request: Request) -> dict[BudgetKind, int]:
    """What a request holds of each budget and has not booked."""
    held, booked = request.held, request.booked
    return {
        BudgetKind.RESERVATION_INPUT: held.reserved_input_tokens - booked.reserved_input,
        BudgetKind.RESERVATION_OUTPUT: held.reserved_output_tokens - booked.reserved_output,
        BudgetKind.TRIAL: held.trial_tokens - booked.trial,
        BudgetKind.MONEY: held.money_nanos - booked.money_nanos,
    }
