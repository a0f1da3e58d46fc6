"""Decoders from the wire's messages to this package's values."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from tallygate._wire.enums import decode_enum_name
from tallygate._wire.times import decode_ns
from tallygate.client.errors import Denial
from tallygate.client.rate_status import RateStatus
from tallygate.client.values import Grant, Receipt, Usage
from tallygate.metering.v1 import decision_pb2, receipt_pb2, token_usage_pb2


def decode_usage(usage: token_usage_pb2.TokenUsage) -> Usage:
    """Counts from the wire."""
    return Usage(
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


def decode_grant(grant: decision_pb2.Grant, sent_ns: int) -> Grant:
    """A grant from the wire; its validity counts from `sent_ns`, when the report that it answers was sent."""
    return Grant(
        output_ceiling_tokens=grant.output_ceiling_tokens,
        is_final=grant.is_final,
        valid_until_ns=sent_ns + decode_ns(grant.valid_for),
        resume=grant.resume,
    )


def decode_denial(decision: decision_pb2.Decision) -> Denial:
    """Why not. A reason newer than this client shows as its number."""
    return Denial(
        reason=decode_reason(decision.reason),
        message=decision.message,
        retryable=decision.retryable,
        retry_after_ms=decode_ns(decision.retry_after) // 1_000_000,
        remaining_tokens=decision.remaining_tokens if decision.HasField("remaining_tokens") else None,
        remaining_nanos=decision.remaining_nanos if decision.HasField("remaining_nanos") else None,
        rate=decode_rate(decision.rate) if decision.HasField("rate") else None,
    )


def decode_rate(rate: decision_pb2.RateStatus) -> RateStatus:
    """How things stand with a rate rule, from the wire."""
    return RateStatus(
        rate_rule=rate.rate_rule,
        place=rate.place,
        metric=rate.metric,
        limit_units=rate.limit_units,
        period_ms=_decode_ms(rate.period) if rate.HasField("period") else None,
        remaining_units=rate.remaining_units,
        reset_after_ms=_decode_ms(rate.reset_after) if rate.HasField("reset_after") else None,
    )


def _decode_ms(length: Duration) -> int:
    return decode_ns(length) // 1_000_000


def decode_reason(reason: int) -> str:
    """A reason without its prefix; one newer than this client as its number."""
    try:
        return decode_enum_name(decision_pb2.DecisionReason, reason)
    except ValueError:
        return f"REASON_{reason}"


def decode_receipt(receipt: receipt_pb2.Receipt) -> Receipt:
    """A receipt from the wire."""
    return Receipt(
        usage=decode_usage(receipt.usage),
        reserved=decode_usage(receipt.reserved),
        trial=decode_usage(receipt.trial),
        billed=decode_usage(receipt.billed),
        unfunded=decode_usage(receipt.unfunded),
        overrun_tokens=receipt.overrun_tokens,
        cost_nanos=receipt.cost_nanos,
        debt_nanos=receipt.debt_nanos,
        price_version=receipt.price_version,
        revision=receipt.revision,
    )
