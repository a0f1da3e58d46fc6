"""Elapsed time since a moment that some replica's wall clock stored, as this process measures it.

Wall clocks jump, and those of two replicas differ. So the age of a stored moment counts from when this process read it
first, on its monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from control_service.domain.bucket import FULL_AFTER_US, Bucket
from control_service.domain.lease import Lease
from control_service.domain.pot import PotKey
from control_service.domain.rate_pot import RatePot
from tallygate._server.clock import NS_PER_US, Clock

RECALL_TIMEOUT_NS: Final = 200_000_000
"""Timeout of a recall: after it, requests no longer wait for the recalled units."""

FORGOTTEN_AFTER_NS: Final = FULL_AFTER_US * NS_PER_US
"""Time after its last query at which a recall is forgotten; a pot that refills, once it is full again."""

LEFT_ALONE_NS: Final = 60_000_000_000
"""Time for which a node that states nothing of a pot counts as one of its nodes: by then it closes an idle lease."""

NODES_FORGOTTEN_EVERY_NS: Final = 5_000_000_000
"""Interval at which such nodes are looked for: there may be many pots."""

SPARE_NS: Final = 100_000_000
"""Most time that was measured, that no wall clock has counted, and that may yet accrue."""

_Refilling = TypeVar("_Refilling", Bucket, RatePot)


@dataclass(slots=True)
class _FirstSeen:
    """A stored moment: stored after `since_ns` or read first then, and queried last at `queried_ns`.

    `counted_ns` is how much of the time since has accrued by that query.
    """

    stored_us: int
    since_ns: int
    queried_ns: int
    kept_ns: int = FORGOTTEN_AFTER_NS
    counted_ns: int = 0

    @property
    def counted_until_ns(self) -> int:
        """The end of the measured time that has accrued, once another moment is stored.

        Of a step that took longer by the monotonic clock than by the wall clock, the rest is kept for the next, which
        may be the other way round: both clocks are read, but not at once. Were it dropped, pots would accrue the less
        the more often they are dealt with.
        """
        return max(self.since_ns + self.counted_ns, self.queried_ns - SPARE_NS)


class ElapsedTime:
    """The ages of recalls, of pots that refill, and of nodes' statements on pots; one object for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recalls: dict[str, _FirstSeen] = {}
        self._buckets: dict[PotKey, _FirstSeen] = {}
        self._stated: dict[PotKey, dict[str, int]] = {}
        self._nodes_forgotten_ns = 0

    def refilled(self, key: PotKey, bucket: _Refilling, now_us: int) -> _Refilling:
        """A stored pot that refills, with what has accrued until now.

        The wall clocks decide how much, but in all not more than this process has measured since it first read the
        pot, and `SPARE_NS`. So a clock that jumps or runs ahead fills a pot at most once.
        """
        now_ns, kept_ns = self._clock.monotonic_ns(), bucket.full_after_us * NS_PER_US
        seen = self._buckets.get(key)
        if seen is None or seen.stored_us != bucket.updated_us:
            since_ns = now_ns - kept_ns if seen is None else seen.counted_until_ns
            seen = self._buckets[key] = _FirstSeen(bucket.updated_us, since_ns, now_ns)
        told_ns, measured_ns = max(0, now_us - bucket.updated_us) * NS_PER_US, now_ns - seen.since_ns
        seen.queried_ns, seen.kept_ns, seen.counted_ns = now_ns, kept_ns, min(told_ns, measured_ns)
        return bucket.refilled(now_us, measured_ns // NS_PER_US)

    def note_recall(self, lease_id: str, requested_us: int) -> None:
        """Notes that a recall was requested, or sent to its node; its age counts from the first of the two."""
        now_ns = self._clock.monotonic_ns()
        seen = self._recalls.get(lease_id)
        if seen is None or seen.stored_us != requested_us:
            seen = self._recalls[lease_id] = _FirstSeen(requested_us, now_ns, now_ns)
        seen.queried_ns = now_ns

    def awaits_return(self, lease: Lease) -> bool:
        """Whether a lease was recalled less than `RECALL_TIMEOUT_NS` ago, so that its node may still return units."""
        if lease.recall_requested_us is None:
            return False
        self.note_recall(lease.lease_id, lease.recall_requested_us)
        return self._clock.monotonic_ns() - self._recalls[lease.lease_id].since_ns < RECALL_TIMEOUT_NS

    def is_recallable(self, lease: Lease) -> bool:
        """Whether a lease's free units may come back soon: it was not recalled yet, or its return is awaited."""
        return lease.free_units > 0 and (lease.recall_requested_us is None or self.awaits_return(lease))

    def count_nodes(self, pot: PotKey, node: str) -> int:
        """Number of nodes with a lease on a pot, this one included, as far as this process has heard of late.

        What other replicas are told is not known here: then shares are larger, and recalls do the rest.
        """
        stated = self._stated.setdefault(pot, {})
        stated[node] = self._clock.monotonic_ns()
        return len(stated)

    def forget(self) -> None:
        """Forgets what was not queried for as long as it is kept."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._nodes_forgotten_ns >= NODES_FORGOTTEN_EVERY_NS:
            self._nodes_forgotten_ns = now_ns
            self._forget_nodes(now_ns - LEFT_ALONE_NS)
        self._recalls = {key: seen for key, seen in self._recalls.items() if seen.queried_ns > now_ns - seen.kept_ns}
        self._buckets = {key: seen for key, seen in self._buckets.items() if seen.queried_ns > now_ns - seen.kept_ns}

    def _forget_nodes(self, since_ns: int) -> None:
        for pot, stated in list(self._stated.items()):
            for node in [node for node, at_ns in stated.items() if at_ns <= since_ns]:
                del stated[node]
            if not stated:
                del self._stated[pot]
