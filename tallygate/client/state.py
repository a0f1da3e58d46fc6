"""One request as the client knows it: its counts, its grant, and what was said of it on the present stream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallygate.client.errors import Denial
from tallygate.client.values import Grant, Receipt, Usage
from tallygate.metering.v1 import report_pb2, token_usage_pb2

AUTHORIZE: Final = report_pb2.REPORT_PHASE_AUTHORIZE
PROGRESS: Final = report_pb2.REPORT_PHASE_PROGRESS
FINISH: Final = report_pb2.REPORT_PHASE_FINISH


NEVER: Final = 1 << 62
"""More tokens than any request will have."""


@dataclass(slots=True, eq=False)
class RequestState:
    """Mutable and owned by the event loop, but for the counts, which change with every token.

    Only the loop writes `quiet_tokens`, `stopped` and `final_tokens`, and only the caller writes the two counts: so
    `output` needs no lock where the caller is another thread.
    """

    request_id: str
    service: str
    max_output_tokens: int | None = None
    labels: Mapping[str, str] | None = None
    credential: str = ""
    source_address: str = ""
    whole: bool = False
    """Whether nobody can stop it in the middle: its first grant is its only one, and never lapses once it is begun."""
    hold_for_s: float | None = None
    min_output_tokens: int | None = None

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    generated_tokens: int = 0
    """The output class: what the grant's ceiling counts."""
    reasoning_tokens: int = 0
    """Generated tokens that are reasoning."""

    quiet_tokens: int = -1
    """Up to so many generated tokens there is nothing to say or to check."""
    final_tokens: int = NEVER
    """The ceiling of a final grant."""
    stopped: bool = False
    """Waiting will not help: it was denied, or nobody answers."""
    handed_over: bool = False
    """Whether it went past `quiet_tokens`, and the loop will look at it."""

    phase: report_pb2.ReportPhase.ValueType = AUTHORIZE
    begun: bool = False
    """Whether it may generate: it was granted, or is let go on although nobody answers."""
    estimated: bool = False
    """The counts are an estimate, such as pieces of text: a hold until better ones are said."""
    want_receipt: bool = False

    grant: Grant | None = None
    renewed_until_ns: int = 0
    """Until when streams before the present one had renewed the grant."""
    denial: Denial | None = None
    """Set once it must stop, or must not start."""
    finish_denial: Denial | None = None
    """Set when the finish was answered with a denial."""
    receipt: Receipt | None = None
    durable: bool = False
    abandoned: bool = False
    """Given up before anything of it was sent: there is nothing to say of it any more."""

    starved_ns: int | None = None
    """Since when nothing is free; None while something is."""
    gave_up: bool = False
    """Nothing was free for too long, and nobody answered."""
    lent_tokens: int = 0
    """Tokens taken from those that may go on without an answer."""
    lent_ceiling_tokens: int = 0
    """How far it may go on without an answer."""

    ever_sent: bool = False
    introduced: bool = False
    """The present stream knows its service, and its last grant where it came from another stream."""
    queued: report_pb2.TokenReport | None = None
    """The latest report, while it waits to be sent."""
    first_sequence: int = 0
    last_sequence: int = 0
    renew_tokens: int = 0
    """Past so many generated tokens the grant is to be renewed."""
    said_ceiling_tokens: int = 0
    """The ceiling that progress was said to renew."""
    said_tokens: int = -1
    """The count of generated tokens that progress said last."""
    changed: asyncio.Event | None = None

    @property
    def input_class_tokens(self) -> int:
        """Everything that goes in."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def at_final_ceiling(self) -> bool:
        """Whether it got as far as it ever may."""
        return self.generated_tokens >= self.final_tokens

    def usage(self) -> Usage:
        """The counts so far, as a value."""
        return Usage(
            self.input_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.generated_tokens - self.reasoning_tokens,
            self.reasoning_tokens,
        )

    def set_usage(self, usage: Usage, *, estimated: bool) -> None:
        """Replaces all counts."""
        self.estimated = estimated
        self.input_tokens = usage.input_tokens
        self.cached_input_tokens = usage.cached_input_tokens
        self.cache_write_tokens = usage.cache_write_tokens
        self.generated_tokens = usage.output_class_tokens
        self.reasoning_tokens = usage.reasoning_tokens

    def forget_stream(self) -> None:
        """The stream broke: on the next one nothing was said yet.

        A request that was granted runs, whatever it said last: it asks for nothing that it has already, and goes on
        with its grant while the next node looks up what it is. A whole one says again that it is one, and for how long.
        """
        if self.phase != FINISH and self.grant is not None:
            self.phase = AUTHORIZE if self.whole else PROGRESS
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
                output_tokens=max(0, self.generated_tokens - self.reasoning_tokens),
                reasoning_tokens=self.reasoning_tokens,
            ),
        )
        if not self.introduced:
            self._introduce(report)
        if self.phase != AUTHORIZE:
            report.estimated = self.estimated
        elif self.whole:
            self._say_whole(report)
        if self.phase == FINISH:
            report.want_receipt = self.want_receipt
        return report

    def _introduce(self, report: report_pb2.TokenReport) -> None:
        self.introduced = True
        report.service = self.service
        if self.max_output_tokens is not None:
            report.max_output_tokens = self.max_output_tokens
        if self.credential:
            report.credential = self.credential
        if self.source_address:
            report.source_address = self.source_address
        if self.labels:
            report.labels.update(self.labels)
        if self.grant is not None:
            report.resume = self.grant.resume

    def _say_whole(self, report: report_pb2.TokenReport) -> None:
        report.whole = True
        if self.hold_for_s is not None:
            report.hold_for.FromNanoseconds(round(self.hold_for_s * 1_000_000_000))
        if self.min_output_tokens is not None:
            report.min_output_tokens = self.min_output_tokens

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
