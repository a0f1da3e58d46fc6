"""Bugs planted in progress in columns."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from metering_service.domain import handles, running_counts
from metering_service.domain.counts_page import SLOT_BITS
from tests.simulation.planting import mutation

_advance = handles.Handles.advance


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
