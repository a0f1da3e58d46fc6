"""Bugs planted in how usage is recorded with the team that used it."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from metering_service.domain.revival import revive
from metering_service.usecases.commits import write_buffer
from metering_service.usecases.reports import handover
from tests.simulation.planting import mutation


@mutation
def sums_of_the_present_team() -> AbstractContextManager[Any]:
    """What is booked is summed for the team that the service has now, not for the one on the record."""
    real = write_buffer.WriteBuffer.put_booking

    def put_booking(self: Any, service: Any, its: Any, booked: Any) -> None:
        add = self._add_to_totals
        with patch.object(self, "_add_to_totals", lambda key, of: add(key._replace(team=service.team), of)):
            real(self, service, its, booked)

    return patch.object(write_buffer.WriteBuffer, "put_booking", put_booking)


@mutation
def team_is_lost_on_record() -> AbstractContextManager[Any]:
    """What is brought back from its record has no team any more."""

    def without_team(record: Any) -> Any:
        return revive(record._replace(team=""))

    return patch.object(handover, "revive", without_team)
