"""The limits that this node knows: all of each account of which it follows something, and the rules of models.

What applies is worked out once for each service and key, and again when a limit or the service changes, or a period
begins.
"""

from typing import Final

from metering_service.domain.limit import NOTHING_APPLIES, Applying, Limit, LimitSet, applying
from metering_service.domain.pot import LimitPotKey
from metering_service.domain.service import ServiceConfig, account_of

WORKED_OUT_MAX: Final = 50_000
"""Maximum number of pairs of service and key for which it is remembered what applies."""


class KnownLimits:
    """Not thread-safe; all calls happen on the event loop. False while there is no limit at all.

    An account's limits are forgotten some time after the last of its services and keys; control sends them anew with
    the next.
    """

    def __init__(self) -> None:
        self._sets: dict[str, LimitSet] = {}
        self._by_uid: dict[str, Limit] = {}
        self._worked_out: dict[tuple[str, str, str], tuple[ServiceConfig, Applying]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_uid)

    def take(self, limits: LimitSet) -> bool:
        """Take in what control says; False where something later is known."""
        known = self._sets.get(limits.name)
        if known is not None and known.version > limits.version:
            return False
        self._take(limits)
        return True

    def _take(self, limits: LimitSet) -> None:
        known = self._sets.get(limits.name)
        for limit in known.limits if known is not None else ():
            self._by_uid.pop(limit.uid, None)
        self._sets[limits.name] = limits
        self._by_uid.update((limit.uid, limit) for limit in limits.limits)
        self._worked_out.clear()

    def forget(self, name: str) -> None:
        """Know no longer what is limited there."""
        known = self._sets.pop(name, None)
        for limit in known.limits if known is not None else ():
            self._by_uid.pop(limit.uid, None)
        self._worked_out.clear()

    def limit_of(self, pot: LimitPotKey) -> Limit | None:
        """The limit that a pot is of; None where it was deleted since."""
        return self._by_uid.get(pot.limit_uid)

    def applying(self, service: ServiceConfig, key_uid: str, key_team: str, now_ns: int) -> Applying:
        """Which limits apply to a request of this service with this key, or without one where its uid is empty."""
        if not self._by_uid:
            return NOTHING_APPLIES
        which = (service.name, key_uid, key_team)
        known = self._worked_out.get(which)
        if known is not None and known[0] is service and now_ns < known[1].until_ns:
            return known[1]
        account = account_of(service.name)
        limits = (
            limit for name in (service.model, account) if (found := self._sets.get(name)) for limit in found.limits
        )
        result = applying(limits, service, key_uid, key_team, now_ns)
        if len(self._worked_out) >= WORKED_OUT_MAX:
            self._worked_out.clear()
        self._worked_out[which] = service, result
        return result
