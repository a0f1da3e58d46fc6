"""The state of one request: its counts, its grant, and what was reported of it on the present stream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallygate.client.errors import Denial
from tallygate.client.rate_status import RateStatus
from tallygate.client.values import Grant, Receipt, Usage
from tallygate.metering.v1 import report_pb2, token_usage_pb2

AUTHORIZE: Final = report_pb2.REPORT_PHASE_AUTHORIZE
PROGRESS: Final = report_pb2.REPORT_PHASE_PROGRESS
FINISH: Final = report_pb2.REPORT_PHASE_FINISH


NEVER: Final = 1 << 62
"""Number of tokens that no request reaches."""


@dataclass(slots=True, eq=False)
class RequestState:
    """Mutable and owned by the event loop, but for the counts, which change with every token.

    Only the loop writes `quiet_tokens`, `stopped` and `final_tokens`, and only the caller writes the two counts: so
    `output` needs no lock where the caller is another thread.
    """

    request_id: str
    service: str
    """Empty until a node has said to which one the API key leads."""
    max_output_tokens: int | None = None
    labels: Mapping[str, str] | None = None
    key_sha256: bytes = b""
    """SHA-256 of the end user's API key; empty without one."""
    model: str = ""
    """The model as the end user called it, by which the key leads to a service."""
    source_address: str = ""
    whole: bool = False
    """Whether its answer cannot be stopped in the middle: its first grant is its only one, and lasts to its end."""
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
    """Number of generated tokens up to which there is nothing to report or to check."""
    final_tokens: int = NEVER
    """The ceiling of a final grant."""
    stopped: bool = False
    """Whether waiting is of no use: the request was denied, or no node answers."""
    handed_over: bool = False
    """Whether it went past `quiet_tokens`, and the loop will check it."""
    entry_handle: int = 0
    """The handle by which entries of columns say its progress; 0 while that goes by report."""
    is_marked: bool = False
    """Whether its progress waits to be sent as an entry."""

    phase: report_pb2.ReportPhase.ValueType = AUTHORIZE
    begun: bool = False
    """Whether it may generate: on a grant, or on credit while no node answers."""
    estimated: bool = False
    """Whether the counts are an estimate, such as pieces of text: a hold until better ones are reported."""
    want_receipt: bool = False

    grant: Grant | None = None
    rate: RateStatus | None = None
    """The rate rule that was nearest to its limit when it was authorised, if any counts."""
    renewed_until_ns: int = 0
    """Time until which streams before the present one had renewed the grant."""
    denial: Denial | None = None
    """Why it must stop, or must not start."""
    finish_denial: Denial | None = None
    """Denial by which a node answered the finish."""
    receipt: Receipt | None = None
    durable: bool = False
    abandoned: bool = False
    """Whether it was given up before any report of it was sent: none will be."""

    starved_ns: int | None = None
    """Time since when nothing is free; None while something is."""
    gave_up: bool = False
    """Whether nothing was free for `answer_ms`, and no node answered."""
    handle: int = 0
    """The handle that the present stream binds, or is about to bind, to it; 0 for none."""
    is_bound: bool = False
    """Whether the node has answered the report that binds the handle."""
    bound_sequence: int = 0
    """Number of the report that binds the handle."""
    are_facts_said: bool = False
    """Whether the last report says all that entries do not: the input, and whether counts are an estimate."""
    said_reasoning_tokens: int = 0
    """Reasoning tokens as the present stream said them last; -1 where each entry has to say them."""
    lent_tokens: int = 0
    """Number of tokens on credit: taken from those that may go on without an answer."""
    lent_ceiling_tokens: int = 0
    """Maximum of generated tokens without an answer."""

    ever_sent: bool = False
    introduced: bool = False
    """Whether the present stream knows its service, and its last grant if that came by another stream."""
    queued: report_pb2.TokenReport | None = None
    """The latest report, while it waits to be sent."""
    first_sequence: int = 0
    last_sequence: int = 0
    renew_tokens: int = 0
    """Number of generated tokens past which a renewal of the grant is requested."""
    reported_ceiling_tokens: int = 0
    """Ceiling of the grant whose renewal was last requested."""
    reported_tokens: int = -1
    """Number of generated tokens in the last progress report."""
    changed: asyncio.Event | None = None

    @property
    def input_class_tokens(self) -> int:
        """Everything that goes in."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def at_final_ceiling(self) -> bool:
        """Whether it has generated all that it ever may."""
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
        """Replaces all counts. The next report goes by name if entries cannot say what changed."""
        input_kinds = usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens
        known_kinds = self.input_tokens, self.cached_input_tokens, self.cache_write_tokens
        if estimated != self.estimated or input_kinds != known_kinds:
            self.are_facts_said = False
            self.entry_handle = 0
        output, known_output = usage.output_class_tokens, self.generated_tokens
        if output < known_output or (output == known_output and usage.reasoning_tokens != self.reasoning_tokens):
            # A node keeps the kinds of the greatest count: what was said last may not be what was taken in last.
            self.said_reasoning_tokens = -1
        self.estimated = estimated
        self.input_tokens = usage.input_tokens
        self.cached_input_tokens = usage.cached_input_tokens
        self.cache_write_tokens = usage.cache_write_tokens
        self.generated_tokens = usage.output_class_tokens
        self.reasoning_tokens = usage.reasoning_tokens

    @property
    def may_progress(self) -> bool:
        """Whether a report of progress is right: it runs on a grant."""
        return self.grant is not None and self.phase != FINISH and not self.abandoned

    def begin_progress(self) -> None:
        """Notes that its counts are about to be reported by name."""
        self.phase = PROGRESS
        self.reported_tokens = self.generated_tokens

    def choose_road(self) -> None:
        """Progress goes by entries once a handle is bound, while entries can say all that there is to say."""
        by_entry = (
            self.is_bound and self.are_facts_said and self.queued is None and self.denial is None and self.may_progress
        )
        self.entry_handle = self.handle if by_entry else 0

    def forget_handle(self) -> None:
        """Forgets the handle, and all that was said only of this stream."""
        self.handle = self.entry_handle = 0
        self.is_bound = self.are_facts_said = False
        self.bound_sequence = self.said_reasoning_tokens = 0

    def note_reasoning(self, tokens: int) -> None:
        """Notes the reasoning tokens that this stream said last; -1 stays, where they have to be said each time."""
        if self.said_reasoning_tokens >= 0:
            self.said_reasoning_tokens = tokens

    def forget_stream(self) -> None:
        """Forgets what was reported on a stream that broke: on the next one nothing has been yet.

        A request with a grant goes on as running: it keeps its grant while the next node looks the request up. A whole
        one is authorised again, since that report carries `whole` and `hold_for`.
        """
        if self.phase != FINISH and self.grant is not None:
            self.phase = AUTHORIZE if self.whole else PROGRESS
        self.introduced = False
        self.queued = None
        self.first_sequence = self.last_sequence = 0
        self.forget_handle()

    def make_report(self) -> report_pb2.TokenReport:
        """The latest report; the first on a stream carries the service and the last grant."""
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
        # An authorisation does not say that counts are an estimate.
        self.are_facts_said = self.phase != AUTHORIZE or not self.estimated
        self.note_reasoning(self.reasoning_tokens)
        if not self.introduced:
            self._introduce(report)
        if self.phase != AUTHORIZE:
            report.estimated = self.estimated
        elif self.whole:
            self._add_whole(report)
        if self.phase == FINISH:
            report.want_receipt = self.want_receipt
        return report

    def _introduce(self, report: report_pb2.TokenReport) -> None:
        self.introduced = True
        report.service = self.service
        if self.max_output_tokens is not None:
            report.max_output_tokens = self.max_output_tokens
        if self.key_sha256:
            report.credential_sha256 = self.key_sha256
        if self.model and not self.service:
            report.model = self.model
        if self.source_address:
            report.source_address = self.source_address
        if self.labels:
            report.labels.update(self.labels)
        if self.grant is not None:
            report.resume = self.grant.resume

    def _add_whole(self, report: report_pb2.TokenReport) -> None:
        report.whole = True
        if self.hold_for_s is not None:
            report.hold_for.FromNanoseconds(round(self.hold_for_s * 1_000_000_000))
        if self.min_output_tokens is not None:
            report.min_output_tokens = self.min_output_tokens

    def wake(self) -> None:
        """Wakes those who wait for a change."""
        if self.changed is not None:
            self.changed.set()
            self.changed = None

    async def wait_change(self) -> None:
        """Waits until `wake`."""
        if self.changed is None:
            self.changed = asyncio.Event()
        await self.changed.wait()
