"""The tokens with which a service goes on while this node is cut off from the control service.

New grants count at once; what requests turn out not to have used counts no more. So at any moment no
more than the bound is used, or may still be used, of all that was granted since the leases lapsed.
"""

from metering_service.domain.pot import HeldUnits
from metering_service.domain.request import Request


class OutageAllowance:
    """Of one service, in one outage."""

    __slots__ = ("_granted", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        """Granted since the leases lapsed, and used or still held."""
        self._granted: dict[Request, int] = {}

    def grant(self, request: Request, tokens: int) -> None:
        """A request holds this many tokens more."""
        self._granted[request] = self._granted.get(request, 0) + tokens
        self.tokens += tokens

    def book(self, request: Request, unused_tokens: int) -> None:
        """Take off the tokens that a booked request did not use, in reverse order of grant."""
        self.tokens -= min(self._granted.pop(request, 0), max(0, unused_tokens))


def tokens_of(held: HeldUnits) -> int:
    """The tokens of both classes that a request holds, of all payers."""
    return held.input_tokens + held.output_ceiling_tokens
