"""A simulated inference server against a node that does what the test says: it obeys its grants."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tallygate.client import ClientSettings, MeteringClient
from tallygate.metering.v1 import decision_pb2, report_pb2
from tallygate.replay.pace import Pace
from tallygate.replay.server import SimulatedServer
from tallygate.replay.tally import Tally
from tallygate.replay.trace import Trace
from tests.harness.client.patient import PATIENT
from tests.harness.wire.fake_metering import FakeMetering, serving

SERVICE = "accounts/acme/services/chat"


@pytest.fixture
async def node() -> AsyncIterator[FakeMetering]:
    """One metering node."""
    async with serving(FakeMetering()) as fake:
        yield fake


async def serve(address: str, trace: Trace, *, report_every: int, settings: ClientSettings | None = None) -> Tally:
    """Runs a workload against a node."""
    tally = Tally()
    async with MeteringClient([address], settings=settings or PATIENT) as client:
        server = SimulatedServer(
            client, service=SERVICE, run_id="run-", report_every=report_every, pace=Pace(None, lambda: 0), tally=tally
        )
        await server.run(trace.rows(), in_flight=4)
    return tally


def workload(*generated: int) -> Trace:
    """Requests of 100 context tokens each."""
    trace = Trace()
    for tokens in generated:
        trace.append(0, 100, tokens)
    return trace


async def test_every_token_is_reported_and_counted(node: FakeMetering) -> None:
    """An authorisation and a finish a request; of a count for each token the last that was due when a message left."""
    tally = await serve(node.address, workload(1, 10, 250, 1_000), report_every=1)

    assert (tally.allowed, tally.durable, tally.cut_short) == (4, 4, 0)
    assert tally.sent.output == tally.acknowledged.output == 1_261
    assert tally.receipts.tokens.total == 1_661
    phases = [report.phase for report in node.reports]
    assert phases.count(report_pb2.REPORT_PHASE_AUTHORIZE) == phases.count(report_pb2.REPORT_PHASE_FINISH) == 4
    assert 4 < phases.count(report_pb2.REPORT_PHASE_PROGRESS) <= 1_261


@pytest.mark.parametrize("report_every", [1, 7, 1_000])
async def test_nothing_is_generated_beyond_a_final_grant(node: FakeMetering, report_every: int) -> None:
    """However seldom it reports, the server stops at the ceiling and finishes with what it had."""
    node.limit = 333
    tally = await serve(node.address, workload(1_000), report_every=report_every)

    assert tally.sent.output == 333
    assert tally.cut_short == 1
    assert max(report.usage.output_tokens for report in node.reports) == 333


async def test_a_denied_request_sends_no_finish(node: FakeMetering) -> None:
    """What was not allowed to start generates nothing and says nothing more."""
    node.denials["run-00000001"] = decision_pb2.DECISION_REASON_TRIAL_INSUFFICIENT
    tally = await serve(node.address, workload(5, 5, 5), report_every=5)

    assert tally.denials == {"TRIAL_INSUFFICIENT": 1}
    assert (tally.allowed, tally.finished) == (2, 2)
    denied = [report for report in node.reports if report.request_id == "run-00000001"]
    assert [report.phase for report in denied] == [report_pb2.REPORT_PHASE_AUTHORIZE]


async def test_a_server_that_nobody_answers_gives_up() -> None:
    """A long workload does not wait for its end where there is nobody."""
    settings = ClientSettings(answer_ms=20)
    tally = await serve("127.0.0.1:1", workload(*[1] * 1_000), report_every=1, settings=settings)

    assert "127.0.0.1:1" in tally.gave_up
    assert tally.begun < 30
    assert len(tally.withdrawn) == tally.denials["UNREACHABLE"] > 0
