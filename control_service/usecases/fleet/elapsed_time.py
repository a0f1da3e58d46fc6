"""Time as this process measures it, where what is stored was written by some replica's wall clock.

Wall clocks jump, and those of two replicas differ. How long something has been stored is told by when this process saw
it first, on its monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from control_service.domain.bucket import FULL_AFTER_US, Bucket
from control_service.domain.budget import BudgetKey
from control_service.domain.lease import Lease
from tallygate._server.clock import NS_PER_US, Clock

RECALL_PATIENCE_NS: Final = 200_000_000
"""A node that has not answered a recall for so long will not be waited for."""

FORGOTTEN_AFTER_NS: Final = FULL_AFTER_US * NS_PER_US
"""What nobody asked about for so long is as good as new."""


@dataclass(slots=True)
class _Seen:
    """A stored moment; it was not stored yet at `since_ns`, or was seen first then; and when it was looked at last."""

    mark_us: int
    since_ns: int
    looked_ns: int


class OwnTime:
    """One for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recalls: dict[str, _Seen] = {}
        self._buckets: dict[BudgetKey, _Seen] = {}

    def refilled(self, key: BudgetKey, bucket: Bucket, now_us: int) -> Bucket:
        """A bucket as stored, with what has accrued since.

        That is what wall clocks say, but never more than has passed since this process last found the bucket otherwise.
        So a clock that jumps ahead, or another replica's that runs ahead, makes up time at most once: one full bucket.
        """
        now_ns = self._clock.monotonic_ns()
        seen = self._buckets.get(key)
        if seen is None or seen.mark_us != bucket.updated_us:
            since_ns = now_ns - FORGOTTEN_AFTER_NS if seen is None else seen.looked_ns
            seen = self._buckets[key] = _Seen(bucket.updated_us, since_ns, now_ns)
        seen.looked_ns = now_ns
        return bucket.refilled(now_us, (now_ns - seen.since_ns) // NS_PER_US)

    def saw_recall(self, lease_id: str, requested_us: int) -> None:
        """A recall is made, or told to its node."""
        now_ns = self._clock.monotonic_ns()
        seen = self._recalls.get(lease_id)
        if seen is None or seen.mark_us != requested_us:
            seen = self._recalls[lease_id] = _Seen(requested_us, now_ns, now_ns)
        seen.looked_ns = now_ns

    def waits_for(self, lease: Lease) -> bool:
        """Whether a lease was recalled, and its node still has time to answer."""
        if lease.recall_requested_us is None:
            return False
        self.saw_recall(lease.lease_id, lease.recall_requested_us)
        return self._clock.monotonic_ns() - self._recalls[lease.lease_id].since_ns < RECALL_PATIENCE_NS

    def is_recallable(self, lease: Lease) -> bool:
        """Whether its free part may come back soon: nobody asked for it yet, or only just now."""
        return lease.free_units > 0 and (lease.recall_requested_us is None or self.waits_for(lease))

    def forget(self) -> None:
        """Lets go of what nobody asked about for long."""
        since_ns = self._clock.monotonic_ns() - FORGOTTEN_AFTER_NS
        self._recalls = {key: seen for key, seen in self._recalls.items() if seen.looked_ns > since_ns}
        self._buckets = {key: seen for key, seen in self._buckets.items() if seen.looked_ns > since_ns}
