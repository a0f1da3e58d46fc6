"""Between the wire and the domain, for what UsageService answers."""

from typing import Final

from metering_service.api.codec import REASONS, encode_counts, encode_decision, encode_receipt
from metering_service.domain.cut import Cut
from metering_service.domain.denial_log import Denial
from metering_service.domain.records import WOULD_DENY, RequestRecord, RequestState
from metering_service.usecases.ports import Running, UsageRow
from tallygate._wire.times import encode_timestamp
from tallygate.metering.v1 import explanation_pb2, request_usage_pb2, usage_bucket_pb2, usage_service_pb2

_STATES: Final = {
    RequestState.OPEN: request_usage_pb2.SETTLEMENT_STATE_RUNNING,
    RequestState.FINISHED: request_usage_pb2.SETTLEMENT_STATE_FINISHED,
    RequestState.TIMED_OUT: request_usage_pb2.SETTLEMENT_STATE_TIMED_OUT,
}


def encode_bucket(row: UsageRow) -> usage_bucket_pb2.UsageBucket:
    """One step of one group."""
    totals = row.totals
    return usage_bucket_pb2.UsageBucket(
        start_time=encode_timestamp(row.start_us),
        end_time=encode_timestamp(row.end_us),
        group=dict(row.group),
        usage=encode_counts(totals.usage),
        payers=usage_bucket_pb2.PayerTokens(
            reserved_tokens=totals.reserved_tokens,
            trial_tokens=totals.trial_tokens,
            billed_tokens=totals.billed_tokens,
            unfunded_tokens=totals.unfunded_tokens,
        ),
        overrun_tokens=totals.overrun_tokens,
        cost_nanos=totals.cost_nanos,
        debt_nanos=totals.debt_nanos,
        request_count=totals.request_count,
        denial_counts={reason: count for reason, count in row.denials if not reason.startswith(WOULD_DENY)},
        would_deny_counts={
            reason.removeprefix(WOULD_DENY): count for reason, count in row.denials if reason.startswith(WOULD_DENY)
        },
    )


def encode_running(running: Running) -> usage_service_pb2.RunningUsage:
    """What runs now."""
    return usage_service_pb2.RunningUsage(request_count=running.request_count, usage=encode_counts(running.counts))


def encode_request_usage(record: RequestRecord) -> request_usage_pb2.RequestUsage:
    """One part of a request; no receipt while it runs, since nothing is booked of it."""
    settled = record.state is not RequestState.OPEN
    return request_usage_pb2.RequestUsage(
        service=record.service,
        service_uid=record.service_uid,
        request_id=record.request_id,
        state=_STATES[record.state],
        usage=encode_counts(record.counts),
        receipt=encode_receipt(record.receipt) if settled else None,
        estimated=record.estimated,
        node=record.node,
        credential=record.credential,
        labels=dict(record.labels),
        start_time=encode_timestamp(record.start_us),
        settle_time=encode_timestamp(record.booked_us),
        part=record.part,
        team=record.team,
        key_team=record.key_team,
        cut=_encode_cut(record.cut) if record.cut is not None else None,
    )


def _encode_cut(cut: Cut) -> request_usage_pb2.RequestCut:
    return request_usage_pb2.RequestCut(
        reason=REASONS[cut.reason], cut_time=encode_timestamp(cut.at_us), budget=cut.budget
    )


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
