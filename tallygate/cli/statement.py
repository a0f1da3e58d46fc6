"""`tallygate account statement`: what a month did to an account's money, and what its services used."""

from __future__ import annotations

import csv
import json as json_module
import sys
from enum import StrEnum
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToDict

from tallygate.cli.accounts import AccountArgument
from tallygate.cli.accounts import app as account_app
from tallygate.cli.console import err, out
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    JsonOption,
    MeteringOption,
    control_channel,
    metering_addresses,
    metering_channel,
    sentence,
)
from tallygate.cli.show_statement import csv_rows, rows_of, statement_facts, statement_table
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    statement_pb2,
)
from tallygate.metering.v1 import usage_bucket_pb2, usage_service_pb2, usage_service_pb2_grpc

app = account_app


class Grouping(StrEnum):
    """What the lines of a statement are added up by."""

    service = "service"
    model = "model"
    team = "team"


_GROUPINGS = {
    Grouping.service: statement_pb2.STATEMENT_GROUPING_SERVICE,
    Grouping.model: statement_pb2.STATEMENT_GROUPING_MODEL,
    Grouping.team: statement_pb2.STATEMENT_GROUPING_TEAM,
}
_USAGE_GROUPS = {
    Grouping.service: ("service", "team"),
    Grouping.model: ("service",),
    Grouping.team: ("team",),
}


@app.command("statement")
def statement(
    account: AccountArgument,
    *,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="2026-10; the month that runs, if left out.")] = "",
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="By whose clocks the month begins and ends: Europe/Berlin.")
    ] = "UTC",
    by: Annotated[Grouping, typer.Option(help="What lines are added up by.")] = Grouping.service,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
    json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A line for each amount, as comma-separated values.")] = False,
) -> None:
    """Shows a month: opening balance, what came and went, what was used and who paid, closing balance."""
    if json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    request = account_service_pb2.GetStatementRequest(
        account=account, month=month, time_zone=time_zone, grouping=_GROUPINGS[by]
    )
    with control_channel(control) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        found = stub.GetStatement(request, timeout=TIMEOUT_S).statement
        listed = lifecycle_service_pb2.ListInferenceServicesRequest(account=account, show_deleted=True)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        services = all_pages(lifecycle.ListInferenceServices, listed, "inference_services").inference_services
    buckets = _usage(found, by, metering)
    if json:
        usage = None if buckets is None else [_plain(bucket) for bucket in buckets]
        whole = {"statement": _plain(found), "usage": usage}
        print(json_module.dumps(whole, indent=2))
        return
    models = {one.name: one.model for one in services}
    rows = rows_of(found, buckets, models, by.value)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows(csv_rows(found, rows))
        return
    out.print(statement_facts(found))
    out.print()
    out.print(statement_table(rows, found.currency_code))


def _usage(
    found: statement_pb2.Statement, by: Grouping, metering: list[str] | None
) -> list[usage_bucket_pb2.UsageBucket] | None:
    """What was used in the month, and who paid for it in tokens; None where nodes no longer know it by these bounds."""
    asked = usage_service_pb2.QueryUsageRequest(
        services=[found.account],
        start_time=found.start_time,
        end_time=found.end_time,
        group_by=_USAGE_GROUPS[by],
    )
    address = metering_addresses(metering)[0]
    with metering_channel(address) as channel:
        try:
            return list(usage_service_pb2_grpc.UsageServiceStub(channel).QueryUsage(asked, timeout=TIMEOUT_S).buckets)
        except grpc.RpcError as error:
            # The ledger is exact in every time zone, for good; sums of tokens are by hours of UTC once they are old.
            if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            err.print(f"Tokens are left out: {sentence(error, address)}", markup=False)
            return None


def _plain(message: statement_pb2.Statement | usage_bucket_pb2.UsageBucket) -> object:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
