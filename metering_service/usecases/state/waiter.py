"""Reports that wait: for a lease, for a service's configuration, or for a look into the database."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias

from metering_service.domain.api_key import KeyProblem
from metering_service.domain.counts import NOTHING, Tally
from metering_service.domain.decision import Decision
from metering_service.domain.report import Report
from metering_service.domain.request import Earlier, Request
from metering_service.domain.request_parts import PartStart
from metering_service.domain.resume_token import ResumeToken
from metering_service.usecases.state.look_up_rate import LookUpRate


class PendingCommits:
    """Counts what must be committed before a message, and all before it, is durable."""

    __slots__ = ("_on_done", "waiting")

    def __init__(self, on_done: Callable[[], None]) -> None:
        self.waiting = 0
        self._on_done = on_done

    def expect(self) -> None:
        """One more thing must be committed first."""
        self.waiting += 1

    def done(self) -> None:
        """One of them is."""
        self.waiting -= 1
        if self.waiting == 0:
            self._on_done()


Scope: TypeAlias = Callable[[str], frozenset[str] | None]
"""From a service's name to the teams of whose services a reporter may speak in its account; None: all, empty: none."""


class Reporter(Protocol):
    """Who sends reports and wants answers: a stream's session, or one unary call.

    `keeps_open`: requests stay open, however silent, as long as this reporter is there. It ends with its stream.
    `look_ups`: how often it may still have unknown API keys looked up to begin something; `look_ups_for_work`: for what
    it reports of work, which waits where that is not now.
    """

    keeps_open: bool
    look_ups: LookUpRate
    look_ups_for_work: LookUpRate

    def named(self, request_id: str, service: str) -> None:
        """The API key of a request has led to this service: later reports of it are about that."""

    def answer(self, sequence: int, decision: Decision | None) -> None:
        """Answer a report that had to wait; None: the watermark is answer enough."""

    def order(self, decision: Decision) -> None:
        """Say something that nobody asked for: stop."""

    def receipt(self, sequence: int, decision: Decision) -> None:
        """Give a receipt that was asked for, now that it is committed."""


class Lookup(Enum):
    """Whether a report of an unknown request needs a look into the database, and has had it."""

    NOT_NEEDED = auto()
    UNDER_WAY = auto()
    DONE = auto()


@dataclass(slots=True, eq=False)
class Waiter:
    """A report on its way to a decision.

    `token`: what its `resume` says, once that is verified; None where there is none, or none of ours. Whether it is,
    `is_verified` says: that takes the service's uid, and a key that this node may not know yet.
    """

    report: Report
    reporter: Reporter
    sequence: int
    pending: PendingCommits
    deadline_ns: int
    """When it is answered with what is known. A booking waits longer, and is then made with the payers at hand."""
    is_verified: bool
    parked_ns: int = 0
    """When it began to wait."""
    teams: frozenset[str] | None = None
    """Teams whose services the reporter may speak of, in this account; None for all of them."""
    token: ResumeToken | None = None
    lookup: Lookup = Lookup.NOT_NEEDED
    start: PartStart | None = None
    """Where the report goes on from, as the database knows it."""
    earlier: tuple[Earlier, ...] = ()
    """Booked parts that lead to that, which may have something left to book."""
    awaits_end: bool = False
    """Whether it waits for the end of an earlier part, and is counted apart (see `Predecessors`)."""
    exact: Tally = NOTHING
    """Counts of an exact finish of the request, as the database knows them."""
    scope: Scope | None = None
    """Of what the reporter may speak, of a report that leaves its service to an API key; None: of everything."""
    comes_back: bool = False
    """Whether it is the first report of its request on this stream, after another one that may have broken."""
    is_left: bool = False
    """Whether its reporter is gone."""
    renews: Request | None = None
    """The request whose renewal it waits for, so that later progress on its stream need not."""
    is_chosen: bool = False
    """Whether its service is the one that its API key led to."""
    awaits_key: bool = False
    """Whether it waits for what control says of its API key."""
    awaits_look_up: bool = False
    """Whether control is not asked yet about its API key or model: its reporter has had too many looked up."""
    key_problem: KeyProblem | None = None
    """Why its API key opens nothing, of a report on work that nobody authorised."""


class Parked:
    """The report waits; its reporter is answered later."""


PARKED: Final = Parked()
Outcome: TypeAlias = Decision | Parked | None
