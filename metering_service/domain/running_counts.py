"""Latest counts of running requests, in arrays: what progress changes, and the pages that checkpoints write of it.

A running request has a slot. What progress needs of it lies in one line of integers there, which is one line of the
processor's cache: a hundred thousand requests that report in any order are found without a look at their objects.

Columns and checkpoints work on many slots at once, by numpy; single values are read and written in the arrays below its
views, so no numpy scalar gets out of this module. Arrays are replaced when they grow: numpy's views of them are made
where they are used, and live no longer than that call.
"""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metering_service.domain.counts_page import ENTRY, PAGE_BITS, SLOT_BITS, SLOT_MASK, CountsPage

if TYPE_CHECKING:
    from metering_service.domain.request import Request

Ints: TypeAlias = NDArray[np.int64]

LINE: Final = 8
"""Number of integers in a line, of 8 bytes each; those below say which is where."""
# What lets a stream's progress pass without a look at the request (see `admit`), and up to which output class.
TICKET: Final = 0
QUIET: Final = 1
# The output class, the predecessor's part included, and what of it is reasoning.
TOTAL: Final = 2
REASONING: Final = 3
# Input as it was said last: usage once output was counted with it; before that, as it was authorised. Three kinds.
INPUT: Final = 4
# The commit that has the counts.
PACKED: Final = 7

NO_TICKET: Final = -1
EVERY_REPORT: Final = -1
"""Greatest output that needs no answer where every report has to be looked at."""
NO_SLOT: Final = -1
SLOTS_FIRST: Final = 1 << PAGE_BITS
_KINDS: Final = 6
"""Integers in an entry of a page: a place, and five kinds of tokens."""


class QuietReports:
    """What lets reports of one request pass without a look at it: they need no numpy, and Python's integers are faster.

    It has the counts once more, as long as nothing else changes them; then it lets nothing pass any more.

    Attributes:
        quiet_tokens: The output class up to which progress passes.
        total: The output class as it is in the request's line.
        reasoning: What of it is reasoning.
    """

    __slots__ = (
        "cache_write",
        "cached_input",
        "input",
        "quiet_tokens",
        "reasoning",
        "reasoning_at",
        "slot",
        "total",
        "total_at",
    )

    def __init__(self, slot: int, kinds: Sequence[int], quiet_tokens: int) -> None:
        self.input, self.cached_input, self.cache_write, output, self.reasoning = kinds
        self.total = output + self.reasoning
        self.quiet_tokens = quiet_tokens
        self.slot = slot
        self.total_at, self.reasoning_at = slot * LINE + TOTAL, slot * LINE + REASONING


class RunningCounts:
    """The counts of one epoch of a node. Memory is bounded by the most requests that ran at once.

    Attributes:
        lines: A line for each slot, one after the other.
        line_writer: The same integers: an array is read in half the time of a view, and written in twice.
        dirty: By slot: the counts wait for a checkpoint.
        is_recorded: By slot: the record was written, or is about to be, and nothing but the counts has changed since.
        requests: By slot: whose it is.
    """

    __slots__ = (
        "_changed_pages",
        "_free_slots",
        "_places",
        "_quiet_reports",
        "_rows",
        "_serial",
        "_sweep",
        "_tickets",
        "dirty",
        "is_recorded",
        "line_writer",
        "lines",
        "requests",
    )

    def __init__(self) -> None:
        self.lines = array("q")
        self.line_writer = memoryview(self.lines)
        self.dirty = bytearray()
        self.is_recorded = bytearray()
        self.requests: list[Request | None] = []
        self._quiet_reports: list[QuietReports | None] = []
        self._places = array("q")
        self._rows = array("q")
        self._free_slots: list[int] = []
        self._changed_pages: set[int] = set()
        self._serial = 0
        self._tickets = 0
        self._sweep: Ints = np.empty(0, np.int64)

    def take(self, request: "Request") -> int:
        """A slot for a request that begins to run."""
        if self._free_slots:
            slot = self._free_slots.pop()
            self.requests[slot] = request
        else:
            slot = len(self.requests)
            if slot == len(self.dirty):
                self._grow(max(SLOTS_FIRST, 2 * slot))
            self.requests.append(request)
            self._quiet_reports.append(None)
        at = slot * LINE
        self.lines[at : at + LINE] = _NO_COUNTS
        return slot

    def _grow(self, slots: int) -> None:
        """The only place where arrays are replaced: whoever has one in hand takes it again after a slot was taken."""
        self.lines, self._rows, self._places = (
            old + array("q", bytes(8 * (slots * width - len(old))))
            for old, width in ((self.lines, LINE), (self._rows, _KINDS), (self._places, 1))
        )
        self.line_writer = memoryview(self.lines)
        self.dirty = self.dirty + bytes(slots - len(self.dirty))
        self.is_recorded = self.is_recorded + bytes(slots - len(self.is_recorded))

    @property
    def count(self) -> int:
        """Number of requests that run."""
        return len(self.requests) - len(self._free_slots)

    def give_back(self, slot: int) -> None:
        """The request that had it runs no longer."""
        self.dismiss(slot)
        self.requests[slot] = None
        self._places[slot] = self.dirty[slot] = self.is_recorded[slot] = 0
        self._free_slots.append(slot)

    # --- the fast road -----------------------------------------------------------------------------------------------

    def admit(self, slot: int, quiet_tokens: int) -> int:
        """Let progress up to so many tokens pass for who shows this ticket, which no request has had before.

        It names the slot: `ticket & SLOT_MASK`.
        """
        self.dismiss(slot)
        self._tickets += 1
        ticket = self._tickets << SLOT_BITS | slot
        at = slot * LINE
        self.lines[at + TICKET], self.lines[at + QUIET] = ticket, quiet_tokens
        return ticket

    def admit_reports(self, slot: int, quiet_tokens: int) -> QuietReports:
        """The same for progress that comes as reports: what passes is told by what this returns, not by the ticket."""
        self.admit(slot, quiet_tokens)
        reports = self._quiet_reports[slot] = QuietReports(slot, self.kinds(slot), quiet_tokens)
        return reports

    def dismiss(self, slot: int) -> None:
        """From now on every report of this request is looked at: whatever ends the fast road ends it here."""
        self.lines[slot * LINE + TICKET] = NO_TICKET
        reports = self._quiet_reports[slot]
        if reports is not None:
            reports.quiet_tokens, self._quiet_reports[slot] = EVERY_REPORT, None

    def set(self, slot: int, kinds: Sequence[int]) -> None:
        """Take the counts over, by kind in the order of `Counts`."""
        new, cached, written, output, reasoning = kinds
        at = slot * LINE
        self.lines[at + TOTAL : at + PACKED] = array("q", (output + reasoning, reasoning, new, cached, written))

    def expect_input(self, slot: int, kinds: Sequence[int]) -> None:
        """The input that progress is expected to say again."""
        at = slot * LINE + INPUT
        self.lines[at : at + 3] = array("q", kinds[:3])

    def kinds(self, slot: int) -> tuple[int, int, int, int, int]:
        """The counts, in the order of `Counts`."""
        total, reasoning, new, cached, written = self.lines[slot * LINE + TOTAL : slot * LINE + PACKED]
        return new, cached, written, total - reasoning, reasoning

    def input_class(self, slot: int) -> int:
        """Tokens of the input class, as they were said last."""
        return sum(self.lines[slot * LINE + INPUT : slot * LINE + PACKED])

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def place_of(self, slot: int) -> int | None:
        """Where the counts lie among the pages; None as long as nothing of the request can be on record."""
        return self._places[slot] or None

    def recorded_whole(self, slot: int, number: int) -> None:
        """The record goes into the commit of that number, as it is now: what lies on the page is never older."""
        place = self._places[slot]
        if not place:
            self._serial += 1
            self._places[slot] = self._serial << SLOT_BITS | slot
        elif self._rows[slot * _KINDS] == place:
            self.write(place, self.kinds(slot))
        self.recorded(slot, number)
        self.is_recorded[slot] = 1

    def recorded(self, slot: int, number: int) -> None:
        """The counts go into the commit of that number, in a record that has to be written whole each time."""
        self.lines[slot * LINE + PACKED] = number
        self.dirty[slot] = 0

    def write(self, place: int, kinds: Sequence[int]) -> None:
        """Note counts on the page, by kind in the order of `Counts`."""
        slot = place & SLOT_MASK
        ENTRY.pack_into(self._rows, slot * ENTRY.size, place, *kinds)
        self._changed_pages.add(slot >> PAGE_BITS)

    def begin_sweep(self) -> None:
        """A checkpoint begins: of all whose counts have changed by now."""
        self._sweep = np.flatnonzero(np.frombuffer(self.dirty, np.uint8))

    @property
    def sweep_left(self) -> int:
        """Number of slots that the checkpoint has not come to yet."""
        return len(self._sweep)

    @property
    def has_dirty(self) -> bool:
        """Whether any counts wait for a checkpoint."""
        return 1 in self.dirty

    def pack_next(self, count: int, number: int) -> "tuple[list[int], list[Request]]":
        """Write so many of the checkpoint's counts to their pages, for the commit of that number.

        Returns their slots; and the requests among them whose whole record is to be written instead.
        """
        slots, self._sweep = self._sweep[:count], self._sweep[count:]
        dirty, is_recorded = np.frombuffer(self.dirty, np.uint8), np.frombuffer(self.is_recorded, np.uint8)
        slots = slots[dirty[slots] != 0]
        has_record = is_recorded[slots] != 0
        whole = [self.requests[slot] for slot in slots[~has_record].tolist()]
        slots = slots[has_record]
        self._pack(slots, number)
        return slots.tolist(), [request for request in whole if request is not None]

    def _pack(self, slots: Ints, number: int) -> None:
        lines = np.frombuffer(self.lines, np.int64).reshape(-1, LINE)
        taken = lines.take(slots, axis=0)
        entries = np.empty((len(slots), _KINDS), np.int64)
        entries[:, 0] = np.frombuffer(self._places, np.int64)[slots]
        entries[:, 1:4] = taken[:, INPUT:PACKED]
        entries[:, 4] = taken[:, TOTAL] - taken[:, REASONING]
        entries[:, 5] = taken[:, REASONING]
        np.frombuffer(self._rows, np.int64).reshape(-1, _KINDS)[slots] = entries
        lines[slots, PACKED] = number
        np.frombuffer(self.dirty, np.uint8)[slots] = 0
        self._changed_pages.update(np.unique(slots >> PAGE_BITS).tolist())

    def take_changed(self) -> list[CountsPage]:
        """The pages that changed since this was asked last."""
        changed, self._changed_pages = self._changed_pages, set()
        length = _KINDS << PAGE_BITS
        return [CountsPage(page, self._rows[page * length : (page + 1) * length].tobytes()) for page in sorted(changed)]


_NO_COUNTS: Final = array("q", (NO_TICKET, 0, 0, 0, 0, 0, 0, 0))
