"""Bugs planted in progress in columns."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from metering_service.domain import handles, request, running_counts
from metering_service.domain.counts_page import SLOT_BITS
from metering_service.usecases import meter_stream, stream_columns
from metering_service.usecases.commits import write_buffer
from tallygate.metering.v1 import columns_pb2
from tests.simulation.planting import mutation

_advance = handles.Handles.advance
_admit = running_counts.RunningCounts.admit


@mutation
def an_entry_is_counted_twice() -> AbstractContextManager[Any]:
    """What an entry says is added to what was known."""

    def advance(self: Any, running: Any, columns: Any, *more: Any) -> Any:
        known = [
            running.lines[(self._tickets[handle] & ((1 << SLOT_BITS) - 1)) * running_counts.LINE + running_counts.TOTAL]
            if self.id_of(handle) and self._tickets[handle]
            else 0
            for handle in columns.handles
        ]
        output = [had + tokens for had, tokens in zip(known, columns.output_tokens, strict=True)]
        del columns.output_tokens[:]
        columns.output_tokens.extend(output)
        return _advance(self, running, columns, *more)

    return patch.object(handles.Handles, "advance", advance)


@mutation
def all_requests_of_a_slot_have_the_same_ticket() -> AbstractContextManager[Any]:
    """A handle stands for whoever has the slot of its request by now."""

    def admit(self: Any, slot: int, quiet_tokens: int) -> int:
        self._tickets = 0
        return int(_admit(self, slot, quiet_tokens))

    return patch.object(running_counts.RunningCounts, "admit", admit)


@mutation
def streams_share_their_handles() -> AbstractContextManager[Any]:
    """A handle outlives its stream, and is taken on every other one of the node."""
    real, shared = meter_stream.MeterStream.__init__, dict[Any, handles.Handles]()

    def init(self: Any, node: Any, *more: Any, **named: Any) -> None:
        with patch.object(meter_stream, "Handles", lambda: shared.setdefault(node, handles.Handles())):
            real(self, node, *more, **named)

    return patch.object(meter_stream.MeterStream, "__init__", init)


@mutation
def a_stopped_request_stays_on_the_fast_road() -> AbstractContextManager[Any]:
    """Progress of a request whose service is stopped passes up to what was granted, as if it were not."""
    return patch.object(request.Request, "leave_fast_road", lambda _self: None)


@mutation
def entries_pass_beyond_their_grant() -> AbstractContextManager[Any]:
    """What passes by columns is bound by a ceiling that no grant has."""
    return patch.object(
        running_counts.RunningCounts, "admit", lambda self, slot, quiet_tokens: _admit(self, slot, 8 * quiet_tokens)
    )


@mutation
def entries_are_not_marked() -> AbstractContextManager[Any]:
    """What an entry says waits for a checkpoint that does not have it."""

    def advance(self: Any, running: Any, *more: Any) -> Any:
        marks = bytes(running.dirty)
        advance = _advance(self, running, *more)
        running.dirty[:] = marks
        return advance

    return patch.object(handles.Handles, "advance", advance)


@mutation
def marks_of_a_checkpoint_are_all_taken_at_its_end() -> AbstractContextManager[Any]:
    """Counts that change while a checkpoint goes on lose their mark, though it may not have them."""
    real = running_counts.RunningCounts.pack_next

    def pack_next(self: Any, *more: int) -> Any:
        packed = real(self, *more)
        if not self.sweep_left:
            self.dirty[:] = bytes(len(self.dirty))
        return packed

    return patch.object(running_counts.RunningCounts, "pack_next", pack_next)


@mutation
def durable_once_gathered() -> AbstractContextManager[Any]:
    """A message is durable once a checkpoint has come to the end, though its last commit is not written yet."""

    def await_commit(_self: Any, callbacks: Any) -> None:
        for callback in list(callbacks):
            callback()

    return patch.object(write_buffer.WriteBuffer, "await_commit", await_commit)


@mutation
def a_refused_entry_ends_its_columns() -> AbstractContextManager[Any]:
    """Entries behind one whose handle is not bound are lost."""
    real = stream_columns.ColumnRoad.take

    def take(self: Any, columns: Any, *more: Any) -> Any:
        length = len(columns.handles)
        end = next((at + 1 for at, handle in enumerate(columns.handles) if not self._handles.id_of(handle)), length)
        kept = columns_pb2.ProgressColumns(handles=columns.handles[:end], output_tokens=columns.output_tokens[:end])
        return real(self, kept, *more)

    return patch.object(stream_columns.ColumnRoad, "take", take)
