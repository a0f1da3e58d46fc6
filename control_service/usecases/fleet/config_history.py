"""The history of configuration versions, by which a node that lags behind is noticed."""

from collections import deque
from typing import Final

from control_service.domain.node import STALE_US

_STALE_NS: Final = STALE_US * 1_000


class ConfigHistory:
    """Versions with the monotonic times at which this process observed them first; only the needed ones are kept."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def observe(self, version: int, monotonic_ns: int) -> None:
        """Notes that this version is current at this time."""
        if not self._seen or version > self._seen[-1][1]:
            self._seen.append((monotonic_ns, version))
        while len(self._seen) > 1 and self._seen[1][0] <= monotonic_ns - _STALE_NS:
            self._seen.popleft()

    def expected(self, monotonic_ns: int) -> int:
        """The version that every node should have acknowledged by now; 0 if this process is younger than `STALE_US`."""
        version = 0
        for seen_ns, seen in self._seen:
            if seen_ns > monotonic_ns - _STALE_NS:
                break
            version = seen
        return version
