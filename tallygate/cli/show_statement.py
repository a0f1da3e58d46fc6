"""Statements as people and spreadsheets see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table
from rich.text import Text

from tallygate._wire.amounts import units_text
from tallygate.cli.console import facts, literal
from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.cli.show_usage import input_tokens, output_tokens
from tallygate.control.v1 import ledger_pb2, statement_pb2
from tallygate.metering.v1 import usage_bucket_pb2

_PAYERS: Final = ("reserved", "trial", "billed", "unfunded")
_COUNTS: Final = ("requests", "input", "output", *_PAYERS)
_KINDS: Final = {
    ledger_pb2.LEDGER_ENTRY_KIND_USAGE: "usage",
    ledger_pb2.LEDGER_ENTRY_KIND_RESERVATION: "reservation",
}

Key = tuple[str, str, str, str]
"""The kind of a row, and what it is added up by: service, model, team."""


@dataclass(slots=True)
class Row:
    """A service, model or team in a month.

    `amount_nanos`: what the ledger adds to the balance for it. `booked_nanos`: the cost of the tokens that were booked
    in the month; some of these are settled in the next. `counts`: empty where nothing is known of tokens.
    """

    amount_nanos: int = 0
    booked_nanos: int = 0
    counts: dict[str, int] = field(default_factory=dict)


def rows_of(
    statement: statement_pb2.Statement,
    buckets: Iterable[usage_bucket_pb2.UsageBucket] | None,
    models: Mapping[str, str],
    by: str,
) -> dict[Key, Row]:
    """What the ledger says and what nodes have booked, if they say it, side by side. `models`: of services, by name."""
    rows: dict[Key, Row] = {}
    for line in statement.lines:
        key = (_KINDS[line.kind], line.inference_service, line.model, line.team)
        row = rows.setdefault(key, Row(counts={} if buckets is None or key[0] != "usage" else _nothing()))
        row.amount_nanos += line.amount_nanos
    for bucket in buckets or ():
        service, team = bucket.group.get("service", ""), bucket.group.get("team", "")
        model = models.get(service, "")
        row = rows.setdefault(("usage", "" if by == "model" else service, model, team), Row(counts=_nothing()))
        row.booked_nanos += bucket.cost_nanos
        for name, count in _counts(bucket).items():
            row.counts[name] += count
    return dict(sorted(rows.items()))


def statement_facts(statement: statement_pb2.Statement) -> Table:
    """The month and its totals; they add up from the first to the last."""
    rows: list[tuple[str, str | Text]] = [
        ("account", literal(statement.account, "bold")),
        ("month", f"{statement.month}, {statement.time_zone}"),
        ("up to", time_text(statement.as_of_time)),
    ]
    totals = [(name, format_amount(nanos, statement.currency_code)) for name, nanos in _totals(statement)]
    return facts(*rows, *totals)


def statement_table(rows: Mapping[Key, Row], currency: str) -> Table:
    """A line for each service, model or team; tokens by who paid for them."""
    return table(
        ("kind", "service", "model", "team", *_COUNTS, "cost booked", "on the ledger"),
        (
            (
                *key,
                *(f"{row.counts[name]:,}" if row.counts else "" for name in _COUNTS),
                format_amount(row.booked_nanos, currency) if row.counts else "",
                format_amount(row.amount_nanos, currency),
            )
            for key, row in rows.items()
        ),
    )


def csv_rows(statement: statement_pb2.Statement, rows: Mapping[Key, Row]) -> Iterator[Sequence[str | int]]:
    """The lines of a file: what is above the closing balance adds up to it, in the column `amount`."""
    counted = ("requests", *(f"{name}_tokens" for name in _COUNTS[1:]))
    yield ("kind", "service", "model", "team", *counted, "booked_cost", "amount", "currency")
    before = ("opening balance", "top-ups", "credits", "debits")
    totals = dict(_totals(statement))
    yield from (_total(name, totals[name], statement.currency_code) for name in before if name in totals)
    for key, row in rows.items():
        counts = (row.counts.get(name, "") for name in _COUNTS)
        booked = units_text(row.booked_nanos) if row.counts else ""
        yield (*key, *counts, booked, units_text(row.amount_nanos), statement.currency_code)
    if (closing := "closing balance") in totals:
        yield _total(closing, totals[closing], statement.currency_code)


def _total(name: str, nanos: int, currency: str) -> Sequence[str]:
    return (name, "", "", "", *("" for _ in _COUNTS), "", units_text(nanos), currency)


def _totals(statement: statement_pb2.Statement) -> Iterator[tuple[str, int]]:
    sees_balance = statement.HasField("closing_balance_nanos")
    if sees_balance:
        yield "opening balance", statement.opening_balance_nanos
        yield "top-ups", statement.top_up_nanos
        yield "credits", statement.credit_nanos
        yield "debits", statement.debit_nanos
    yield "reservations", statement.reservation_nanos
    yield "usage", statement.usage_nanos
    if sees_balance:
        yield "closing balance", statement.closing_balance_nanos


def _nothing() -> dict[str, int]:
    return dict.fromkeys(_COUNTS, 0)


def _counts(bucket: usage_bucket_pb2.UsageBucket) -> dict[str, int]:
    return {
        "requests": bucket.request_count,
        "input": input_tokens(bucket.usage),
        "output": output_tokens(bucket.usage),
        **{payer: getattr(bucket.payers, f"{payer}_tokens") for payer in _PAYERS},
    }
