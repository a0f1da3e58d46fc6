"""Between the wire and the domain, for reports and decisions. The only module that knows both."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from google.protobuf.duration_pb2 import Duration

from metering_service.api.meter_request import UnreadableReport
from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.decision import BudgetStatus, Decision, Grant, Reason
from metering_service.domain.key_ring import TOKEN_BYTES_MAX
from metering_service.domain.rate_status import RateStatus
from metering_service.domain.receipt import Receipt
from metering_service.domain.report import CREDENTIAL_BYTES_MAX, Phase, Report
from metering_service.usecases.stream_messages import Raised
from tallygate._server.grpc.call import TRACEPARENT_KEY
from tallygate._wire.enums import decode_table, encode_table
from tallygate._wire.times import decode_ns, encode_duration_into, encode_timestamp, is_normal
from tallygate.metering.v1 import columns_pb2, decision_pb2, receipt_pb2, report_pb2, token_usage_pb2

_PHASES: Final = decode_table(report_pb2.ReportPhase, Phase)
REASONS: Final = encode_table(decision_pb2.DecisionReason, Reason)
"""Reasons as they are on the wire."""


def decode_report(message: report_pb2.TokenReport, service: str, *, default_phase: Phase | None = None) -> Report:
    """A report as it came, about that service."""
    phase = message.phase
    report = Report(
        message.request_id,
        service,
        _PHASES.get(phase, None if phase else default_phase),
        decode_counts(message.usage),
        message.max_output_tokens if message.HasField("max_output_tokens") else None,
        "",
        _decode_labels(message.labels) if message.labels else (),
        message.estimated,
        message.want_receipt,
        # A longer one is none of ours, and of that so much is enough to tell.
        message.resume[: TOKEN_BYTES_MAX + 1],
        message.whole,
        _decode_hold_for(message.hold_for) if message.HasField("hold_for") else None,
        message.min_output_tokens if message.HasField("min_output_tokens") else None,
        "",
        message.credential_sha256,
        message.model,
        message.source_address,
        handle=message.handle,
    )
    return _with_key(report, message.credential) if message.credential else report


def _decode_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels in the order of their keys, but for the one that is about the request's trace and nothing else."""
    return tuple(sorted(pair for pair in labels.items() if pair[0] != TRACEPARENT_KEY))


def _with_key(report: Report, credential: str) -> Report:
    """A report with the hash of the API key that was shown: the text goes no further, whatever it looks like."""
    shown = credential.encode()
    if report.key_sha256:
        return report._replace(unreadable="credential and credential_sha256 are both set: send one of them.")
    if len(shown) > CREDENTIAL_BYTES_MAX:
        return report._replace(unreadable=f"credential is longer than {CREDENTIAL_BYTES_MAX} bytes.")
    return report._replace(key_sha256=sha256(shown).digest())


def _decode_hold_for(length: Duration) -> int:
    """A length of time as it came; a negative one where it is none."""
    return decode_ns(length) if is_normal(length) else -1


def decode_any_report(message: report_pb2.TokenReport | UnreadableReport, service: str) -> Report:
    """As `decode_report`, of a message in which some cannot be read."""
    if isinstance(message, UnreadableReport):
        return Report(message.request_id, "", None, ZERO, unreadable=message.problem)
    return decode_report(message, service)


def decode_counts(usage: token_usage_pb2.TokenUsage) -> Counts:
    """Counts as they came."""
    return Counts(
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


def encode_counts(counts: Counts) -> token_usage_pb2.TokenUsage:
    """Counts as they go out."""
    return token_usage_pb2.TokenUsage(
        input_tokens=counts.input,
        cached_input_tokens=counts.cached_input,
        cache_write_tokens=counts.cache_write,
        output_tokens=counts.output,
        reasoning_tokens=counts.reasoning,
    )


def encode_counts_into(message: token_usage_pb2.TokenUsage, counts: Counts) -> None:
    """Write counts in place: a message that is made first is copied into its parent, and again with that."""
    if counts is ZERO:
        # As most of a receipt is: there all the same, in a fifth of the time.
        message.SetInParent()
        return
    (
        message.input_tokens,
        message.cached_input_tokens,
        message.cache_write_tokens,
        message.output_tokens,
        message.reasoning_tokens,
    ) = counts


def encode_receipt_into(message: receipt_pb2.Receipt, receipt: Receipt) -> None:
    """Write a receipt in place."""
    encode_counts_into(message.usage, receipt.usage)
    encode_counts_into(message.reserved, receipt.reserved)
    encode_counts_into(message.trial, receipt.trial)
    encode_counts_into(message.billed, receipt.billed)
    encode_counts_into(message.unfunded, receipt.unfunded)
    message.overrun_tokens = receipt.overrun_tokens
    message.cost_nanos = receipt.cost_nanos
    message.debt_nanos = receipt.debt_nanos
    message.price_version = receipt.price_version
    message.revision = receipt.revision


def encode_decision(decision: Decision) -> decision_pb2.Decision:
    """A decision by itself."""
    message = decision_pb2.Decision()
    encode_decision_into(message, decision)
    return message


def encode_decision_into(message: decision_pb2.Decision, decision: Decision) -> None:
    """Write what it says, in place: a grant takes half the time that it takes made first and then copied."""
    message.request_id = decision.request_id
    message.config_version = decision.config_version
    if decision.reason is None:
        message.verdict = decision_pb2.VERDICT_ALLOW
    else:
        _encode_denial_into(message, decision, decision.reason)
    if decision.grant is not None:
        _encode_grant_into(message.grant, decision.grant)
    if decision.rate is not None:
        _encode_rate_into(message.rate, decision.rate)
    if decision.budget is not None:
        message.budget.CopyFrom(_encode_budget(decision.budget))
    if decision.receipt is not None:
        encode_receipt_into(message.receipt, decision.receipt)
    if decision.service:
        message.service = decision.service


def encode_raised_into(message: columns_pb2.GrantColumns, raised: Sequence[Raised]) -> None:
    """Raised grants, one entry each."""
    message.sequences.extend([each.sequence for each in raised])
    message.handles.extend([each.handle for each in raised])
    message.output_ceiling_tokens.extend([each.grant.output_ceiling_tokens for each in raised])
    message.resume.extend([each.grant.resume for each in raised])


def _encode_denial_into(message: decision_pb2.Decision, decision: Decision, reason: Reason) -> None:
    message.verdict = decision_pb2.VERDICT_DENY
    message.reason = REASONS[reason]
    message.message = decision.message
    message.retryable = decision.retryable
    if decision.retry_after_ms is not None:
        encode_duration_into(message.retry_after, decision.retry_after_ms)
    if decision.remaining_tokens is not None:
        message.remaining_tokens = decision.remaining_tokens
    if decision.remaining_nanos is not None:
        message.remaining_nanos = decision.remaining_nanos


def _encode_rate_into(message: decision_pb2.RateStatus, rate: RateStatus) -> None:
    rule = rate.rule
    message.rate_rule = rule.name
    message.place = rule.place
    message.metric = rule.metric.value
    message.limit_units = rule.limit_units
    message.remaining_units = rate.remaining_units
    if rule.period_ms:
        encode_duration_into(message.period, rule.period_ms)
    if rate.reset_after_ms is not None:
        encode_duration_into(message.reset_after, rate.reset_after_ms)


def _encode_budget(budget: BudgetStatus) -> decision_pb2.BudgetStatus:
    return decision_pb2.BudgetStatus(
        budget=budget.name,
        place=budget.place,
        amount_units=budget.amount_units,
        is_money=budget.is_money,
        end_time=encode_timestamp(budget.end_us),
    )


def _encode_grant_into(message: decision_pb2.Grant, grant: Grant) -> None:
    message.output_ceiling_tokens = grant.output_ceiling_tokens
    message.is_final = grant.is_final
    message.resume = grant.resume
    encode_duration_into(message.valid_for, grant.valid_for_ms)
