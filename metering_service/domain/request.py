"""A request while this node knows it: its counts, what is held for it, what was booked of it."""

from typing import Final, NamedTuple, Protocol

from metering_service.domain.counts import NOTHING, Counts, Tally, beyond
from metering_service.domain.cut import Cut
from metering_service.domain.decision import Decision
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.rate_charges import RateCharges
from metering_service.domain.receipt import Receipt, Used
from metering_service.domain.records import RequestKey, RequestRecord, RequestState
from metering_service.domain.request_parts import PartStart, front_of
from metering_service.domain.resume_token import encode
from metering_service.domain.running_counts import LINE, NO_SLOT, NO_TICKET, TICKET, TOTAL, RunningCounts
from metering_service.domain.stamp import Stamp

NOTHING_HELD: Final = HeldUnits()
NOTHING_USED: Final = Used(0, 0, 0, 0)
NOT_BOOKED: Final = Receipt()
NOTHING_LOWERED: Final = (0, 0)


class Listener(Protocol):
    """The stream that speaks for a request, and can be told to stop it."""

    def order(self, decision: Decision) -> None:
        """Take an unasked decision."""


class Earlier(NamedTuple):
    """A booked part that leads to another one, and where those begin that go on from it."""

    part: "Request"
    end_input_tokens: int
    end_output_tokens: int


class Request:
    """One part of a request: what this node grants and books of it.

    While it runs, its latest counts are with those of all others (`RunningCounts`): what takes the fast road comes by
    here only when `tally` is read.

    Attributes:
        part: Name of this authorisation, unique for ever; empty for a finish without one.
        stamp: Whose the request is and the pots of limits that it is charged to, for all its parts.
        predecessor_part: The part that this one carries on.
        base_input_tokens: What the predecessor granted and books of the input class; this part begins where that ends.
        base_output_tokens: The same of the output class.
        is_owned: No other node books it. A finish without authorisation must first be entered in the database.
        hold_for_us: Time after the authorisation for which it stays open while nobody speaks of it; 0: no such hold.
        hold_until_ns: The end of that time, by the clock of this node.
        is_final: Its ceiling is the last one.
        stop_sent: Its server was told to stop.
        told: That it was, or with which last grant, as its record shall say; None where it may go on.
        awaited_by: The stream whose progress waits for its renewal; None where none does.
        max_output_tokens: The server's own limit.
        held: What is set aside, counted from the base. Of a booked part: what was used.
        granted_output_tokens: The ceiling before payers were looked for beyond it; None where that was not needed.
        rules: What rate rules have charged for it, until it is booked; None where none applies.
        booked: Units that are booked of each pot; zero until the first booking.
        earlier: Of a booked part, those that lead to it, the first one first, for counts that come late.
        is_corrected: More is known of a booked part than its record says.
        running: Where its latest counts are; None before it runs, and once it is booked.
        slot: Which of them are its own.
        lowered_from: Tokens of each class that may be on record of this part, where less has been said since.
        said: The counts of reports that were looked at: `tally` has the others' as well.
    """

    said: Tally

    __slots__ = (  # noqa: RUF023  # in groups
        # What it is.
        "request_id",
        "part",
        "service",
        "service_uid",
        "stamp",
        "price",
        "debt_allowed",
        "labels",
        "start_us",
        "max_output_tokens",
        "hold_for_us",
        "hold_until_ns",
        # What it goes on from.
        "predecessor_part",
        "base_input_tokens",
        "base_output_tokens",
        "earlier",
        # Where it stands.
        "state",
        "authorised",
        "is_owned",
        "is_final",
        "stop_sent",
        "told",
        "awaited_by",
        "_session",
        # What is held and booked of it.
        "held",
        "granted_output_tokens",
        "rules",
        "booked",
        "receipt",
        "booked_us",
        "is_corrected",
        # Its counts.
        "said",
        "running",
        "slot",
        "lowered_from",
    )

    def __init__(
        self,
        request_id: str,
        part: str,
        *,
        service: str,
        service_uid: str,
        price: Price,
        debt_allowed: bool,
        start_us: int,
        stamp: Stamp,
    ) -> None:
        self.request_id = request_id
        self.part = part
        self.service = service
        self.service_uid = service_uid
        self.stamp = stamp
        self.price = price
        self.debt_allowed = debt_allowed
        self.start_us = start_us
        self.hold_for_us = self.hold_until_ns = 0
        self.running: RunningCounts | None = None
        self.slot = NO_SLOT
        self.lowered_from = NOTHING_LOWERED
        self.said = NOTHING
        self.held = NOTHING_HELD
        self.booked = NOTHING_USED
        self.receipt = NOT_BOOKED
        self.state = RequestState.OPEN
        self.booked_us: int | None = None
        self.authorised = False
        self.is_owned = part != ""
        self.is_final = False
        self.stop_sent = False
        self.told: Cut | None = None
        self.awaited_by: Listener | None = None
        self.max_output_tokens: int | None = None
        self.granted_output_tokens: int | None = None
        self.rules: RateCharges | None = None
        self.base_input_tokens = 0
        self.base_output_tokens = 0
        self.predecessor_part: str | None = None
        self.earlier: tuple[Earlier, ...] = ()
        self.labels: tuple[tuple[str, str], ...] = ()
        self.is_corrected = False
        self._session: Listener | None = None

    def run_in(self, running: RunningCounts) -> None:
        """It begins to run on this node."""
        self.running, self.slot = running, running.take(self)
        running.set(self.slot, self.said.counts)

    def run_no_more(self) -> None:
        """It is booked: its slot is free for another one."""
        if self.running is not None:
            self.said = self.tally
            self.running.give_back(self.slot)
            self.running, self.slot = None, NO_SLOT

    def leave_fast_road(self) -> None:
        """From now on every report of it is looked at, until a stream is given a new ticket."""
        if self.running is not None:
            self.running.dismiss(self.slot)

    @property
    def takes_fast_road(self) -> bool:
        """Whether some stream's progress may pass without a look at it."""
        return self.running is not None and self.running.lines[self.slot * LINE + TICKET] != NO_TICKET

    @property
    def session(self) -> Listener | None:
        """The stream that speaks for it; None where nobody does, and where only calls do."""
        return self._session

    @session.setter
    def session(self, session: Listener | None) -> None:
        if session is not self._session:
            self.leave_fast_road()
            self._session = session

    @property
    def on_record(self) -> bool:
        """Whether the record was written, or is about to be, and nothing but the counts has changed since."""
        return self.running is not None and self.running.is_recorded[self.slot] == 1

    @property
    def dirty(self) -> bool:
        """Whether the counts wait for a checkpoint."""
        return self.running is not None and self.running.dirty[self.slot] == 1

    @property
    def place(self) -> int | None:
        """Where the counts lie among the pages of counts; None as long as nothing of it can be on record."""
        return self.running.place_of(self.slot) if self.running is not None else None

    def terms_changed(self) -> None:
        """Something else than its counts changed: the next checkpoint writes the whole record."""
        if self.running is not None:
            self.running.dismiss(self.slot)
            self.running.is_recorded[self.slot] = 0

    @property
    def output_tokens(self) -> int:
        """Cumulative output class, the predecessor's part included."""
        if self.running is not None:
            return self.running.lines[self.slot * LINE + TOTAL]
        return self.said.output[1]

    @property
    def tally(self) -> Tally:
        """The merged counts of all reports so far."""
        running, tally = self.running, self.said
        if running is not None and running.lines[self.slot * LINE + TOTAL] > tally.output[1]:
            tally = self.said = tally.merge(Tally.of(Counts(*running.kinds(self.slot)), finish=False))
        return tally

    @tally.setter
    def tally(self, tally: Tally) -> None:
        if tally.input[1] < self.said.input[1] or tally.output[1] < self.output_tokens:
            self._note_lowered()
        self.said = tally
        if self.running is not None:
            self.running.dismiss(self.slot)
            self.running.set(self.slot, tally.counts)

    def learn(self, tally: Tally) -> None:
        """Merge what was said. A report that only sorts the same tokens otherwise changes nothing that is booked."""
        known = self.tally
        merged = known.merge(tally)
        if self.is_open:
            if not (known.is_plain and merged.is_plain):
                self.terms_changed()
            self.tally = merged
        elif known.learns_from(merged):
            self.tally = merged
            self.is_corrected = True

    @property
    def counts(self) -> Counts:
        """What this part has to book: the counts beyond its predecessor's."""
        counts = self.tally.counts
        if self.base_input_tokens or self.base_output_tokens:
            return beyond(counts, self.base_input_tokens, self.base_output_tokens)
        return counts

    @property
    def ceiling_tokens(self) -> int:
        """Ceiling on the request's cumulative output class."""
        return self.base_output_tokens + self.held.output_ceiling_tokens

    @property
    def chain(self) -> tuple["Request", ...]:
        """The booked parts that lead to it, the first one first, and itself."""
        return (*(each.part for each in self.earlier), self) if self.earlier else (self,)

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return self.state is RequestState.OPEN

    def resume_content(self, node: str, epoch: int) -> bytes:
        """What its resume token says, once it is signed."""
        return encode(
            (self.part, node, self.predecessor_part or ""),
            (epoch, self.start_us, self.base_input_tokens, self.base_output_tokens, int(self.debt_allowed)),
            self.held,
            self.price,
            self.stamp,
        )

    def expect_input(self, counts: Counts) -> None:
        """The input that the fast road may expect of progress: not usage yet, as authorised."""
        if self.running is not None:
            self.running.expect_input(self.slot, counts)

    def start_at(self, start: PartStart) -> None:
        """Begin where another part ends, on the terms that were agreed with it."""
        self.predecessor_part = start.part
        self.base_input_tokens = start.input_tokens
        self.base_output_tokens = start.output_tokens
        self.price = start.price
        self.debt_allowed = start.debt_allowed
        self.stamp = start.stamp
        self.authorised = True

    @property
    def has_unbooked(self) -> bool:
        """Whether more is counted than was booked, of either class."""
        counts, booked = self.counts, self.receipt.usage
        return counts.input_class > booked.input_class or counts.output_class > booked.output_class

    @property
    def has_news(self) -> bool:
        """Whether its record lacks something: more to book, or better counts."""
        return self.is_corrected or self.has_unbooked

    @property
    def end_tokens(self) -> tuple[int, int]:
        """How far it has booked, or is about to, of each class of the whole request."""
        counts, booked = self.tally.counts, self.receipt.usage
        return (
            max(counts.input_class, self.base_input_tokens + booked.input_class),
            max(counts.output_class, self.base_output_tokens + booked.output_class),
        )

    def fill_earlier(self) -> None:
        """What this part knows of the whole request is the earlier ones' too, up to where each of them ends.

        Where one of them has booked more than that, not knowing of this one, this one begins beyond it.
        """
        for part, input_tokens, output_tokens in self.earlier:
            has_input, has_output = part.end_tokens
            part.learn(front_of(self.tally, max(input_tokens, has_input), max(output_tokens, has_output)))
            if self.is_open:
                self._note_lowered()
                has_input, has_output = part.end_tokens
                self.base_input_tokens = max(self.base_input_tokens, has_input)
                self.base_output_tokens = max(self.base_output_tokens, has_output)

    def _note_lowered(self) -> None:
        """What this part has to book is about to become less: of what is on record, that may not be true yet."""
        if self.place is not None:
            counts, (input_tokens, output_tokens) = self.counts, self.lowered_from
            self.lowered_from = max(input_tokens, counts.input_class), max(output_tokens, counts.output_class)

    def reached_by(self, counts: Counts) -> "Request":
        """The last part of its chain that these counts reach into; the first one, where they are of no part."""
        if not self.earlier:
            return self
        chain = [each.part for each in self.earlier]
        part = self
        while chain and counts.input_class <= part.base_input_tokens and counts.output_class <= part.base_output_tokens:
            part = chain.pop()
        return part

    @property
    def key(self) -> RequestKey:
        """Which record it is."""
        return self.service, self.request_id, self.part

    def record(self, node: str, epoch: int) -> RequestRecord:
        """The row as it stands now."""
        tally, stamp = self.tally, self.stamp
        as_one_report = tally.is_of_one(finish=self.state is RequestState.FINISHED)
        # Not by name, which takes twice as long; there is one for each authorisation, and one for each finish.
        return RequestRecord(
            self.service,
            self.service_uid,
            self.request_id,
            self.part,
            node,
            epoch,
            self.state,
            tally.counts,
            self.receipt if self.booked_us is not None else Receipt(price_version=self.price.version),
            self.held,
            self.price.kinds,
            self.debt_allowed,
            tally.estimated,
            stamp.credential,
            self.labels,
            self.start_us,
            self.booked_us,
            self.predecessor_part,
            self.base_input_tokens,
            self.base_output_tokens,
            self.place,
            () if as_one_report else tally.ranks,
            self.hold_for_us,
            stamp.team,
            stamp.key_team,
            stamp.hour_us,
            stamp.pots,
            self.told,
        )
