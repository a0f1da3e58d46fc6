"""The ports of the use cases, as protocols. Each storage keeps the obligations written here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from metering_service.domain.counts import Counts
from metering_service.domain.key_ring import ResumeKey
from metering_service.domain.records import (
    AggregateDelta,
    CommitBatch,
    EpochMark,
    LeaseRecord,
    Registration,
    RequestKey,
    RequestRecord,
    ShownRecord,
)
from metering_service.domain.usage_scope import WHOLE_SCOPE, UsageScope


class RequestName(NamedTuple):
    """What a request is known by in the database: its service's name, which is never reused, and its id."""

    service: str
    request_id: str


class ResumeKeyStore(Protocol):
    """The keys that sign resume tokens, the same for all nodes of a metering database."""

    async def resume_keys(self) -> list[ResumeKey]:
        """All of them, in order of their numbers: also each that was added before this was asked."""

    async def add_resume_key(self, key: ResumeKey) -> None:
        """Enter a key, unless there is one of that number."""


class Recorder(ResumeKeyStore, Protocol):
    """The writing half of the metering database."""

    async def database_id(self) -> str:
        """The database's id: made once, when the database was, and the same for every node that uses it."""

    async def register_node(self, node: str, holder: str = "") -> int:
        """Raise the node's epoch by one (to 1 at first), set its `commit_no` to 0, and return the epoch."""

    async def registration(self, node: str) -> Registration | None:
        """The node's row as it is now."""

    async def unsettled_nodes(self, but: str) -> list[Registration]:
        """All other nodes that have open requests or leases on record, or second looks to take; by name."""

    async def take_over(self, lost: Registration, holder: str, *, idle: bool) -> int | None:
        """Raise a lost node's epoch, if it still is the one given; `idle`: and nothing was committed since.

        Returns the new epoch, or None where another process was faster, or the node is not lost. From then on nothing
        more is written by the old epoch.
        """

    async def history(self, node: str) -> list[EpochMark]:
        """What control must know: this node's last epochs and the present one; of others the last answered exchange."""

    async def commit(self, node: str, epoch: int, batch: CommitBatch) -> Collection[RequestName] | None:
        """Write a whole batch in one transaction, exactly once however often it is called.

        It begins with one conditional update, `commit_no = n where node and epoch and commit_no = n - 1`. No row
        updated: if the row says this epoch and n, this batch was written before and the call succeeds; else the call
        raises NodeFencedError.

        Requests are upserted as whole rows. Notes and unauthorised finishes are kept where there is none; a node that a
        note speaks of is registered with its epoch, if it is not known, so that what it left is settled. Pages of
        counts are replaced, leases are absolute consumption (by maximum; `closed` latches), aggregates and denials are
        added, looks are kept until they are among the looked. No two of one kind have the same key.

        A record that is revised must be of the revision that it is revised from: of two nodes that revise one at the
        same moment, the later has RevisedElsewhereError, and nothing is written.

        Returns the unauthorised finishes that were kept; None where the batch had been written before, so that this is
        not known.

        Raises StorageUnavailableError when the outcome is not known.
        """

    async def open_requests(self, node: str, below_epoch: int) -> list[RequestRecord]:
        """OPEN records of earlier epochs of this node, in key order."""

    async def open_rechecks(self, node: str, below_epoch: int) -> list[tuple[int, RequestKey]]:
        """What earlier epochs of this node were to look at once more, and which epoch it was; in that order."""

    async def open_leases(self, node: str, below_epoch: int) -> list[LeaseRecord]:
        """Leases of earlier epochs of this node that are not closed."""

    async def find_request(self, service_uid: str, request_id: str) -> list[RequestRecord]:
        """All parts of a request, in order of their start."""

    async def close(self) -> None:
        """Let go of the database."""

    async def find_requests(self, names: Sequence[RequestName]) -> dict[RequestName, list[RequestRecord]]:
        """All parts of these requests, in order of their start; without those that there is no record of."""

    async def first_booked_us(self, names: Sequence[RequestName]) -> dict[RequestName, int]:
        """Of these requests those that have a settled part which goes on from no other, and when the first was."""


class RecoveryStore(Protocol):
    """What a recovery needs of the metering database."""

    async def database_id(self) -> str:
        """The database's id, as of `Recorder`."""

    async def fence(self, known: Mapping[str, int], holder: str, *, closes_leases: bool = False) -> dict[str, int]:
        """End every node's epoch, and those up to the ones that are known, or have requests open.

        Returns the last that may not write.

        `closes_leases`: what is settled from now on finds the leases of the known epochs closed.
        """

    async def lease_totals(self, after: str, limit: int) -> list[LeaseRecord]:
        """Leases in the order of their ids, after the given one."""

    async def unsettled_count(self) -> int:
        """How many requests are open of other epochs than those that may write now."""


@dataclass(frozen=True, slots=True)
class Walked:
    """One step of a walk over all requests: how many were deleted, and where it goes on; None at its end."""

    count: int
    next_place: int | None


class PurgeStore(Protocol):
    """Deleting what is old. Everything may be done again, and by several nodes at once."""

    async def purge_requests(self, before_us: int, place: int) -> Walked:
        """Of the requests that lie at a place, delete those of which all parts were settled before that time.

        Places are the storage's own; a walk begins at 0.
        """

    async def purge_leases(self, before_us: int, limit: int) -> int:
        """Delete at most this many leases that were closed before that time; how many it were."""

    async def purge_resume_keys(self, before_us: int) -> int:
        """Delete the keys that signed for nobody at that time, two more having been made by then; how many it were."""

    async def purge_counts(self) -> int:
        """Delete pages of counts of epochs that are over and of which no request is open; how many it were."""


@dataclass(frozen=True, slots=True)
class RollUpSpan:
    """The sums that are to be rolled up to a step: those of minutes from a start, closed, to an end, open."""

    step_us: int
    start_us: int
    end_us: int


class RollUpStore(Protocol):
    """Adding up minutes to hours, and hours to days. Everything may be done again, and by several nodes at once."""

    async def begin_roll_up(self, step_us: int, before_us: int) -> RollUpSpan:
        """Say that what is before that time is from now on by this step, and answer what is not yet.

        What was said before of a later time holds, and what is by a longer step stays so.
        """

    async def roll_up(self, span: RollUpSpan, place: str) -> str | None:
        """Add up a part of the span, of services after that one; after which one to go on, None at the end.

        Each part is one transaction, and leaves every sum of whole steps as it is. A walk begins at "".
        """

    async def end_roll_up(self, span: RollUpSpan) -> None:
        """Say that all of the span is by its step."""


USAGE_ROWS_MAX: Final = 10_000
"""Maximum of usage buckets that fit in one message."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A query over minute aggregates. `services`: exact names, or `accounts/{account}` for all of an account's.

    Times are whole minutes in microseconds since 1970, start closed, end open; step_us None: one step over all.
    `group_by`: "service", "service_uid", "team", "key_team", "credential" or "label:{key}".
    """

    start_us: int
    end_us: int
    step_us: int | None
    services: tuple[str, ...]
    credential: str | None
    labels: tuple[tuple[str, str], ...]
    group_by: tuple[str, ...]
    scope: UsageScope = WHOLE_SCOPE


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One step of one group."""

    start_us: int
    end_us: int
    group: tuple[tuple[str, str], ...]
    totals: AggregateDelta
    denials: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """When records were settled: from the start, closed, to the end, open. None: whenever, those that run included."""

    start_us: int | None = None
    end_us: int | None = None


AT_ANY_TIME: Final = Settled()
"""Settled or not."""


class UsageReader(Protocol):
    """The reading half of the metering database. What is not in the scope of a question is not there at all."""

    async def query_usage(self, query: UsageQuery) -> list[UsageRow]:
        """Sums by step and group, ordered by start, then group; steps without anything are left out.

        Denials have no labels: grouped by one they are with the requests that lack it, and a filter by label leaves
        none. Raises InvalidRequestError where there would be more than `USAGE_ROWS_MAX` rows, and where a bound of a
        step is within what is kept by hour or day only.
        """

    async def unused(self, names: Sequence[str], scope: UsageScope) -> list[str]:
        """Those of these services and accounts that nothing was ever recorded of; not of accounts that teams narrow."""

    async def request_parts(self, service: str, request_id: str, scope: UsageScope) -> list[ShownRecord]:
        """All parts of a request, by the service's name, in order of their start."""

    async def parts_in_account(self, account: str, request_id: str, scope: UsageScope) -> list[ShownRecord]:
        """All parts of requests of this id on any service of `accounts/{account}`, by service, then by their start."""

    async def list_requests(
        self, service: str, after: tuple[str, str] | None, limit: int, scope: UsageScope, settled: Settled
    ) -> Sequence[ShownRecord]:
        """Records of a service in order of (request_id, part), after the given pair: `limit`, if there are as many."""


@dataclass(frozen=True, slots=True)
class Running:
    """Requests that run on this node now."""

    request_count: int
    counts: Counts
