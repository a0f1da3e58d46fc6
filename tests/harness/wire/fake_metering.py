"""A metering node that does what a test tells it to, on a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration

from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    receipt_pb2,
    report_pb2,
)
from tests.harness.client.stream_model import Heard, StreamModel

Request = metering_service_pb2.MeterRequest
Response = metering_service_pb2.MeterResponse


@dataclass(eq=False)
class FakeStream:
    """One stream as the node sees it."""

    model: StreamModel
    messages: list[Request] = field(default_factory=list)
    reports: list[report_pb2.TokenReport] = field(default_factory=list)
    """All reports so far; for each entry of columns the report that it stands for."""
    out: asyncio.Queue[Response | None] = field(default_factory=asyncio.Queue)

    def take(self, message: Request) -> list[Heard]:
        """Notes a message. AssertionError where it breaks a rule of the contract."""
        self.messages.append(message)
        heard = self.model.take(message)
        self.reports.extend(each.report for each in heard)
        return heard

    def stop(self, request_id: str, reason: decision_pb2.DecisionReason.ValueType) -> None:
        """An unasked denial."""
        decision = decision_pb2.Decision(
            request_id=request_id,
            verdict=decision_pb2.VERDICT_DENY,
            reason=reason,
            message="Stop now.",
        )
        self.out.put_nowait(Response(decisions=[decision]))

    def hang_up(self) -> None:
        """Ends the stream from the node's side."""
        self.out.put_nowait(None)


class FakeMetering(metering_service_pb2_grpc.MeteringServiceServicer):
    """Grants `step` tokens, as many again past half of the ceiling up to `limit`, and does as its attributes say."""

    def __init__(self) -> None:
        self.step = 100
        self.limit = 1_000_000
        self.valid_for_s = 20
        self.muted = False
        self.durable = True
        self.break_every = 0
        self.handles_max = 65_536
        """What streams that begin now offer; 0 for a node without columns."""
        self.wrong: list[AssertionError] = []
        """Rules of the contract that a client broke."""
        self.taken = 0
        self.committed: dict[str, report_pb2.TokenReport] = {}
        self.denials: dict[str, decision_pb2.DecisionReason.ValueType] = {}
        self.denies_all: decision_pb2.DecisionReason.ValueType | None = None
        self.rate: decision_pb2.RateStatus | None = None
        """Figures of a rate rule that go with every decision on an authorisation."""
        self.services: dict[bytes, str] = {}
        """Services to which API keys lead, by their SHA-256; a request with any other key and no service is denied."""
        self.streams: list[FakeStream] = []
        self.ceilings: dict[str, int] = {}
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def reports(self) -> list[report_pb2.TokenReport]:
        """All reports of all streams."""
        return [report for stream in self.streams for report in stream.reports]

    async def Authorize(self, request: object, context: object) -> metering_service_pb2.AuthorizeResponse:
        """Not part of the stream."""
        raise NotImplementedError

    async def Report(self, request: object, context: object) -> metering_service_pb2.ReportResponse:
        """Not part of the stream."""
        raise NotImplementedError

    async def Meter(
        self,
        request_iterator: AsyncIterator[Request],
        context: grpc.aio.ServicerContext[Request, Response],
    ) -> AsyncIterator[Response]:
        """Answers each message at once."""
        stream = FakeStream(StreamModel(self.handles_max))
        self.streams.append(stream)

        async def read() -> None:
            async for message in request_iterator:
                try:
                    heard = stream.take(message)
                except AssertionError as wrong:
                    self.wrong.append(wrong)
                    break
                self.taken += bool(heard)
                if self.break_every and heard and self.taken % self.break_every == 0:
                    break
                if not self.muted:
                    stream.out.put_nowait(self._answer(stream, heard))
            stream.hang_up()

        reader = asyncio.create_task(read())
        try:
            while (response := await stream.out.get()) is not None:
                yield response
        finally:
            reader.cancel()

    def _answer(self, stream: FakeStream, heard: list[Heard]) -> Response:
        through = stream.model.last_sequence
        response = Response(
            answered_through=through,
            durable_through=through if self.durable else 0,
            grants_valid_for=Duration(seconds=self.valid_for_s),
        )
        if not stream.model.offered:
            response.columns_handles_max = self.handles_max
        stream.model.answer(through)
        for each in heard:
            report = each.report
            if self.durable and report.phase == report_pb2.REPORT_PHASE_FINISH:
                self.committed[report.request_id] = report
            decision = self._decide(report)
            if decision is None:
                continue
            if decision.verdict != decision_pb2.VERDICT_ALLOW:
                stream.model.denied.add(report.request_id)
            elif each.handle and not decision.grant.is_final:
                response.grants.sequences.append(each.sequence)
                response.grants.handles.append(each.handle)
                response.grants.output_ceiling_tokens.append(decision.grant.output_ceiling_tokens)
                response.grants.resume.append(decision.grant.resume)
                continue
            decision.sequence = each.sequence
            decision.request_id = report.request_id
            response.decisions.append(decision)
        return response

    def _decide(self, report: report_pb2.TokenReport) -> decision_pb2.Decision | None:
        reason = self.denials.get(report.request_id, self.denies_all)
        if reason is not None:
            return decision_pb2.Decision(
                verdict=decision_pb2.VERDICT_DENY,
                reason=reason,
                message="It may not.",
                retryable=True,
                retry_after=Duration(nanos=250_000_000),
                rate=self.rate,
            )
        if report.phase == report_pb2.REPORT_PHASE_FINISH:
            if report.want_receipt and self.durable:
                receipt = receipt_pb2.Receipt(usage=report.usage, billed=report.usage, cost_nanos=7)
                return decision_pb2.Decision(verdict=decision_pb2.VERDICT_ALLOW, receipt=receipt)
            return None
        chosen = "" if report.service else self.services.get(report.credential_sha256, "")
        if report.phase == report_pb2.REPORT_PHASE_AUTHORIZE and not (report.service or chosen):
            return decision_pb2.Decision(
                verdict=decision_pb2.VERDICT_DENY,
                reason=decision_pb2.DECISION_REASON_CREDENTIAL_INVALID,
                message="The key opens nothing.",
            )
        ceiling = self.ceilings.get(report.request_id, 0)
        if 2 * report.usage.output_tokens < ceiling:
            return None
        ceiling = self.ceilings[report.request_id] = min(self.limit, ceiling + self.step)
        grant = decision_pb2.Grant(
            output_ceiling_tokens=ceiling,
            valid_for=Duration(seconds=self.valid_for_s),
            is_final=ceiling == self.limit,
            resume=f"{report.request_id}@{ceiling}".encode(),
        )
        return decision_pb2.Decision(verdict=decision_pb2.VERDICT_ALLOW, grant=grant, rate=self.rate, service=chosen)


@asynccontextmanager
async def serving(fake: FakeMetering, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[FakeMetering]:
    """Serves a node on its port, a free one the first time."""
    server = grpc.aio.server()
    metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(fake, server)
    address = f"127.0.0.1:{fake.port}"
    fake.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(0)
