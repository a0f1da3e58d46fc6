"""`tallygate usage export`: request records, aggregates, costs and events as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import err
from tallygate.cli.durations import parse_duration
from tallygate.cli.export_source import Source, Span
from tallygate.cli.moments import parse_past_moment
from tallygate.cli.names import usage_name
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    ControlOption,
    MeteringOption,
    fail,
)
from tallygate.cli.usage import app as usage_app
from tallygate.export.aggregates import aggregate_columns, aggregate_row
from tallygate.export.cloud_events import CloudEventsFile
from tallygate.export.columns import Column, Row
from tallygate.export.csv_file import CsvFile
from tallygate.export.focus import FocusFile, FocusVersion
from tallygate.export.records import RECORD_COLUMNS, record_row
from tallygate.export.whole_file import whole_file

if TYPE_CHECKING:
    from tallygate.export.parquet_file import ParquetFile

app = usage_app

RECORDED_WITHIN_S = 60
"""Time within which nodes have recorded what they settled, unless their database fails."""


class What(StrEnum):
    """What is exported."""

    requests = "requests"
    aggregates = "aggregates"


class Format(StrEnum):
    """How files of records and aggregates are written."""

    csv = "csv"
    parquet = "parquet"
    cloudevents = "cloudevents"


OutOption = Annotated[Path, typer.Option(metavar="FILE", help="The file; it is there as a whole, or not at all.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="An account or a service: acme, acme/chat", parser=usage_name)
]
SinceOption = Annotated[
    Timestamp | None,
    typer.Option(
        metavar="MOMENT", parser=parse_past_moment, help="Settled from then on: 2026-12-04, or 1d. Default 1d."
    ),
]
UntilOption = Annotated[
    Timestamp | None,
    typer.Option(metavar="MOMENT", parser=parse_past_moment, help="Settled before. Default 1m: a minute ago."),
]


@app.command("export")
def export(
    name: NameArgument,
    *,
    out: OutOption,
    what: Annotated[What, typer.Option(help="Records of requests, kept for 7 days, or sums.")] = What.requests,
    file_format: Annotated[Format, typer.Option("--format", help="Events are of requests.")] = Format.csv,
    since: SinceOption = None,
    until: UntilOption = None,
    step: Annotated[
        Duration | None, typer.Option(metavar="LENGTH", parser=parse_duration, help="Of sums: 1h, or 1d. Default 1m.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Of sums: by this label as well; repeatable.")] = None,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
) -> None:
    """Exports usage as a file: exact counts, and money in integer nanos."""
    recorded = parse_past_moment(f"{RECORDED_WITHIN_S}s")
    span = Span(since or parse_past_moment("1d"), until or recorded)
    if span.start.seconds >= span.end.seconds:
        raise typer.BadParameter("--since must be before --until, which is a minute ago if it is left out")
    if span.end.seconds > recorded.seconds:
        err.print("What was settled within the last minute may be missing; end spans a minute ago or earlier.")
    source = Source(name, control, metering)
    if file_format is Format.cloudevents:
        if what is What.aggregates:
            raise typer.BadParameter("events are of requests; leave --what out")
        count = _export_events(source, span, out)
    elif what is What.requests:
        count = _export_table(
            out, file_format, RECORD_COLUMNS, ([record_row(one) for one in page] for page in source.records(span))
        )
    else:
        labels = label or []
        pages = source.aggregates(span, step or Duration(seconds=60), labels)
        rows = ([aggregate_row(bucket, labels) for bucket in page] for page in pages)
        count = _export_table(out, file_format, aggregate_columns(labels), rows)
    err.print(f"{count:,} lines are in {out}", style="dim")


@app.command("focus")
def focus(
    name: NameArgument,
    *,
    out: OutOption,
    provider: Annotated[str, typer.Option(help="Who sells the models and issues the invoices, by name.")],
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="2026-10; the month that runs, if left out.")] = "",
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="By whose clocks a month begins.")] = "UTC",
    version: Annotated[FocusVersion, typer.Option(help="Of FOCUS.")] = FocusVersion.V1_4,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
) -> None:
    """Exports an account's costs of a month as FOCUS, the FinOps Open Cost and Usage Specification."""
    if "/services/" in name:
        raise typer.BadParameter("costs are of an account; give acme or accounts/acme")
    source = Source(name, control, metering)
    bill, purchases = source.bill(month, time_zone, provider)
    models = source.models()
    with _file(out) as file, closing(FocusFile(file, version, bill, models)) as written:
        written.write_purchases(purchases)
        for buckets in source.days(bill.start, bill.end):
            written.write_usage(buckets)
    err.print(f"The costs of {bill.account} are in {out}", style="dim")


def _export_events(source: Source, span: Span, out: Path) -> int:
    models, count = source.models(), 0
    with _file(out) as file, closing(CloudEventsFile(file, models)) as events:
        for page in source.records(span):
            events.write(page)
            count += len(page)
    return count


def _export_table(out: Path, file_format: Format, columns: Sequence[Column], pages: Iterable[Sequence[Row]]) -> int:
    count = 0
    with _file(out) as file, closing(_table(file_format)(file, columns)) as table:
        for page in pages:
            table.write(page)
            count += len(page)
    return count


def _table(file_format: Format) -> type[CsvFile | ParquetFile]:
    if file_format is Format.csv:
        return CsvFile
    try:
        from tallygate.export.parquet_file import ParquetFile  # noqa: PLC0415  # what it needs comes with an extra
    except ModuleNotFoundError as error:
        fail(f"Parquet needs {error.name}, which comes with: pip install 'tallygate[export]'")
    return ParquetFile


@contextmanager
def _file(out: Path) -> Iterator[BinaryIO]:
    try:
        with whole_file(out) as file:
            yield file
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror or error}; make room, or give another file")
