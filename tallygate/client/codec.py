"""Decoders from the wire's messages to this package's values."""

from __future__ import annotations

from tallygate._wire.enums import decode_enum_name
from tallygate._wire.times import decode_ns
from tallygate.client.errors import Denial
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
    )


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
