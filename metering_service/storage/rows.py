"""Records as rows of the tables, and back."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping

from metering_service.domain.counts import ZERO, Counts
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    BudgetKind,
    DenialKey,
    HeldUnits,
    LeaseRecord,
    Receipt,
    RequestRecord,
    SettlementState,
)
from metering_service.storage.schema import KINDS, PAYERS

Labels = tuple[tuple[str, str], ...]
Row = dict[str, Any]

SUMS = (*(f"{payer}_tokens" for payer in PAYERS), "overrun_tokens", "cost_nanos", "debt_nanos", "request_count")
"""Columns of `minute_usage` beside the counts by kind, named as in `AggregateDelta`."""

_NOTHING_HELD = HeldUnits()


@lru_cache(maxsize=4096)  # Few label sets and prices repeat in very many rows; this halves the time a row takes.
def labels_text(labels: Labels) -> str:
    """The one text for these labels, in whatever order they come."""
    return json.dumps(dict(labels), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def labels_of(text: str) -> Labels:
    """Labels sorted by key."""
    return tuple(sorted(json.loads(text).items()))


def request_row(record: RequestRecord) -> Row:
    """A row of `requests`."""
    counts, receipt = record.counts, record.receipt
    return {
        "service": record.service,
        "request_id": record.request_id,
        "part": record.part,
        "service_uid": record.service_uid,
        "node": record.node,
        "epoch": record.epoch,
        "state": record.state.value,
        "input_tokens": counts.input,
        "cached_input_tokens": counts.cached_input,
        "cache_write_tokens": counts.cache_write,
        "output_tokens": counts.output,
        "reasoning_tokens": counts.reasoning,
        "reserved": _counts_text(receipt.reserved),
        "trial": _counts_text(receipt.trial),
        "billed": _counts_text(receipt.billed),
        "unfunded": _counts_text(receipt.unfunded),
        "overrun_tokens": receipt.overrun_tokens,
        "cost_nanos": receipt.cost_nanos,
        "debt_nanos": receipt.debt_nanos,
        "price_version": receipt.price_version,
        "revision": receipt.revision,
        "held": _held_text(record.held),
        "price": _price_text(record.price_nanos_per_million),
        "debt_allowed": record.debt_allowed,
        "estimated": record.estimated,
        "credential": record.credential,
        "labels": labels_text(record.labels),
        "start_us": record.start_us,
        "settle_us": record.settle_us,
        "predecessor_part": record.predecessor_part,
        "base_input_tokens": record.base_input_tokens,
        "base_output_tokens": record.base_output_tokens,
    }


def request_of(row: RowMapping) -> RequestRecord:
    """The record in a row of `requests`."""
    price = json.loads(row["price"])
    return RequestRecord(
        service=row["service"],
        service_uid=row["service_uid"],
        request_id=row["request_id"],
        part=row["part"],
        node=row["node"],
        epoch=row["epoch"],
        state=SettlementState(row["state"]),
        counts=_usage_of(row),
        receipt=_receipt_of(row),
        held=HeldUnits(*json.loads(row["held"])),
        price_nanos_per_million=(price[0], price[1], price[2], price[3], price[4]),
        debt_allowed=row["debt_allowed"],
        estimated=row["estimated"],
        credential=row["credential"],
        labels=labels_of(row["labels"]),
        start_us=row["start_us"],
        settle_us=row["settle_us"],
        predecessor_part=row["predecessor_part"],
        base_input_tokens=row["base_input_tokens"],
        base_output_tokens=row["base_output_tokens"],
    )


def lease_row(record: LeaseRecord) -> Row:
    """A row of `leases`."""
    return {
        "lease_id": record.lease_id,
        "service": record.service,
        "service_uid": record.service_uid,
        "node": record.node,
        "epoch": record.epoch,
        "budget_kind": record.budget_kind.value,
        "consumed_units": record.consumed_units,
        "closed": record.closed,
        "close_us": record.close_us,
    }


def lease_of(row: RowMapping) -> LeaseRecord:
    """The record in a row of `leases`."""
    return LeaseRecord(
        lease_id=row["lease_id"],
        node=row["node"],
        epoch=row["epoch"],
        service=row["service"],
        service_uid=row["service_uid"],
        budget_kind=BudgetKind(row["budget_kind"]),
        consumed_units=row["consumed_units"],
        closed=row["closed"],
        close_us=row["close_us"],
    )


def aggregate_row(key: AggregateKey, delta: AggregateDelta) -> Row:
    """A row of `minute_usage`."""
    usage = delta.usage
    return {
        "service": key.service,
        "minute_us": key.minute_us,
        "service_uid": key.service_uid,
        "credential": key.credential,
        "labels": labels_text(key.labels),
        "input_tokens": usage.input,
        "cached_input_tokens": usage.cached_input,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        **{name: getattr(delta, name) for name in SUMS},
    }


def aggregate_of(row: RowMapping) -> AggregateDelta:
    """The sums in a row of columns named as in `minute_usage`."""
    return AggregateDelta(usage=_usage_of(row), **{name: row[name] for name in SUMS})


def denial_row(key: DenialKey, count: int) -> Row:
    """A row of `minute_denials`."""
    return {
        "service": key.service,
        "minute_us": key.minute_us,
        "service_uid": key.service_uid,
        "credential": key.credential,
        "reason": key.reason,
        "denial_count": count,
    }


def _usage_of(row: RowMapping) -> Counts:
    return Counts(*(row[f"{kind}_tokens"] for kind in KINDS))


def _receipt_of(row: RowMapping) -> Receipt:
    reserved, trial, billed, unfunded = (Counts(*json.loads(row[payer])) for payer in PAYERS)
    return Receipt(
        usage=reserved + trial + billed + unfunded,
        reserved=reserved,
        trial=trial,
        billed=billed,
        unfunded=unfunded,
        overrun_tokens=row["overrun_tokens"],
        cost_nanos=row["cost_nanos"],
        debt_nanos=row["debt_nanos"],
        price_version=row["price_version"],
        revision=row["revision"],
    )


@lru_cache(maxsize=4096)
def _price_text(price: tuple[int, ...]) -> str:
    return _numbers_text(price)


def _counts_text(counts: Counts) -> str:
    if counts == ZERO:
        return "[]"
    return f"[{counts.input},{counts.cached_input},{counts.cache_write},{counts.output},{counts.reasoning}]"


def _held_text(held: HeldUnits) -> str:
    if held == _NOTHING_HELD:
        return "[]"
    return _numbers_text(
        (
            held.input_tokens,
            held.output_ceiling_tokens,
            held.reserved_input_tokens,
            held.reserved_output_tokens,
            held.trial_tokens,
            held.billed_tokens,
            held.money_nanos,
        )
    )


def _numbers_text(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
