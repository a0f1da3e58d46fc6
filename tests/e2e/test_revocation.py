"""Revoked tokens at running nodes: they open nothing more, and what they had opened ends."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tallygate._wire.failures import decode_failure
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
)
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.guarded import GuardedFleet, guarded_fleet
from tests.harness.programs.one_service import SERVICE, enable_at
from tests.harness.programs.programs import Program
from tests.harness.programs.requests import decided

NODES, ROUNDS = 3, 20


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[GuardedFleet]:
    async with guarded_fleet(tmp_path) as fleet:
        await enable_at(fleet.control.address, fleet.operator)
        for number in range(NODES):
            await fleet.start_node(f"node-{number}")
        yield fleet


class Caller:
    """An inference server with a token: a stream to one node, and calls beside it."""

    def __init__(self, node: Program, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(node.address)
        self._stub = metering_service_pb2_grpc.MeteringServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._stream: Any = None

    async def open(self, request_id: str) -> None:
        """Authorises once by call, and reports once on the stream, until that is answered.

        By call first: what the node cannot prove now it says there, where it costs no stream.
        """
        decision = await decided(lambda: self.authorise(f"{request_id}-call"))
        assert decision.verdict == decision_pb2.VERDICT_ALLOW, decision
        self._stream = self._stub.Meter(metadata=self._metadata)
        await self._stream.write(metering_service_pb2.MeterRequest(first_sequence=1, reports=[report(request_id)]))
        answered = metering_service_pb2.MeterResponse()
        while answered.answered_through < 1:
            answered = await self._stream.read()

    async def authorise(self, request_id: str) -> decision_pb2.Decision:
        request = metering_service_pb2.AuthorizeRequest(report=report(request_id))
        decision: decision_pb2.Decision = (await self._stub.Authorize(request, metadata=self._metadata)).decision
        return decision

    async def end_s(self, since_s: float) -> float:
        """How long after that moment the stream had ended and calls were refused, as revoked."""
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while True:
                await self._stream.read()
        assert decode_failure(ended.value).reason == "CREDENTIAL_REVOKED"
        end_s = time.monotonic() - since_s
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.authorise("late")
        assert decode_failure(refused.value).reason == "CREDENTIAL_REVOKED"
        return end_s

    async def close(self) -> None:
        await self._channel.close()


def report(request_id: str) -> report_pb2.TokenReport:
    return report_pb2.TokenReport(request_id=request_id, service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE)


async def test_a_revoked_token_opens_nothing_more_on_any_node(fleet: GuardedFleet) -> None:
    """On three nodes, twenty times: each open stream ends, and no call passes after that; another token goes on."""
    other = [Caller(node, (await fleet.token()).text) for node in fleet.nodes]
    await asyncio.gather(*(caller.open(f"other-{number}") for number, caller in enumerate(other)))
    ends_s: list[float] = []
    for turn in range(ROUNDS):
        made = await fleet.token()
        callers = [Caller(node, made.text) for node in fleet.nodes]
        await asyncio.gather(*(caller.open(f"r{turn}-{number}") for number, caller in enumerate(callers)))
        await fleet.revoke(made)
        since_s = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            ends_s += await asyncio.gather(*(caller.end_s(since_s) for caller in callers))
        await asyncio.gather(*(caller.close() for caller in callers))
    assert len(ends_s) == NODES * ROUNDS
    figures = f"revoked after {statistics.median(ends_s) * 1000:.0f} ms (median), {max(ends_s) * 1000:.0f} ms (most)"
    print(figures)  # noqa: T201  # by `pytest -s`
    for number, caller in enumerate(other):
        decision = await decided(partial(caller.authorise, f"still-{number}"))
        assert decision.verdict == decision_pb2.VERDICT_ALLOW, decision
        await caller.close()
