"""Bugs planted in how answers that come as a whole are held."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from metering_service.usecases.reports import admission, denial, timeouts, whole_answers
from tests.simulation.planting import mutation


@mutation
def cut_down_by_what_others_hold() -> AbstractContextManager[Any]:
    """A whole answer is lowered to what is free, though others merely hold the rest, or have it on lease."""

    def may_come(service: Any, kind: Any) -> int:
        free_units, _ = denial.remaining(service, kind, 0)
        return free_units

    return patch.object(whole_answers, "_may_come", may_come)


@mutation
def whole_answer_granted_as_streamed() -> AbstractContextManager[Any]:
    """The hold of a whole answer is as large as a streamed grant, and is renewed."""
    return patch.object(admission, "_begin_whole", admission._begin)


@mutation
def hold_forgotten_by_the_time_out() -> AbstractContextManager[Any]:
    """A request that is held for longer than the resume window times out with it."""

    def somebody(_parts: Sequence[Any], _first: str) -> list[str]:
        return ["as if it went on elsewhere"]

    return patch.object(timeouts, "later_parts", somebody)
