"""Time as this process measures it, where what is stored was written by some replica's wall clock.

Wall clocks jump, and those of two replicas differ. How long something has been stored is told by when this process saw
it first, on its monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from control_service.domain.bucket import FULL_AFTER_US, Bucket
from control_service.domain.budget import BudgetKey
from control_service.domain.lease import Lease
from tallygate._server.clock import NS_PER_US, Clock

RECALL_TIMEOUT_NS = 200_000_000
"""A node that has not answered a recall for so long will not be waited for."""

FORGOTTEN_AFTER_NS = FULL_AFTER_US * NS_PER_US
"""What nobody asked about for so long is as good as new."""


@dataclass(slots=True)
class _FirstSeen:
    """A stored moment; it was not stored yet at `since_ns`, or was seen first then; and when it was looked at last."""

    stored_us: int
    since_ns: int
    queried_ns: int


class ElapsedTime:
    """One for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recalls: dict[str, _FirstSeen] = {}
        self._buckets: dict[BudgetKey, _FirstSeen] = {}

    def refilled(self, key: BudgetKey, bucket: Bucket, now_us: int) -> Bucket:
        """A bucket as stored, with what has accrued since.

        That is what wall clocks say, but never more than has passed since this process last found the bucket otherwise.
        So a clock that jumps ahead, or another replica's that runs ahead, makes up time at most once: one full bucket.
        """
        now_ns = self._clock.monotonic_ns()
        seen = self._buckets.get(key)
        if seen is None or seen.stored_us != bucket.updated_us:
            since_ns = now_ns - FORGOTTEN_AFTER_NS if seen is None else seen.queried_ns
            seen = self._buckets[key] = _FirstSeen(bucket.updated_us, since_ns, now_ns)
        seen.queried_ns = now_ns
        return bucket.refilled(now_us, (now_ns - seen.since_ns) // NS_PER_US)

    def note_recall(self, lease_id: str, requested_us: int) -> None:
        """A recall is made, or told to its node."""
        now_ns = self._clock.monotonic_ns()
        seen = self._recalls.get(lease_id)
        if seen is None or seen.stored_us != requested_us:
            seen = self._recalls[lease_id] = _FirstSeen(requested_us, now_ns, now_ns)
        seen.queried_ns = now_ns

    def awaits_return(self, lease: Lease) -> bool:
        """Whether a lease was recalled, and its node still has time to answer."""
        if lease.recall_requested_us is None:
            return False
        self.note_recall(lease.lease_id, lease.recall_requested_us)
        return self._clock.monotonic_ns() - self._recalls[lease.lease_id].since_ns < RECALL_TIMEOUT_NS

    def is_recallable(self, lease: Lease) -> bool:
        """Whether its free units may come back soon: nobody asked for it yet, or only just now."""
        return lease.free_units > 0 and (lease.recall_requested_us is None or self.awaits_return(lease))

    def forget(self) -> None:
        """Lets go of what nobody asked about for long."""
        since_ns = self._clock.monotonic_ns() - FORGOTTEN_AFTER_NS
        self._recalls = {key: seen for key, seen in self._recalls.items() if seen.queried_ns > since_ns}
        self._buckets = {key: seen for key, seen in self._buckets.items() if seen.queried_ns > since_ns}
