"""The records of the metering database: plain values, whole rows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from metering_service.domain.counts import ZERO, Counts, Ranks, Tally
from metering_service.domain.counts_page import CountsPage
from metering_service.domain.cut import Cut
from metering_service.domain.pot import HeldUnits, LimitPotKey, PotKind
from metering_service.domain.receipt import Receipt
from metering_service.domain.stamp import Stamp, shared_stamp


class RequestState(StrEnum):
    """How the end of a request was learned; OPEN while it runs."""

    OPEN = "open"
    FINISHED = "finished"
    TIMED_OUT = "timed_out"


RequestKey: TypeAlias = tuple[str, str, str]
"""A record's service, request id and part: its key in the database. A service's name is never used again."""


class RequestRecord(NamedTuple):
    """One part of a request: what one node booked of it.

    `part` is "" for a finish without an authorisation, else unique to the authorisation. `counts` are the latest; the
    receipt's are what was booked (all zero while OPEN). `predecessor_part` names the part that this one carries on, and
    `base_*_tokens` say where: what lies below, of each class, is its predecessors' to book. `held` counts from there.
    """

    service: str
    service_uid: str
    request_id: str
    part: str
    node: str
    epoch: int
    state: RequestState
    counts: Counts
    receipt: Receipt
    held: HeldUnits
    price_nanos_per_million: tuple[int, int, int, int, int]
    debt_allowed: bool
    estimated: bool
    credential: str
    labels: tuple[tuple[str, str], ...]
    start_us: int
    booked_us: int | None
    predecessor_part: str | None = None
    base_input_tokens: int = 0
    base_output_tokens: int = 0
    place: int | None = None
    """Where later counts than these may lie while it runs (see `RunningCounts`)."""
    ranks: Ranks = ()
    """How the counts rank; empty where that is as of one report, a finish if it is FINISHED (see `tally`)."""
    hold_for_us: int = 0
    """For so long after its start it stays open while nobody speaks of it; 0: no longer than any other."""
    team: str = ""
    """Id of the team that the service belonged to when the request was authorised; empty for none."""
    key_team: str = ""
    """Id of the team that the API key belonged to then; empty for none."""
    hour_us: int = 0
    """The hour of UTC in which the request was authorised."""
    pots: tuple[LimitPotKey, ...] = ()
    """Pots of limits that the request is charged to."""
    told: Cut | None = None
    """The order to stop that its server was given last: now, or at the ceiling of its last grant."""

    @property
    def key(self) -> RequestKey:
        """Which one it is."""
        return self.service, self.request_id, self.part

    @property
    def stamp(self) -> Stamp:
        """What the request was stamped with when it was authorised."""
        return shared_stamp(self.credential, self.key_team, self.team, self.hour_us, self.pots)

    @property
    def tally(self) -> Tally:
        """The counts, ranked as they were when they were recorded."""
        if self.ranks:
            return Tally.from_ranks(self.counts, self.ranks)
        return Tally.of(self.counts, finish=self.state is RequestState.FINISHED, estimated=self.estimated)


class ShownRecord(NamedTuple):
    """What people see of one part of a request: of `RequestRecord` all that nodes do not need for themselves alone."""

    service: str
    service_uid: str
    request_id: str
    part: str
    node: str
    state: RequestState
    counts: Counts
    receipt: Receipt
    estimated: bool
    credential: str
    labels: tuple[tuple[str, str], ...]
    start_us: int
    booked_us: int | None
    team: str
    key_team: str
    told: Cut | None

    @property
    def cut(self) -> Cut | None:
        """Why it had to end, if it came as far as it was told to."""
        told = self.told
        return told if told is not None and self.counts.output_class >= told.output_tokens else None


@dataclass(frozen=True, slots=True)
class Registration:
    """A node's row: which epoch may write, how far it got, and whose it is.

    `holder` is the process that began the epoch: its own id, or `caretaker_of` that of another node's, which began it
    to settle what a lost one left. As far as the node has heard, control has closed all leases of epochs below
    `closed_below_epoch`.
    """

    node: str
    epoch: int
    commit_no: int
    holder: str = ""
    closed_below_epoch: int = 0

    @property
    def is_caretaken(self) -> bool:
        """Whether the epoch is another node's, which only settles."""
        return self.holder.startswith(_CARETAKER)


@dataclass(frozen=True, slots=True)
class EpochMark:
    """How far a node had got in an epoch. `exchange_answered`: the last exchange whose answer is on record, or 0."""

    node: str
    epoch: int
    commit_no: int
    exchange_answered: int


_CARETAKER: Final = "caretaker:"


def caretaker_of(holder: str) -> str:
    """The holder of an epoch that this process began in another node's stead."""
    return _CARETAKER + holder


STAND_IN: Final = "recovered."
"""Beginning of the ids of stand-ins, which no random id has."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What was consumed on a lease: absolute, only ever growing. Key: lease_id. `close_us`: when it was closed.

    `limit_pot`: the pot of a limit; then `service` is the account, and there is no uid.
    """

    lease_id: str
    node: str
    epoch: int
    service: str
    service_uid: str
    pot_kind: PotKind
    consumed_units: int
    closed: bool
    close_us: int | None = None
    limit_pot: LimitPotKey | None = None

    @property
    def is_stand_in(self) -> bool:
        """Whether it stands for leases of lost epochs that never came on record: control knows what these had."""
        return self.lease_id.startswith(STAND_IN)


class AggregateKey(NamedTuple):
    """A cell of the minute aggregates. `labels` are sorted by key; the rest is as `RequestRecord` has it."""

    service: str
    service_uid: str
    minute_us: int
    team: str
    credential: str
    labels: tuple[tuple[str, str], ...]
    key_team: str = ""
    hour_us: int = 0


@dataclass(slots=True)
class AggregateDelta:
    """What is added to a cell. Kinds may be negative in a revision; sums never end below zero."""

    usage: Counts = ZERO
    reserved_tokens: int = 0
    trial_tokens: int = 0
    billed_tokens: int = 0
    unfunded_tokens: int = 0
    overrun_tokens: int = 0
    cost_nanos: int = 0
    debt_nanos: int = 0
    request_count: int = 0

    def add(self, receipt: Receipt) -> None:
        """Add what a receipt says."""
        self.usage += receipt.usage
        # Most receipts have one payer.
        if receipt.reserved is not ZERO:
            self.reserved_tokens += receipt.reserved.total
        if receipt.trial is not ZERO:
            self.trial_tokens += receipt.trial.total
        self.billed_tokens += receipt.billed.total
        if receipt.unfunded is not ZERO:
            self.unfunded_tokens += receipt.unfunded.total
        self.overrun_tokens += receipt.overrun_tokens
        self.cost_nanos += receipt.cost_nanos
        self.debt_nanos += receipt.debt_nanos

    def take_back(self, receipt: Receipt) -> None:
        """Take back what an earlier receipt for the same request added."""
        self.usage -= receipt.usage
        self.reserved_tokens -= receipt.reserved.total
        self.trial_tokens -= receipt.trial.total
        self.billed_tokens -= receipt.billed.total
        self.unfunded_tokens -= receipt.unfunded.total
        self.overrun_tokens -= receipt.overrun_tokens
        self.cost_nanos -= receipt.cost_nanos
        self.debt_nanos -= receipt.debt_nanos


WOULD_DENY: Final = "would_deny:"
"""Beginning of a reason that is none: a rule in dry run would have denied. The rule's name follows."""
UNKNOWN: Final = "?"
"""End of such a one where it could not be told."""


class DenialKey(NamedTuple):
    """A cell of the denial statistics. `team`, `key_team`: those of service and key when it was denied."""

    service: str
    service_uid: str
    minute_us: int
    team: str
    credential: str
    reason: str
    key_team: str = ""


@dataclass(frozen=True, slots=True)
class CommitBatch:
    """One group commit: all of it happens, once, or none."""

    commit_no: int
    requests: tuple[RequestRecord, ...] = ()
    counts: tuple[CountsPage, ...] = ()
    leases: tuple[LeaseRecord, ...] = ()
    aggregates: tuple[tuple[AggregateKey, AggregateDelta], ...] = ()
    denials: tuple[tuple[DenialKey, int], ...] = ()
    exchange_answered: int = 0
    """The last exchange that control answered in this epoch, where one was."""
    closed_below_epoch: int = 0
    """As `Registration` has it; it never falls."""
    notes: tuple[RequestRecord, ...] = ()
    """Records of other nodes' parts, for where there is none yet."""
    revised: tuple[tuple[RequestKey, int], ...] = ()
    """Of records that were booked before, the revision that they are revised from."""
    rechecks: tuple[RequestKey, ...] = ()
    """Parts that are to be checked once more, by this epoch or a later one."""
    rechecked: tuple[tuple[int, RequestKey], ...] = ()
    """Rechecks that were made, each with the epoch that had scheduled it."""
    unauthorised: tuple[RequestRecord, ...] = ()
    """Finishes without authorisation, for where there is no other one of the same request yet."""
