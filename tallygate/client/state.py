"""One request as the client knows it: its counts, its grant, and what was said of it on the present stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tallygate.client.errors import Denial
from tallygate.client.values import Grant, Receipt, Usage
from tallygate.metering.v1 import report_pb2, token_usage_pb2

AUTHORIZE = report_pb2.REPORT_PHASE_AUTHORIZE
PROGRESS = report_pb2.REPORT_PHASE_PROGRESS
FINISH = report_pb2.REPORT_PHASE_FINISH


@dataclass(slots=True, eq=False)
class RequestState:
    """Mutable and owned by the event loop. Counts are plain integers because they change with every token."""

    request_id: str
    service: str
    max_output_tokens: int | None = None
    labels: dict[str, str] = field(default_factory=dict)

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    phase: report_pb2.ReportPhase.ValueType = AUTHORIZE
    estimated: bool = False
    want_receipt: bool = False

    grant: Grant | None = None
    denial: Denial | None = None
    """Set once it must stop, or must not start."""
    finish_denial: Denial | None = None
    """Set when the finish itself was refused: its counts were not taken."""
    receipt: Receipt | None = None
    durable: bool = False
    abandoned: bool = False
    """Given up before anything of it was sent: there is nothing to say of it any more."""

    ever_sent: bool = False
    introduced: bool = False
    """The present stream knows its service, and its last grant where it came from another stream."""
    queued: report_pb2.TokenReport | None = None
    """The latest report, while it waits to be sent."""
    first_sequence: int = 0
    last_sequence: int = 0
    said_ceiling_tokens: int = 0
    """The ceiling past half of which progress was said."""
    said_output_tokens: int = -1
    """The count that progress said last."""
    changed: asyncio.Event | None = None

    @property
    def output_class_tokens(self) -> int:
        """What the grant's ceiling counts."""
        return self.output_tokens + self.reasoning_tokens

    def usage(self) -> Usage:
        """The counts so far, as a value."""
        return Usage(
            self.input_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.output_tokens,
            self.reasoning_tokens,
        )

    def set_usage(self, usage: Usage) -> None:
        """Replaces all counts."""
        self.input_tokens = usage.input_tokens
        self.cached_input_tokens = usage.cached_input_tokens
        self.cache_write_tokens = usage.cache_write_tokens
        self.output_tokens = usage.output_tokens
        self.reasoning_tokens = usage.reasoning_tokens

    def forget_stream(self) -> None:
        """The stream broke: on the next one nothing was said yet."""
        self.introduced = False
        self.queued = None
        self.first_sequence = self.last_sequence = 0

    def make_report(self) -> report_pb2.TokenReport:
        """The latest report; the first on a stream says the service and brings the last grant along."""
        report = report_pb2.TokenReport(
            request_id=self.request_id,
            phase=self.phase,
            usage=token_usage_pb2.TokenUsage(
                input_tokens=self.input_tokens,
                cached_input_tokens=self.cached_input_tokens,
                cache_write_tokens=self.cache_write_tokens,
                output_tokens=self.output_tokens,
                reasoning_tokens=self.reasoning_tokens,
            ),
        )
        if not self.introduced:
            self._introduce(report)
        if self.phase == FINISH:
            report.estimated = self.estimated
            report.want_receipt = self.want_receipt
        return report

    def _introduce(self, report: report_pb2.TokenReport) -> None:
        self.introduced = True
        report.service = self.service
        if self.max_output_tokens is not None:
            report.max_output_tokens = self.max_output_tokens
        if self.labels:
            report.labels.update(self.labels)
        if self.grant is not None:
            report.resume = self.grant.resume

    def wake(self) -> None:
        """Lets those look again who wait for something to change."""
        if self.changed is not None:
            self.changed.set()
            self.changed = None

    async def wait_change(self) -> None:
        """Until `wake`."""
        if self.changed is None:
            self.changed = asyncio.Event()
        await self.changed.wait()
