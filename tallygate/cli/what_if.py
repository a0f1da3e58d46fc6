"""`tallygate what-if`: what a workload would have cost under other settings."""

from __future__ import annotations

import json as json_codec
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tallygate.cli.console import err, literal, out
from tallygate.cli.names import account_name
from tallygate.cli.pages import PAGE_SIZE, all_pages
from tallygate.cli.replay import read_workload
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    MeteringOption,
    control_channel,
    fail,
    metering_addresses,
    metering_channel,
)
from tallygate.cli.what_if_display import comparison
from tallygate.cli.what_if_report import report
from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tallygate.whatif.compare import compare
from tallygate.whatif.records import of_records
from tallygate.whatif.settings import read_settings
from tallygate.whatif.toml_table import SettingsError
from tallygate.whatif.workload import Workload, of_traces

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_MONTHS = 12


def what_if(
    traces: Annotated[list[Path] | None, typer.Argument(metavar="TRACE", help="See `tallygate replay`.")] = None,
    *,
    settings: Annotated[
        list[Path], typer.Option("--settings", metavar="FILE", help="Settings in TOML; repeatable, side by side.")
    ],
    from_records: Annotated[
        str, typer.Option(metavar="ACCOUNT", help="In place of traces: what this account has on record.")
    ] = "",
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Of the records, those of this month, UTC.")] = "",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with charts.")] = None,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Works out what requests would have cost, and who would have paid, under other settings.

    Nothing is changed anywhere: the services' own rules run in this program, on a clock of its own.
    """
    if bool(traces) == bool(from_records) or bool(from_records) != bool(month):
        raise typer.BadParameter("name traces, or an account by --from-records together with --month")
    try:
        several = [read_settings(path) for path in settings]
        if from_records:
            workload = _recorded(account_name(from_records), month, control, metering_addresses(metering)[0])
        else:
            workload = _traced(traces or [])
        title = f"{len(workload.jobs):,} requests under {len(several)} settings"
        with err.status(title) as status:
            outcomes = compare(workload, several, lambda name: status.update(literal(f"{title}; {name} is done")))
    except SettingsError as error:
        fail(str(error))
    if html is not None:
        try:
            html.write_text(report(outcomes), encoding="utf-8")
        except OSError as error:
            fail(f"{html} cannot be written: {error.strerror}")
        err.print(literal(f"The report is in {html}."))
    if json:
        print(json_codec.dumps({"outcomes": [outcome.as_json() for outcome in outcomes]}))
    else:
        out.print(comparison(outcomes))


def _traced(paths: list[Path]) -> Workload:
    return of_traces([(path, read_workload(path, requests=0)) for path in paths])


def _recorded(account: str, month: str, control: str, metering: str) -> Workload:
    start_us, end_us = _bounds_us(month)
    with control_channel(control) as channel:
        found = all_pages(
            lifecycle_service_pb2_grpc.LifecycleServiceStub(channel).ListInferenceServices,
            lifecycle_service_pb2.ListInferenceServicesRequest(account=account, show_deleted=True),
            "inference_services",
        )
    with metering_channel(metering) as channel:
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        records = (record for service in found.inference_services for record in _records(stub, service.name))
        workload = of_records(records, start_us, end_us)
    if not workload.jobs:
        fail(f"{account} has no settled requests on record that began in {month}; see `tallygate usage requests`")
    return workload


def _records(stub: usage_service_pb2_grpc.UsageServiceStub, service: str) -> Iterator[request_usage_pb2.RequestUsage]:
    """All records of a service; only one page of them is in memory at a time."""
    request = usage_service_pb2.ListRequestUsageRequest(service=service, page_size=PAGE_SIZE)
    while True:
        page = stub.ListRequestUsage(request, timeout=TIMEOUT_S)
        yield from page.request_usages
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _bounds_us(month: str) -> tuple[int, int]:
    match = _MONTH.fullmatch(month)
    if match is None:
        raise typer.BadParameter(f"{month!r} is no month; write it as 2026-10", param_hint="--month")
    year, number = int(match[1]), int(match[2])
    later = (year + 1, 1) if number == _MONTHS else (year, number + 1)
    try:
        start, end = (datetime(*one, 1, tzinfo=UTC) for one in ((year, number), later))
    except ValueError as error:
        raise typer.BadParameter(f"{month!r} is no month; write it as 2026-10", param_hint="--month") from error
    return int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000
