"""Between the wire and the domain, for what UsageService answers."""

from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.api.codec import receipt_to, usage_to
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.usecases.ports import Running, UsageRow
from tallygate.metering.v1 import request_usage_pb2, usage_bucket_pb2, usage_service_pb2

_STATES = {
    RequestState.OPEN: request_usage_pb2.SETTLEMENT_STATE_RUNNING,
    RequestState.FINISHED: request_usage_pb2.SETTLEMENT_STATE_FINISHED,
    RequestState.TIMED_OUT: request_usage_pb2.SETTLEMENT_STATE_TIMED_OUT,
}


def bucket_to(row: UsageRow) -> usage_bucket_pb2.UsageBucket:
    """One step of one group."""
    totals = row.totals
    return usage_bucket_pb2.UsageBucket(
        start_time=timestamp(row.start_us),
        end_time=timestamp(row.end_us),
        group=dict(row.group),
        usage=usage_to(totals.usage),
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
        denial_counts=dict(row.denials),
    )


def running_to(running: Running) -> usage_service_pb2.RunningUsage:
    """What runs now."""
    return usage_service_pb2.RunningUsage(request_count=running.request_count, usage=usage_to(running.counts))


def request_usage_to(record: RequestRecord) -> request_usage_pb2.RequestUsage:
    """One part of a request; no receipt while it runs, since nothing is booked of it."""
    settled = record.state is not RequestState.OPEN
    return request_usage_pb2.RequestUsage(
        service=record.service,
        service_uid=record.service_uid,
        request_id=record.request_id,
        state=_STATES[record.state],
        usage=usage_to(record.counts),
        receipt=receipt_to(record.receipt) if settled else None,
        estimated=record.estimated,
        node=record.node,
        credential=record.credential,
        labels=dict(record.labels),
        start_time=timestamp(record.start_us),
        settle_time=None if record.booked_us is None else timestamp(record.booked_us),
        part=record.part,
    )


def timestamp(time_us: int) -> Timestamp:
    """A time in microseconds since 1970."""
    seconds, rest_us = divmod(time_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest_us * 1_000)
