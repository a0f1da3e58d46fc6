"""Rests of receivers: one that fails is left alone for a while, so that it does not take up the sender's time."""

from typing import Final

from tallygate._server.clock import Clock

FIRST_REST_NS: Final = 1_000_000_000
"""Time for which a receiver is left alone after its first failure."""
REST_NS_MAX: Final = 60_000_000_000
"""Maximum time for which a receiver is left alone; each failure in a row doubles it."""
KEPT_MAX: Final = 10_000
"""Maximum number of receivers whose failures are remembered."""


class ReceiverRest:
    """Which receivers rest, by the uids of webhooks. A process that ends forgets it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests: dict[str, tuple[int, int]] = {}
        """The end of each rest, and its length."""

    def begin(self, uid: str) -> None:
        """The receiver has failed once more."""
        _, length_ns = self._rests.pop(uid, (0, 0))
        length_ns = min(length_ns * 2 or FIRST_REST_NS, REST_NS_MAX)
        self._rests[uid] = (self._clock.monotonic_ns() + length_ns, length_ns)
        if len(self._rests) > KEPT_MAX:
            del self._rests[next(iter(self._rests))]

    def end(self, uid: str) -> None:
        """The receiver has answered."""
        self._rests.pop(uid, None)

    def resting(self) -> set[str]:
        """Those that are left alone now."""
        now_ns = self._clock.monotonic_ns()
        return {uid for uid, (end_ns, _) in self._rests.items() if now_ns < end_ns}
