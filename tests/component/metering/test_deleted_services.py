"""Requests of services that are deleted while they run, or before they finish."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig, Status
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_money

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def test_what_runs_when_its_service_is_deleted_is_still_booked(fleet: Fleet, client: Client) -> None:
    """Under the uid, and with the debt, that it began with."""
    config = with_money(fleet, 100_000)
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    fleet.control.put(ServiceConfig(config.name, Status.DELETED))
    fleet.run(ms=20)
    client.say(report(FINISH, "r1", Counts(100, output=5_000), want_receipt=True))
    fleet.run(seconds=6)
    decision = client.said(2)
    assert decision is not None
    assert decision.receipt is not None
    assert decision.receipt.billed.total == 5_100
    assert decision.receipt.debt_nanos == decision.receipt.overrun_tokens > 0
    refused = client.say(report(AUTHORIZE, "r2", Counts(1)))
    assert refused is not None
    assert refused.reason is Reason.UNKNOWN_SERVICE


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_finish_of_a_deleted_service_is_recorded_and_nobodys_debt(node: str) -> None:
    """Nobody authorised it: it is unfunded, and its receipt says so. Progress is told that there is no service."""
    fleet = Fleet("a", "b")
    config = with_money(fleet, 100_000)
    Client(fleet["a"]).say(report(AUTHORIZE, "r0", Counts(1)))
    fleet.control.put(replace(config, status=Status.DELETED, postpaid_pays=False, debt_allowed=False))
    fleet.run(ms=400)
    client = Client(fleet[node])
    for want_receipt in (True, False):
        client.say(report(FINISH, f"r{want_receipt}", Counts(100, output=5), want_receipt=want_receipt))
        fleet.run(seconds=6)
        client.hear()
        assert client.durable == client.sequence
    (said,) = client.decisions
    decision = said[1]
    assert decision.allowed
    assert decision.receipt is not None
    assert (decision.receipt.unfunded.total, decision.receipt.debt_nanos) == (105, 0)
    records = [record for record in fleet.database.requests.values() if record.request_id != "r0"]
    assert [record.receipt.unfunded.total for record in records] == [105, 105]
    refused = client.say(report(PROGRESS, "r2", Counts(1)))
    fleet.run(ms=400)
    refused = client.said(client.sequence)
    assert refused is not None
    assert refused.reason is Reason.UNKNOWN_SERVICE


def test_what_moves_when_its_service_is_deleted_is_paid_as_it_was_authorised() -> None:
    """Also on a node that hears of the service only now."""
    fleet = Fleet("a", "b")
    config = with_money(fleet, 100_000)
    first = Client(fleet["a"])
    decision = first.say(report(AUTHORIZE, "r1", Counts(100)))
    assert decision is not None
    assert decision.grant is not None
    first.close()
    fleet.run(ms=400)
    fleet.control.put(replace(config, status=Status.DELETED, postpaid_pays=False, debt_allowed=False))
    output = decision.grant.output_ceiling_tokens - 9
    second = Client(fleet["b"])
    second.say(report(FINISH, "r1", Counts(100, output=output), resume=decision.grant.resume, want_receipt=True))
    fleet.run(seconds=80)
    second.hear()
    assert second.durable == 1
    assert not any(decision.reason is not None for _, decision in second.decisions)
    receipts = [record.receipt for record in fleet.database.requests.values()]
    assert sum(receipt.billed.total for receipt in receipts) == 100 + output
    assert not any(receipt.debt_nanos or receipt.unfunded.total for receipt in receipts)
