"""Request records as rows: what each request used, by kind and by who paid, and what it cost."""

from __future__ import annotations

from typing import Final

from tallygate.export.columns import Column, Kind, Row, moment_us, numbers, texts
from tallygate.metering.v1 import decision_pb2, request_usage_pb2, token_usage_pb2

KINDS: Final = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
"""Counts of a TokenUsage, in the order of the contract."""

PAYERS: Final = ("reserved", "trial", "billed", "unfunded")
"""Payers in the order in which they are asked, and what nobody paid for."""

RECORD_COLUMNS: Final = (
    *texts("service", "service_uid", "request_id", "part", "state"),
    Column("estimated", Kind.FLAG),
    *texts("team", "key_team", "credential", "node"),
    Column("start_time", Kind.TIME),
    Column("settle_time", Kind.TIME),
    *numbers(*KINDS),
    *numbers(*(f"{payer}_{kind}" for payer in PAYERS for kind in KINDS)),
    *numbers("overrun_tokens", "cost_nanos", "debt_nanos", "price_version", "revision"),
    Column("labels", Kind.TAGS),
    *texts("cut_reason"),
    Column("cut_time", Kind.TIME),
    *texts("cut_budget"),
)
"""Columns of an exported record; `cost_nanos` and `debt_nanos` are of the account's currency."""

_STATES: Final = {
    number: name.removeprefix("SETTLEMENT_STATE_") for name, number in request_usage_pb2.SettlementState.items()
}

_REASONS: Final = {
    number: name.removeprefix("DECISION_REASON_") for name, number in decision_pb2.DecisionReason.items() if number
}


def is_settled(record: request_usage_pb2.RequestUsage) -> bool:
    """Whether the record is booked; one that runs has no receipt yet."""
    return record.HasField("settle_time")


def record_row(record: request_usage_pb2.RequestUsage) -> Row:
    """A settled record's values, in the order of `RECORD_COLUMNS`."""
    receipt = record.receipt
    return (
        record.service,
        record.service_uid,
        record.request_id,
        record.part,
        _STATES[record.state],
        record.estimated,
        record.team,
        record.key_team,
        record.credential,
        record.node,
        moment_us(record.start_time),
        moment_us(record.settle_time),
        *_counts(record.usage),
        *_counts(receipt.reserved),
        *_counts(receipt.trial),
        *_counts(receipt.billed),
        *_counts(receipt.unfunded),
        receipt.overrun_tokens,
        receipt.cost_nanos,
        receipt.debt_nanos,
        receipt.price_version,
        receipt.revision,
        dict(record.labels),
        cut_reason(record),
        moment_us(record.cut.cut_time) if record.HasField("cut") else None,
        record.cut.budget,
    )


def cut_reason(record: request_usage_pb2.RequestUsage) -> str:
    """Why the request had to end; empty where it ended by itself, and of a reason that a newer node says."""
    return _REASONS.get(record.cut.reason, "")


def _counts(usage: token_usage_pb2.TokenUsage) -> tuple[int, int, int, int, int]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )
