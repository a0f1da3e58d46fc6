"""An inference server that shows an end user's key by its hash, and learns from the decision where that leads."""

import asyncio
import hashlib
import time
from itertools import count
from typing import Any, Final

import grpc

from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc, report_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb
from tests.harness.programs.requests import answered

INVALID: Final = decision_pb2.DECISION_REASON_CREDENTIAL_INVALID
POLL_S: Final = 0.005


class KeyCaller:
    """At one node: a stream with a request that runs, and calls beside it. `finished`: number of requests."""

    def __init__(self, channel: grpc.aio.Channel, secret: str, model: str, run: str) -> None:
        self._stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        self._stream: Any = None
        self._sha256, self._model = hashlib.sha256(secret.encode()).digest(), model
        self._ids = (f"{run}-{number}" for number in count())
        self._running = next(self._ids)
        self._service, self._sequence = "", 0
        self.finished = 0

    async def authorise(self) -> decision_pb2.Decision:
        """What becomes of another request, which names no service; one that is allowed ends at once."""
        report = self._first(next(self._ids))
        request = pb.AuthorizeRequest(report=report)
        decision: decision_pb2.Decision = (await answered(lambda: self._stub.Authorize(request))).decision
        if decision.verdict == decision_pb2.VERDICT_ALLOW:
            self._service = decision.service
            last = pb.ReportRequest(report=self._last(report.request_id))
            await answered(lambda: self._stub.Report(last))
            self.finished += 1
        return decision

    async def open(self) -> str:
        """The service that the key leads to, once a call passes, and a request runs on the stream.

        Raises:
            RuntimeError: What was refused will not pass later either.
        """
        while not _is_allowed(decision := await self.authorise()):
            await _told_to_wait(decision)
        self._stream = self._stub.Meter()
        await self._say(self._first(self._running))
        while not _is_allowed(decision := await self._said()):
            await _told_to_wait(decision)
            await self._say(self._first(self._running))
        return self._service

    async def until_stopped(self) -> float:
        """The moment at which the request that runs was told to stop, for its key; it then ends."""
        decision = await self._said()
        now_s = time.monotonic()
        _require_invalid(decision)
        await self._say(self._last(self._running))
        heard = pb.MeterResponse()
        while heard.durable_through < self._sequence:
            heard = await self._read()
        self.finished += 1
        return now_s

    async def until_refused(self) -> float:
        """The moment at which a call was refused, for its key."""
        while (decision := await self.authorise()).verdict == decision_pb2.VERDICT_ALLOW or decision.retryable:  # noqa: ASYNC110  # a node does not say
            await asyncio.sleep(POLL_S)
        now_s = time.monotonic()
        _require_invalid(decision)
        return now_s

    async def _say(self, report: report_pb2.TokenReport) -> None:
        self._sequence += 1
        await self._stream.write(pb.MeterRequest(first_sequence=self._sequence, reports=[report]))

    async def _said(self) -> decision_pb2.Decision:
        """The next decision on the request that runs."""
        while True:
            for decision in (await self._read()).decisions:
                if decision.request_id == self._running:
                    return decision

    async def _read(self) -> pb.MeterResponse:
        answer: Any = await self._stream.read()
        if answer is grpc.aio.EOF:
            raise RuntimeError("a stream ended")
        message: pb.MeterResponse = answer
        return message

    def _first(self, request_id: str) -> report_pb2.TokenReport:
        return report_pb2.TokenReport(
            request_id=request_id,
            phase=report_pb2.REPORT_PHASE_AUTHORIZE,
            credential_sha256=self._sha256,
            model=self._model,
        )

    def _last(self, request_id: str) -> report_pb2.TokenReport:
        return report_pb2.TokenReport(
            request_id=request_id, service=self._service, phase=report_pb2.REPORT_PHASE_FINISH
        )


async def _told_to_wait(decision: decision_pb2.Decision) -> None:
    await asyncio.sleep(max(POLL_S, decision.retry_after.ToMilliseconds() / 1_000))


def _is_allowed(decision: decision_pb2.Decision) -> bool:
    if decision.verdict != decision_pb2.VERDICT_ALLOW and not decision.retryable:
        raise RuntimeError(f"a key was refused: {decision.message}")
    return decision.verdict == decision_pb2.VERDICT_ALLOW


def _require_invalid(decision: decision_pb2.Decision) -> None:
    if decision.reason != INVALID:
        raise RuntimeError(f"a disabled key was refused otherwise: {decision.message or decision.reason}")
