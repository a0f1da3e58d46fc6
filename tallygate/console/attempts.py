"""Sign-ins with issuers that people have begun: each in one browser, once, and not for long."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tallygate._sign_in_flow import Attempt
from tallygate.console.sessions import NS_PER_S
from tallygate.control.v1 import token_service_pb2 as pb

ATTEMPTS_MAX: Final = 1_000
"""Maximum number of sign-ins that people have begun; one more ends the oldest."""
ATTEMPT_S: Final = 10 * 60
"""Number of seconds that somebody has at the issuer's pages."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that somebody has begun in one browser."""

    attempt: Attempt
    issuer: pb.SignInIssuer
    mark: str
    back: str
    begun_ns: int


class Attempts:
    """Sign-ins that have been begun, by their states."""

    def __init__(self) -> None:
        self._by_state: OrderedDict[str, Pending] = OrderedDict()

    def keep(self, pending: Pending) -> None:
        """Remember one until the browser comes back."""
        self._by_state[pending.attempt.state] = pending
        while len(self._by_state) > ATTEMPTS_MAX:
            self._by_state.popitem(last=False)

    def take(self, state: str, now_ns: int) -> Pending | None:
        """The one of this state, once; None where there is none, or it began too long ago."""
        pending = self._by_state.pop(state, None)
        return pending if pending and now_ns < pending.begun_ns + ATTEMPT_S * NS_PER_S else None
