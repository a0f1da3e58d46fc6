"""The denials that a node remembers, so that somebody can ask why a request was refused.

They are in memory alone, bounded for each service and in all: of a service the newest are kept, and where there are too
many in all, those of the service that was denied nothing for longest go first. What was dropped is told by its time.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from metering_service.domain.decision import Decision

OF_SERVICE_MAX: Final = 1_000
"""Maximum number of denials that are remembered of one service."""
IN_ALL_MAX: Final = 50_000
"""Maximum number of denials that are remembered."""


class Denial(NamedTuple):
    """An authorisation that was denied. `team` is the service's; `credential` is the API key's unique id, or empty."""

    service: str
    team: str
    credential: str
    at_us: int
    decision: Decision


class DenialLog:
    """Not thread-safe; all calls happen on the event loop."""

    def __init__(self, start_us: int, *, of_service_max: int = OF_SERVICE_MAX, in_all_max: int = IN_ALL_MAX) -> None:
        self._of_service_max = of_service_max
        self._in_all_max = in_all_max
        self._of_service: OrderedDict[str, deque[Denial]] = OrderedDict()
        self._count = 0
        self.known_since_us = start_us
        """What was denied at this time or before may have been dropped."""

    def note(self, denial: Denial) -> None:
        """Remember a denial."""
        kept = self._of_service.setdefault(denial.service, deque())
        self._of_service.move_to_end(denial.service)
        kept.append(denial)
        self._count += 1
        if len(kept) > self._of_service_max:
            self._drop(kept)
        while self._count > self._in_all_max:
            name, oldest = next(iter(self._of_service.items()))
            self._drop(oldest)
            if not oldest:
                del self._of_service[name]

    def find(self, service_prefix: str, request_id: str) -> Iterator[Denial]:
        """The denials of a request on all services whose names begin like this, those of one service in their order."""
        for name, kept in self._of_service.items():
            if name.startswith(service_prefix):
                yield from (denial for denial in kept if denial.decision.request_id == request_id)

    def _drop(self, kept: deque[Denial]) -> None:
        dropped = kept.popleft()
        self._count -= 1
        self.known_since_us = max(self.known_since_us, dropped.at_us)
