"""Minute aggregates as rows: sums of what was booked in each minute, by service, team and key."""

from __future__ import annotations

from collections.abc import Sequence

from tallygate.export.columns import Column, Kind, Row, moment_us, numbers, texts
from tallygate.export.records import KINDS, PAYERS
from tallygate.metering.v1 import usage_bucket_pb2

GROUPS = ("service", "service_uid", "team", "key_team", "credential")
"""Keys that every exported aggregate is grouped by; labels that are asked for come on top."""


def aggregate_columns(labels: Sequence[str]) -> tuple[Column, ...]:
    """Columns of an exported aggregate; a column `label_{key}` for each label."""
    return (
        Column("start_time", Kind.TIME),
        Column("end_time", Kind.TIME),
        *texts(*GROUPS, *(f"label_{key}" for key in labels)),
        *numbers("request_count", *KINDS, *(f"{payer}_tokens" for payer in PAYERS)),
        *numbers("overrun_tokens", "cost_nanos", "debt_nanos", "denial_count"),
    )


def aggregate_row(bucket: usage_bucket_pb2.UsageBucket, labels: Sequence[str]) -> Row:
    """An aggregate's values, in the order of `aggregate_columns`."""
    usage, payers, group = bucket.usage, bucket.payers, bucket.group
    return (
        moment_us(bucket.start_time),
        moment_us(bucket.end_time),
        *(group[name] for name in GROUPS),
        *(group[f"label:{key}"] for key in labels),
        bucket.request_count,
        *(getattr(usage, kind) for kind in KINDS),
        *(getattr(payers, f"{payer}_tokens") for payer in PAYERS),
        bucket.overrun_tokens,
        bucket.cost_nanos,
        bucket.debt_nanos,
        sum(bucket.denial_counts.values()),
    )
