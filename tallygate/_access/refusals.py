"""Refused calls, counted by principal or peer, method, reason, account and minute: a flood of them costs little.

Counts are levels that only grow: whoever writes them down may write them twice, and later ones hold.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeAlias

MINUTE_US: Final = 60_000_000
PROVED_MAX: Final = 10_000
"""Maximum number of counts of proved principals at a time; beyond it calls count as others of their minute."""
UNPROVED_MAX: Final = 1_000
"""Maximum number of counts of callers who proved nothing: a flood of theirs fills no disk and hides no principal."""

CREDENTIAL: Final = "CREDENTIAL_"
"""Prefix of reasons of calls whose caller had not proved who it is."""
OTHER: Final = "OTHER"
"""Reason of calls beyond the maximum, after CREDENTIAL where nobody was proved, and their method."""

Key: TypeAlias = tuple[int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class RefusedCalls:
    """Calls of one minute that were refused for one reason; what is not in their key is said of the first of them.

    `principal` is a member; where it is empty, `peer` stands in the key for it: an address without a port. `account_id`
    is that of the resource, if the caller has any right in it: what strangers try is no affair of that account's.
    """

    first_us: int
    principal: str
    peer: str
    method: str
    reason: str
    resource: str = ""
    account_id: str = ""
    access_token: str = ""
    note: str = ""
    request_json: str = ""
    call_count: int = 1

    @property
    def minute_us(self) -> int:
        """The begin of the minute."""
        return self.first_us - self.first_us % MINUTE_US

    @property
    def key(self) -> Key:
        """What these calls have in common."""
        return self.minute_us, self.principal or self.peer, self.method, self.reason, self.account_id

    @property
    def is_unproved(self) -> bool:
        """Whether nobody was proved."""
        return not self.principal


@dataclass(slots=True)
class _Count:
    first: RefusedCalls
    calls: int = 0
    told: int = 0


class RefusalCounts:
    """Counts refusals in memory until somebody has written them down: what is lost in a crash was not told yet."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}
        self._untold: dict[Key, None] = {}
        self._unproved_count = 0
        self._minute_us = 0

    def note(self, refused: RefusedCalls, request_json: Callable[[], str] = str) -> None:
        """Counts one more call. What was asked is written out for the first of its key only."""
        if refused.minute_us != self._minute_us:
            self._minute_us = refused.minute_us
            self._forget_old()
        count = self._counts.get(refused.key) or self._add(refused, request_json)
        count.calls += 1
        self._untold[count.first.key] = None

    def untold(self, limit: int) -> list[RefusedCalls]:
        """Counts that are new or have grown since they were told, the oldest first, at most `limit`."""
        counts = (self._counts[key] for key in islice(self._untold, limit))
        return [replace(count.first, call_count=count.calls) for count in counts]

    def tell(self, written: Iterable[RefusedCalls]) -> None:
        """Notes that these are written down as they say."""
        for one in written:
            count = self._counts.get(one.key)
            if count is None:
                continue
            count.told = max(count.told, one.call_count)
            count.first = replace(count.first, request_json="")  # It is long, and whoever wrote the first has it.
            if count.told >= count.calls:
                self._untold.pop(one.key, None)

    def _add(self, refused: RefusedCalls, request_json: Callable[[], str]) -> _Count:
        unproved = refused.is_unproved
        known = self._unproved_count if unproved else len(self._counts) - self._unproved_count
        if known >= (UNPROVED_MAX if unproved else PROVED_MAX):
            reason = CREDENTIAL + OTHER if unproved else OTHER
            refused = RefusedCalls(refused.first_us, "", "", OTHER, reason)
            if (count := self._counts.get(refused.key)) is not None:
                return count
        else:
            refused = replace(refused, request_json=request_json())
        count = self._counts[refused.key] = _Count(refused)
        self._unproved_count += refused.is_unproved
        return count

    def _forget_old(self) -> None:
        """Forgets what is told: of past minutes nothing is added to."""
        self._counts = {key: self._counts[key] for key in self._untold}
        self._unproved_count = sum(count.first.is_unproved for count in self._counts.values())
