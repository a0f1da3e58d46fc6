"""Bugs planted in how counts rank, and in what becomes of what was estimated."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from metering_service.domain import booking, counts, payer_split, receipt, records, request, request_parts
from metering_service.domain.records import RequestState
from metering_service.usecases.upkeep import crash_recovery
from tests.simulation.planting import mutation

_tally_of = counts.Tally.of
_tally = records.RequestRecord.tally.fget  # type: ignore[attr-defined]  # mypy does not know that of a property


def _as_progress(tally: counts.Tally) -> counts.Tally:
    """The same counts, as if no finish had said them exactly."""
    return _tally_of(tally.counts, finish=False, estimated=tally.estimated)


@mutation
def an_exact_finish_does_not_lower() -> AbstractContextManager[Any]:
    """The greatest total of each class holds, whoever said it."""

    def of(said: Any, *, finish: bool, estimated: bool = False) -> counts.Tally:
        tally = _tally_of(said, finish=finish, estimated=estimated)
        return tally._replace(input=(False, *tally.input[1:]), output=(False, *tally.output[1:]))

    return patch.object(counts.Tally, "of", of)


@mutation
def an_estimated_finish_lowers() -> AbstractContextManager[Any]:
    """Every finish is taken for exact."""

    def of(said: Any, *, finish: bool, estimated: bool = False) -> counts.Tally:
        return _tally_of(said, finish=finish, estimated=estimated and not finish)

    return patch.object(counts.Tally, "of", of)


@mutation
def a_settled_receipt_is_lowered() -> AbstractContextManager[Any]:
    """An exact finish that comes after the settlement is booked, though it is less."""
    real = booking.next_receipt

    def next_receipt(part: request.Request) -> receipt.Receipt:
        before = part.receipt
        if before.revision and part.counts.total < before.usage.total:
            revision = before.revision + 1
            return payer_split.split(
                part.counts, part.held, part.price, debt_allowed=part.debt_allowed, revision=revision
            )
        return real(part)

    return patch.object(booking, "next_receipt", next_receipt)


@mutation
def exactness_is_not_recorded() -> AbstractContextManager[Any]:
    """What is read from the database ranks as progress: a larger estimate that comes late holds."""
    return patch.object(records.RequestRecord, "tally", property(lambda self: _as_progress(_tally(self))))


@mutation
def exactness_is_lost_in_recovery() -> AbstractContextManager[Any]:
    """What a lost node left is booked as it was estimated there, though its server has ended it for less elsewhere."""
    real = request_parts.final_tally

    def final_tally(tally: Any, part: str, parts: Any) -> Any:
        return real(tally, part, [each._replace(state=RequestState.TIMED_OUT, ranks=()) for each in parts])

    return patch.object(crash_recovery, "final_tally", final_tally)
