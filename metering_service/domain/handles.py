"""Handles of one stream, and entries of progress in columns that pass without a look at their requests.

With `running_counts` the only module that knows numpy. A handle has the ticket that its request was given last, and
the ticket names the slot. Where the slot has another ticket by now, or none, the entry goes the way of every report.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from metering_service.domain.counts_page import SLOT_MASK
from metering_service.domain.report import NO_HANDLE
from metering_service.domain.running_counts import LINE, PACKED, QUIET, REASONING, TICKET, TOTAL, Ints, RunningCounts

if TYPE_CHECKING:
    from metering_service.domain.request import Request

HANDLES_FIRST: Final = 64
UNBOUND: Final = 0
"""Stands for a ticket; it is none that was ever given."""


class WireColumns(Protocol):
    """Progress in columns, as it came."""

    @property
    def handles(self) -> Sequence[int]:
        """Which request each entry is about."""

    @property
    def output_tokens(self) -> Sequence[int]:
        """As long."""

    @property
    def reasoning_tokens(self) -> Sequence[int]:
        """As long, or empty."""


class Entry(NamedTuple):
    """An entry that has to be looked at. `position`: in its message. `reasoning_tokens`: None where it is as before."""

    position: int
    handle: int
    output_tokens: int
    reasoning_tokens: int | None
    follows: bool
    """Whether its handle is above the one before it."""


class Advance(NamedTuple):
    """What a message's columns came to.

    `has_changed`: counts changed that a checkpoint must write. `has_dirty`: counts were said again that wait for one;
    `packed`: number of the last commit that has counts which were said again, or 0.
    """

    has_changed: bool
    has_dirty: bool
    packed: int
    left: list[Entry]


class Handles:
    """Which request each handle of a stream stands for. The client binds and unbinds; nothing else does."""

    __slots__ = ("_estimated", "_handles", "_ids", "_tickets")

    def __init__(self) -> None:
        self._estimated: set[str] = set()
        self._handles: dict[str, int] = {}
        self._ids: list[str] = []
        self._tickets = array("q")

    def bind(self, handle: int, request_id: str) -> None:
        """Let a handle, from 1 to `HANDLES_MAX`, stand for a request: for that alone, and it alone for that."""
        if handle >= len(self._ids):
            more = max(HANDLES_FIRST, handle + 1, 2 * len(self._ids)) - len(self._ids)
            self._ids += [""] * more
            self._tickets = self._tickets + array("q", bytes(8 * more))
        if self._ids[handle] == request_id:
            return
        self.unbind(request_id)
        before = self._ids[handle]
        if before:
            self.unbind(before)
        self._ids[handle], self._handles[request_id] = request_id, handle
        self._tickets[handle] = UNBOUND

    def unbind(self, request_id: str) -> None:
        """No handle stands for this request any more."""
        handle = self._handles.pop(request_id, None)
        if handle is not None:
            self._ids[handle], self._tickets[handle] = "", UNBOUND
            self._estimated.discard(request_id)

    def handle_of(self, request_id: str) -> int:
        """The handle of a request; `NO_HANDLE` where it has none."""
        return self._handles.get(request_id, NO_HANDLE)

    def note_estimate(self, request_id: str, *, estimated: bool) -> None:
        """What is said next by the request's handle is an estimate, or is not."""
        if estimated:
            self._estimated.add(request_id)
        else:
            self._estimated.discard(request_id)

    def is_estimated(self, request_id: str) -> bool:
        """Whether the last report of a request with a handle said that it estimates."""
        return request_id in self._estimated

    def id_of(self, handle: int) -> str:
        """The request that a handle stands for; empty where it is not bound."""
        return self._ids[handle] if 0 <= handle < len(self._ids) else ""

    def set_ticket(self, handle: int, ticket: int = UNBOUND) -> None:
        """Let what comes next by this handle pass with a ticket; without one, nothing does."""
        self._tickets[handle] = ticket

    def ticket_of(self, handle: int) -> int:
        """What lets entries by a handle, which is bound, pass."""
        return self._tickets[handle]

    def advance(
        self, running: RunningCounts, columns: WireColumns, is_kept_out: Callable[["Request"], bool] | None = None
    ) -> Advance:
        """Take in what needs no answer: more output within the quiet part of a grant, and no more than before.

        `is_kept_out`: of which requests every entry is looked at all the same. The columns are of one length.
        """
        handles = np.array(columns.handles, np.int64)
        output = np.array(columns.output_tokens, np.int64)
        said = np.array(columns.reasoning_tokens, np.int64) if columns.reasoning_tokens else None
        count, follows = len(handles), handles[1:] > handles[:-1]
        if not (count and len(running.lines) and follows.all()):
            # Two entries of one request can only be taken one after the other.
            return Advance(
                False, False, 0, _entries(np.arange(count), handles, output, said, [True, *follows.tolist()])
            )
        tickets = self._tickets_of(handles)
        slots = tickets & SLOT_MASK
        lines = np.frombuffer(running.lines, np.int64).reshape(-1, LINE)
        taken = lines.take(slots, axis=0)
        before = taken[:, TOTAL]
        reasoning = taken[:, REASONING] if said is None else said
        total = output + reasoning
        has_grown = total > before
        passes = (taken[:, TICKET] == tickets) & (total <= taken[:, QUIET]) & (output >= 0)
        if said is not None:
            passes &= (said >= 0) & ((total != before) | (said == taken[:, REASONING]))
        if is_kept_out is not None:
            _keep_out(passes, np.flatnonzero(passes), slots, running, is_kept_out)
        changed = passes & has_grown
        if all_changed := bool(changed.all()):
            grown, total_now, reasoning_now = slots, total, said
        else:
            grown, total_now = slots[changed], total[changed]
            reasoning_now = said[changed] if said is not None else None
        lines[grown, TOTAL] = total_now
        if reasoning_now is not None:
            lines[grown, REASONING] = reasoning_now
        dirty = np.frombuffer(running.dirty, np.uint8)
        dirty[grown] = 1
        if all_changed:
            return Advance(True, False, 0, [])
        # That nothing is generated yet says all the same that the input was taken in.
        _keep_out(passes, np.flatnonzero(passes & (total == 0)), slots, running, _has_unsaid_input)
        again = passes & ~has_grown
        repeated = slots[again]
        left = np.flatnonzero(~passes)
        return Advance(
            len(grown) > 0,
            bool(dirty[repeated].any()),
            int(taken[:, PACKED][again].max(initial=0)),
            _entries(left, handles, output, said) if len(left) else [],
        )

    def _tickets_of(self, handles: Ints) -> Ints:
        tickets = np.frombuffer(self._tickets, np.int64)
        if handles[0] >= 0 and handles[-1] < len(tickets):
            return tickets[handles]
        found = np.zeros(len(handles), np.int64)
        is_known = (handles >= 0) & (handles < len(tickets))
        found[is_known] = tickets[handles[is_known]]
        return found


def _keep_out(
    passes: "np.ndarray[tuple[int], np.dtype[np.bool]]",
    positions: Ints,
    slots: Ints,
    running: RunningCounts,
    is_kept_out: Callable[["Request"], bool],
) -> None:
    for position in positions.tolist():
        request = running.requests[slots[position]]
        if request is None or is_kept_out(request):
            passes[position] = False


def _has_unsaid_input(request: "Request") -> bool:
    """Whether its input is known only as it was authorised, which is no usage yet."""
    return request.running is not None and request.running.input_class(request.slot) > request.tally.input[1]


def _entries(
    positions: Ints, handles: Ints, output: Ints, said: Ints | None, follows: Sequence[bool] | None = None
) -> list[Entry]:
    """Entries of a message, as Python has them."""
    chosen = positions.tolist()
    reasoning = said[positions].tolist() if said is not None else [None] * len(chosen)
    follow = [True] * len(chosen) if follows is None else follows
    return list(map(Entry, chosen, handles[positions].tolist(), output[positions].tolist(), reasoning, follow))
