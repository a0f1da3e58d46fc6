"""The Meter stream and its unary siblings."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import grpc
from typing_extensions import override

from metering_service.api.authenticator import require_unchanged, shown_by
from metering_service.api.codec import decode_any_report, decode_report, encode_decision_into
from metering_service.api.meter_counts import MeterCounts
from metering_service.api.meter_request import REPORTS_PER_MESSAGE_MAX, PartlyReadable, decode_meter_request
from metering_service.api.meter_response import encode_responses
from metering_service.domain.decision import Decision
from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.report import Phase, Report
from metering_service.usecases.meter_stream import MeterStream
from metering_service.usecases.node import Node
from metering_service.usecases.stream_messages import Outgoing
from metering_service.usecases.unary import ask
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.error_mapping import reads_by
from tallygate.metering.v1 import metering_service_pb2 as pb
from tallygate.metering.v1 import metering_service_pb2_grpc, report_pb2

Decode: TypeAlias = Callable[[Any, str], Report]

UNSAID_MAX: Final = 8_192
"""Maximum of decisions that wait for a client which does not read."""
COALESCE_S: Final = 0.002
"""Maximum delay of an answer to columns which says nothing by name."""
FULL_POLL_S: Final = 0.05
"""Interval at which a full node is asked whether it has room again."""


class _Soon:
    """Calls back a little later, once for all that is asked for until then."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def call(self) -> None:
        """Call back, be it together with others."""
        if self._timer is None:
            self._timer = self._loop.call_later(COALESCE_S, self._run)

    def cancel(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        self._timer = None
        self._callback()


class TracedStream(Protocol):
    """Makes spans of the requests of one stream."""

    def reading(self, decode: Decode) -> Decode:
        """Decodes as that does, and notes what begins."""

    def taken(self, reports: Sequence[Any]) -> None:
        """Notes what ends with a message."""

    def said(self, outgoing: Outgoing) -> None:
        """Notes what is decided."""

    def close(self) -> None:
        """The stream is gone."""


class Traces(Protocol):
    """Makes spans of requests."""

    def stream(self) -> TracedStream:
        """Those of a stream that was opened."""


class MeteringServicer(metering_service_pb2_grpc.MeteringServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(self, node: Node, traces: Traces | None = None) -> None:
        """`traces`: what makes spans of the requests that servers sample."""
        self._node = node
        self._traces = traces
        self._traced: dict[MeterStream, TracedStream] = {}
        self.counts = MeterCounts()
        self._draining = asyncio.Event()
        self._turn = asyncio.Lock()

    def drain(self) -> None:
        """End every stream once what it reported is answered and durable."""
        self._draining.set()

    @override
    @reads_by(decode_meter_request)
    async def Meter(
        self,
        request_iterator: AsyncIterator[pb.MeterRequest | PartlyReadable],
        context: "grpc.aio.ServicerContext[pb.MeterRequest, pb.MeterResponse]",
    ) -> AsyncIterator[pb.MeterResponse]:
        """Reads in one task, writes in the other: what gathers while a message is being written goes in the next."""
        news, room = asyncio.Event(), asyncio.Event()
        # Nothing is awaited between the gate and here, so no change of the caller's rights is missed.
        shown = shown_by(current_caller())
        rights = shown.rights if shown is not None else None
        soon = _Soon(news.set)
        session, said = MeterStream(self._node, news.set, rights, soon.call), pb.MeterResponse()
        if shown is not None:
            shown.users[session] = None
        self._begin(session)
        reader = asyncio.create_task(self._read(session, request_iterator, news, room))
        drained = asyncio.create_task(self._wake_when_draining(news))
        try:
            while True:
                await news.wait()
                news.clear()
                if session.problem is not None:
                    raise session.problem
                outgoing = session.drain()
                if outgoing is not None:
                    self._note_said(session, outgoing)
                    for said in encode_responses(outgoing, said):  # noqa: B020  # asked once, with the one before
                        yield said
                    room.set()
                if reader.done() and (reader.exception() is not None or session.idle):
                    reader.result()
                    return
                if self._draining.is_set():
                    session.leave()
                    if session.idle:
                        return
        finally:
            self._end(session)
            reader.cancel()
            drained.cancel()
            soon.cancel()
            if shown is not None:
                shown.users.pop(session, None)
            session.close()

    def _begin(self, session: MeterStream) -> None:
        self.counts.begin(session)
        if self._traces is not None:
            self._traced[session] = self._traces.stream()

    def _note_said(self, session: MeterStream, outgoing: Outgoing) -> None:
        self.counts.note_said(session, outgoing)
        if self._traced:
            self._traced[session].said(outgoing)

    def _end(self, session: MeterStream) -> None:
        self.counts.end(session)
        if self._traced:
            self._traced.pop(session).close()

    async def _read(
        self,
        session: MeterStream,
        messages: AsyncIterator[pb.MeterRequest | PartlyReadable],
        news: asyncio.Event,
        room: asyncio.Event,
    ) -> None:
        try:
            async for message in messages:
                _check(message)
                await self._take(session, message)
                # A client that does not read is not read either: the stream's flow control slows it down.
                while session.unsaid_count > UNSAID_MAX:
                    room.clear()
                    await room.wait()
        finally:
            news.set()

    async def _take(self, session: MeterStream, message: pb.MeterRequest | PartlyReadable) -> None:
        """Decide on a message, once there is room for it: flow control stops the client, which still has it all.

        Where only its account or its stream waits for too much, others are heard meanwhile.
        """
        room, accounts, began_ns = self._node.room, frozenset[str](), time.perf_counter_ns()
        while True:
            async with self._turn:
                while room.is_full:  # noqa: ASYNC110  # rare, and many things end it
                    await asyncio.sleep(FULL_POLL_S)
                if room.full_accounts and not accounts:
                    # It takes time, so it is found out once, and only where it matters.
                    accounts = session.accounts_of_work(message.reports, message.columns)
                if session.has_room_for(accounts):
                    decode: Decode = decode_report if isinstance(message, pb.MeterRequest) else decode_any_report
                    traced = self._traced.get(session)
                    if traced is not None:
                        decode = traced.reading(decode)
                    steps = session.take(message.first_sequence, message.reports, decode, message.columns)
                    decided_ns = time.perf_counter_ns()
                    # What was decided goes out before another stream is heard, and calls have their turn.
                    await asyncio.sleep(0)
                    for _ in steps:
                        await asyncio.sleep(0)
                        decided_ns = time.perf_counter_ns()
                    self.counts.decision_durations.observe(decided_ns - began_ns)
                    if traced is not None:
                        traced.taken(message.reports)
                    return
            await asyncio.sleep(FULL_POLL_S)

    async def _wake_when_draining(self, news: asyncio.Event) -> None:
        await self._draining.wait()
        news.set()

    @override
    async def Authorize(
        self,
        request: pb.AuthorizeRequest,
        context: "grpc.aio.ServicerContext[pb.AuthorizeRequest, pb.AuthorizeResponse]",
    ) -> pb.AuthorizeResponse:
        """Decide on one AUTHORIZE, without a stream."""
        report = _report(request.HasField("report"), request.report, Phase.AUTHORIZE)
        if report.phase not in (Phase.AUTHORIZE, None):
            raise InvalidRequestError(("report.phase", "must be AUTHORIZE here: Report takes the others"))
        require_unchanged(current_caller())
        decision: Decision = await ask(self._node, report)
        self.counts.note_call(decision)
        response = pb.AuthorizeResponse()
        encode_decision_into(response.decision, decision)
        return response

    @override
    async def Report(
        self, request: pb.ReportRequest, context: "grpc.aio.ServicerContext[pb.ReportRequest, pb.ReportResponse]"
    ) -> pb.ReportResponse:
        """Decide on one PROGRESS or FINISH, and answer after its commit."""
        report = _report(request.HasField("report"), request.report, None)
        if report.phase is Phase.AUTHORIZE:
            raise InvalidRequestError(("report.phase", "must be PROGRESS or FINISH here: Authorize takes AUTHORIZE"))
        report = report._replace(want_receipt=report.phase is Phase.FINISH)
        require_unchanged(current_caller())
        decision: Decision = await ask(self._node, report)
        self.counts.note_call(decision)
        response = pb.ReportResponse()
        encode_decision_into(response.decision, decision)
        return response


def _check(message: pb.MeterRequest | PartlyReadable) -> None:
    """Raises InvalidRequestError of a message with too much in it, or with entries that have no number."""
    columns = message.columns
    if len(message.reports) + len(columns.handles) > REPORTS_PER_MESSAGE_MAX:
        raise InvalidRequestError(("reports", f"more than {REPORTS_PER_MESSAGE_MAX:,} in one message: send several"))
    if not columns.handles and (columns.output_tokens or columns.reasoning_tokens):
        raise InvalidRequestError(("columns.handles", "missing: what the other columns are about"))


def _report(given: bool, message: report_pb2.TokenReport, default_phase: Phase | None) -> Report:
    if not given:
        raise InvalidRequestError(("report", "is required"))
    return decode_report(message, message.service, default_phase=default_phase)
