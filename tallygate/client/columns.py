"""Progress in columns: the handles of the present stream, and the requests whose counts leave as entries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Final

from tallygate.client.bounds import TOKENS_MAX
from tallygate.client.state import AUTHORIZE, PROGRESS, RequestState
from tallygate.metering.v1 import metering_service_pb2, report_pb2

_BY_HANDLE: Final = attrgetter("entry_handle")


class Columns:
    """Binds requests to handles where the node offers any, and puts those with progress into a message's columns.

    Everything here runs on the event loop, but for `mark`, which is called where tokens are counted. Marks are only
    added at the end of one list and taken from its front, and a mark is cleared before the count is read: a count that
    grows after that finds its request unmarked, and marks it again.
    """

    def __init__(self) -> None:
        self.handles_max = 0
        """The greatest handle; 0 while this stream's node has offered none."""
        self.marked: list[RequestState] = []
        """Requests with progress to send; each once, unless two threads mark it in the same moment."""
        self.is_woken = False
        """Whether the stream's writer will look at the marks without being woken."""
        self.wake: Callable[[], None] = lambda: None
        """Wakes the stream's writer; called from the thread that counts."""
        self._bound: list[RequestState | None] = [None]
        """By handle; they count from 1."""
        self._free: list[int] = []
        self._unanswered: deque[RequestState] = deque()

    def mark(self, state: RequestState) -> None:
        """Has a request's counts sent: those that it has when the message is made."""
        if not state.is_marked:
            state.is_marked = True
            self.marked.append(state)
            if not self.is_woken:
                self.wake_writer()

    def wake_writer(self) -> None:
        """Wakes the stream's writer, once for all that is marked before it looks."""
        self.is_woken = True
        self.wake()

    def restart(self) -> None:
        """Forgets handles and marks of a stream that broke; the caller has all requests reported on the next one."""
        self.handles_max = 0
        del self._bound[1:]
        self._free.clear()
        self._unanswered.clear()
        marks = len(self.marked)
        for state in self.marked[:marks]:
            state.is_marked = False
        del self.marked[:marks]

    def bind(self, state: RequestState, report: report_pb2.TokenReport, sequence: int) -> None:
        """Binds a request by the report that is about to be sent, if a handle is to be had.

        A whole answer gets none with its authorisation: it reports no progress unless somebody asks for that.
        """
        may_bind = report.phase == PROGRESS or (report.phase == AUTHORIZE and not state.whole)
        if state.handle or not may_bind:
            return
        if self._free:
            handle = self._free.pop()
            self._bound[handle] = state
        elif len(self._bound) <= self.handles_max:
            handle = len(self._bound)
            self._bound.append(state)
        else:
            return
        report.handle = state.handle = handle
        state.bound_sequence = sequence
        self._unanswered.append(state)

    def advance(self, answered_through: int) -> None:
        """Lets entries speak of requests whose binding is answered."""
        unanswered = self._unanswered
        while unanswered and unanswered[0].bound_sequence <= answered_through:
            state = unanswered.popleft()
            # It has none if it was denied, and forgotten, before.
            state.is_bound = state.handle > 0
            state.choose_road()

    def release(self, state: RequestState) -> None:
        """Takes back the handle of a request that ended, once the node has answered all that was said of it."""
        if state.handle:
            self._bound[state.handle] = None
            self._free.append(state.handle)
            state.forget_handle()

    def find(self, handle: int, sequence: int) -> RequestState | None:
        """The request of which the entry of this number spoke by this handle, if it is still known."""
        state = self._bound[handle] if 0 <= handle < len(self._bound) else None
        return state if state is not None and state.bound_sequence < sequence else None

    def take(self, message: metering_service_pb2.MeterRequest, entries_max: int) -> tuple[int, list[RequestState]]:
        """Puts marked requests into a message's columns, numbered from its `first_sequence` on.

        Returns:
            The number of entries; and the requests whose progress has to go by report.
        """
        batch = self.marked[:entries_max]
        del self.marked[: len(batch)]
        batch.sort(key=_BY_HANDLE)
        handles: list[int] = []
        output: list[int] = []
        all_reasoning: list[int] = []
        by_report: list[RequestState] = []
        sequence, previous, says_reasoning = message.first_sequence - 1, 0, False
        for state in batch:
            state.is_marked = False
            handle, generated, reasoning = state.entry_handle, state.generated_tokens, state.reasoning_tokens
            if handle <= previous or generated > TOKENS_MAX:
                # Of one that is here twice, the count has just been said.
                if handle != previous or not handle:
                    by_report.append(state)
                continue
            previous = handle
            sequence += 1
            state.last_sequence = sequence
            state.reported_tokens = generated
            handles.append(handle)
            # A thread may be between counting reasoning and counting it as generated.
            output.append(generated - reasoning if generated > reasoning else 0)
            all_reasoning.append(reasoning)
            if reasoning != state.said_reasoning_tokens:
                says_reasoning = True
                state.note_reasoning(reasoning)
        if handles:
            columns = message.columns
            columns.handles.extend(handles)
            columns.output_tokens.extend(output)
            if says_reasoning:
                columns.reasoning_tokens.extend(all_reasoning)
        return len(handles), [state for state in by_report if state.may_progress]
