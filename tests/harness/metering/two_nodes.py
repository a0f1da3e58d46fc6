"""Two nodes over one database, and what was booked there: for tests of requests that move."""

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Grant
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import UID, with_money

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


def two_nodes() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    fleet = Fleet("a", "b")
    with_money(fleet, BALANCE)
    for name in ("a", "b"):
        client = Client(fleet[name])
        client.say(report(AUTHORIZE, f"warm-{name}", max_output_tokens=0))
        client.say(report(FINISH, f"warm-{name}"))
    return fleet


def granted(decision: Decision | None) -> Grant:
    """The grant of a decision that must have one."""
    assert decision is not None
    assert decision.grant is not None, decision
    return decision.grant


def booked(fleet: Fleet, request_id: str = "r1") -> int:
    """Tokens booked of a request; the same in its records and, for lack of other requests, in the aggregates."""
    fleet.run(seconds=14)
    records = [record for record in fleet.database.requests.values() if record.request_id == request_id]
    assert all(record.state is not RequestState.OPEN for record in records), records
    tokens = sum(record.receipt.usage.total for record in records)
    assert sum(cell.usage.total for cell in fleet.database.aggregates.values()) == tokens
    assert sum(record.receipt.cost_nanos for record in records) == tokens
    pot = fleet.control.pots[fleet.control.key(UID, PotKind.MONEY)]
    assert (pot.leased_units, pot.available_units) == (0, BALANCE - tokens)
    assert fleet.control.spent[fleet.control.key(UID, PotKind.MONEY)] == tokens
    assert sum(lease.consumed_units for lease in fleet.database.leases.values()) == tokens
    return tokens


def unwritten_successor(fleet: Fleet) -> tuple[Grant, Grant]:
    """A request that went from a to b, which is lost before it wrote its part; a's has timed out. Both grants."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    first.close()
    fleet.run(seconds=1)
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))
    fleet["b"].look()
    moved = granted(second.said(1))
    fleet.crash("b")
    fleet.run(seconds=100)
    return grant, moved
