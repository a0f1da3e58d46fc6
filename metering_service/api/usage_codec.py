"""Between the wire and the domain, for what UsageService answers."""

from typing import Final

from metering_service.api.codec import (
    REASONS,
    encode_counts,
    encode_counts_into,
    encode_decision,
    encode_receipt_into,
)
from metering_service.domain.cut import Cut
from metering_service.domain.denial_log import Denial
from metering_service.domain.records import WOULD_DENY, RequestState, ShownRecord
from metering_service.usecases.ports import Running, UsageRow
from tallygate._wire.times import encode_timestamp, encode_timestamp_into
from tallygate.metering.v1 import explanation_pb2, request_usage_pb2, usage_bucket_pb2, usage_service_pb2

_STATES: Final = {
    RequestState.OPEN: request_usage_pb2.SETTLEMENT_STATE_RUNNING,
    RequestState.FINISHED: request_usage_pb2.SETTLEMENT_STATE_FINISHED,
    RequestState.TIMED_OUT: request_usage_pb2.SETTLEMENT_STATE_TIMED_OUT,
}


def encode_bucket(row: UsageRow) -> usage_bucket_pb2.UsageBucket:
    """One step of one group."""
    totals = row.totals
    message = usage_bucket_pb2.UsageBucket(
        overrun_tokens=totals.overrun_tokens,
        cost_nanos=totals.cost_nanos,
        debt_nanos=totals.debt_nanos,
        request_count=totals.request_count,
    )
    encode_timestamp_into(message.start_time, row.start_us)
    encode_timestamp_into(message.end_time, row.end_us)
    for name, value in row.group:
        message.group[name] = value
    encode_counts_into(message.usage, totals.usage)
    message.payers.reserved_tokens = totals.reserved_tokens
    message.payers.trial_tokens = totals.trial_tokens
    message.payers.billed_tokens = totals.billed_tokens
    message.payers.unfunded_tokens = totals.unfunded_tokens
    for reason, count in row.denials:
        if reason.startswith(WOULD_DENY):
            message.would_deny_counts[reason.removeprefix(WOULD_DENY)] = count
        else:
            message.denial_counts[reason] = count
    return message


def encode_running(running: Running) -> usage_service_pb2.RunningUsage:
    """What runs now."""
    return usage_service_pb2.RunningUsage(request_count=running.request_count, usage=encode_counts(running.counts))


def encode_request_usage_into(message: request_usage_pb2.RequestUsage, record: ShownRecord) -> None:
    """Write one part of a request in place, as exports have many; no receipt while it runs: nothing is booked of it."""
    message.service = record.service
    message.service_uid = record.service_uid
    message.request_id = record.request_id
    message.state = _STATES[record.state]
    message.estimated = record.estimated
    message.node = record.node
    message.credential = record.credential
    message.part = record.part
    message.team = record.team
    message.key_team = record.key_team
    encode_counts_into(message.usage, record.counts)
    if record.state is not RequestState.OPEN:
        encode_receipt_into(message.receipt, record.receipt)
    for key, value in record.labels:
        message.labels[key] = value
    encode_timestamp_into(message.start_time, record.start_us)
    if record.booked_us is not None:
        encode_timestamp_into(message.settle_time, record.booked_us)
    cut = record.cut
    if cut is not None:
        _encode_cut_into(message.cut, cut)


def _encode_cut_into(message: request_usage_pb2.RequestCut, cut: Cut) -> None:
    message.reason = REASONS[cut.reason]
    encode_timestamp_into(message.cut_time, cut.at_us)
    message.budget = cut.budget


def encode_denial(denial: Denial) -> explanation_pb2.RequestDenial:
    """An authorisation that was denied, as it was answered."""
    return explanation_pb2.RequestDenial(
        service=denial.service,
        deny_time=encode_timestamp(denial.at_us),
        decision=encode_decision(denial.decision),
        credential=denial.credential,
        team=denial.team,
        key_problem=denial.decision.key_problem.value if denial.decision.key_problem is not None else "",
    )
