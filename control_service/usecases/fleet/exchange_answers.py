"""Answers to statements: what a lease has after an exchange, and what its pot could still give."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from control_service.domain.bucket import Bucket
from control_service.domain.lease_round import StatementWork
from control_service.domain.pot import Pot
from control_service.domain.rate_pot import RatePot
from control_service.domain.recall import Availability, Shortfall
from control_service.usecases.fleet.exchange_messages import LeaseAnswer
from control_service.usecases.fleet.lease_settlement import Settlement
from control_service.usecases.fleet.lease_statement import LeaseStatement

_log = structlog.get_logger(__name__)


def answer_of(
    stated: LeaseStatement, work: StatementWork | None, settlement: Settlement, shortfalls: Mapping[str, Shortfall]
) -> LeaseAnswer:
    """The answer to a statement whose transaction is committed."""
    if work is None:
        _log.warning(
            "statement_not_taken",
            node=stated.node,
            service=stated.service_name,
            limit=None if stated.limit is None else stated.limit.limit_uid,
            lease=stated.statement.lease_id,
        )
        return LeaseAnswer(stated.statement.lease_id, granted_units=0, availability=Availability.EMPTY, closed=True)
    lease = work.lease
    pot = settlement.pots[lease.pot]
    return LeaseAnswer(
        lease_id=lease.lease_id,
        granted_units=lease.granted_units,
        availability=_availability(work, shortfalls),
        available_units=_available_units(pot) if work.pays else 0,
        leased_elsewhere_units=pot.leased_units - lease.outstanding_units,
        accrues_after_us=_accrues_after_us(work, pot, shortfalls.get(lease.lease_id)),
        closed=lease.closed,
    )


def _available_units(pot: Pot) -> int:
    """Units that the pot could still grant; of a rate rule, of which nodes work out what accrues, its debt as well."""
    return pot.available_units if isinstance(pot, RatePot) else pot.grantable_units


def _accrues_after_us(work: StatementWork, pot: Pot, shortfall: Shortfall | None) -> int | None:
    """The time until there is what a lease falls short of: of a rate what accrues, of slots what silent nodes have."""
    if isinstance(pot, (Bucket, RatePot)):
        missing_units = work.statement.needed_units - work.lease.free_units
        return pot.accrues_after_us(missing_units) if work.falls_short else None
    return shortfall.returns_after_us if shortfall is not None else None


def _availability(work: StatementWork, shortfalls: Mapping[str, Shortfall]) -> Availability:
    shortfall = shortfalls.get(work.lease.lease_id)
    if shortfall is not None:
        return shortfall.availability
    return Availability.EMPTY if work.falls_short else Availability.AVAILABLE
