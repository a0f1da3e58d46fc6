"""Why a request had to end: what its server was told while it ran, or with the last grant that it was given."""

from typing import NamedTuple

from metering_service.domain.decision import Reason


class Cut(NamedTuple):
    """An order to stop. It holds once the request's output class has come as far as `output_tokens`.

    A DENY holds at once. A final grant is an order to stop at its ceiling: what ends before that has ended by itself.
    """

    reason: Reason
    at_us: int
    """When it was told."""
    output_tokens: int = 0
    budget: str = ""
    """Name of the budget that refused, if one did."""
