"""Figures of usage as pages and files have them: of each step, of each group, and how a chart shows them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tallygate.console.charts import Series
from tallygate.console.usage import PAYERS
from tallygate.console.usage_span import DAY_S, Span
from tallygate.export.columns import Column, Kind, Row, moment_us, numbers, texts
from tallygate.export.csv_file import CsvFile
from tallygate.metering.v1.token_usage_pb2 import TokenUsage
from tallygate.metering.v1.usage_bucket_pb2 import UsageBucket
from tallygate.metering.v1.usage_service_pb2 import QueryUsageResponse

KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


class Figures(NamedTuple):
    """A line of figures."""

    bucket: UsageBucket

    @property
    def input_tokens(self) -> int:
        """Tokens of the input class."""
        usage = self.bucket.usage
        return usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens of the output class."""
        return self.bucket.usage.output_tokens + self.bucket.usage.reasoning_tokens

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def denied(self) -> int:
        """Authorisations that were denied, whatever for."""
        return sum(self.bucket.denial_counts.values())

    @property
    def payers(self) -> list[int]:
        """Tokens by payer, in the order of `PAYERS`."""
        return [getattr(self.bucket.payers, f"{payer}_tokens") for _, payer in PAYERS]


def tokens_of(usage: TokenUsage) -> int:
    """Tokens of all kinds."""
    return sum(getattr(usage, f"{kind}_tokens") for kind in KINDS)


def by_payer(span: Span, buckets: Iterable[UsageBucket]) -> list[Series]:
    """Tokens of each step by who paid, steps without any included."""
    values = {payer: [0] * span.step_count for _, payer in PAYERS}
    for bucket in buckets:
        step = (bucket.start_time.seconds - span.start_s) // span.step_s
        for payer, of_payer in values.items():
            of_payer[step] = getattr(bucket.payers, f"{payer}_tokens")
    return [Series(name, payer, values[payer]) for name, payer in PAYERS]


def step_labels(span: Span) -> list[str]:
    """When each step begins, in UTC."""
    form = "%d %b" if span.step_s >= DAY_S else "%H:%M" if span.end_s - span.start_s <= DAY_S else "%d %b %H:%M"
    starts = range(span.start_s, span.end_s, span.step_s)
    return [datetime.fromtimestamp(start_s, UTC).strftime(form) for start_s in starts]


class UsageLines:
    """Buckets of one group as a table with exact figures, made in parts that follow each other."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._part = io.BytesIO()
        counts = ("request_count", *(f"{kind}_tokens" for kind in KINDS), *(f"{payer}_tokens" for _, payer in PAYERS))
        columns = (
            Column("start_time", Kind.TIME),
            Column("end_time", Kind.TIME),
            *texts(group.replace(":", "_")),
            *numbers(*counts, "overrun_tokens", "cost_nanos", "debt_nanos", "denial_count"),
        )
        self._table = CsvFile(self._part, columns)

    def of(self, buckets: Iterable[UsageBucket]) -> bytes:
        """The part of the file with these; the first one begins with the names of columns."""
        self._table.write(map(self._row, buckets))
        part = self._part.getvalue()
        self._part.seek(0)
        self._part.truncate()
        return part

    def _row(self, one: UsageBucket) -> Row:
        return (
            moment_us(one.start_time),
            moment_us(one.end_time),
            _cell(one.group[self._group]),
            one.request_count,
            *(getattr(one.usage, f"{kind}_tokens") for kind in KINDS),
            *(getattr(one.payers, f"{payer}_tokens") for _, payer in PAYERS),
            one.overrun_tokens,
            one.cost_nanos,
            one.debt_nanos,
            sum(one.denial_counts.values()),
        )


def total_of(answer: QueryUsageResponse) -> UsageBucket:
    """What all buckets add up to: as the node says it or, where it is one version older and says none, as they do."""
    if answer.HasField("total"):
        return answer.total
    found = UsageBucket()
    for bucket in answer.buckets:
        for part, its in ((found.usage, bucket.usage), (found.payers, bucket.payers), (found, bucket)):
            for field in part.DESCRIPTOR.fields:
                if field.cpp_type == field.CPPTYPE_INT64 and not field.is_repeated:
                    setattr(part, field.name, getattr(part, field.name) + getattr(its, field.name))
        for reason, count in bucket.denial_counts.items():
            found.denial_counts[reason] += count
    return found


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: a label's value is whatever a request said."""
    return f"'{text}" if text.startswith(_FORMULAS) else text
