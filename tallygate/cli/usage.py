"""`tallygate usage`: what was used, when, by whom, and who paid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.console import err, literal, out, print_json, print_list
from tallygate.cli.durations import parse_duration
from tallygate.cli.moments import parse_past_moment
from tallygate.cli.names import usage_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    MeteringOption,
    answering,
    channels_to,
    control_address,
    fail,
    metering_addresses,
    metering_channel,
)
from tallygate.cli.services import ServiceArgument
from tallygate.cli.show import time_text
from tallygate.cli.show_usage import request_table, running_text, usage_table
from tallygate.metering.v1 import usage_service_pb2, usage_service_pb2_grpc

app = typer.Typer(help="Usage: what was used, when, by whom, and who paid.", no_args_is_help=True)

_Stub = usage_service_pb2_grpc.UsageServiceStub


@app.command("show")
def show_usage(  # an option each
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Accounts and services: acme, acme/chat-prod", parser=usage_name),
    ],
    *,
    since: Annotated[
        Timestamp | None,
        typer.Option(
            metavar="MOMENT",
            parser=parse_past_moment,
            help="From then on: 2026-12-04, or 7d for 7 days ago; 1d if left out.",
        ),
    ] = None,
    until: Annotated[
        Timestamp | None, typer.Option(metavar="MOMENT", parser=parse_past_moment, help="Until then. Default: now.")
    ] = None,
    step: Annotated[
        Duration | None, typer.Option(metavar="LENGTH", parser=parse_duration, help="A line for each 1h, or 1d.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="service, model, team, credential, key_team or label:KEY; repeatable."),
    ] = None,
    team: Annotated[list[str] | None, typer.Option(help="Only what this team used; repeatable.")] = None,
    key: Annotated[str | None, typer.Option(help="Only what the API key of this unique id used.")] = None,
    metering: MeteringOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Shows usage over time, from what is settled, and what runs now on the node that is asked."""
    request = usage_service_pb2.QueryUsageRequest(
        services=names,
        start_time=since or parse_past_moment("1d"),
        end_time=until or parse_past_moment("0s"),
        step=step,
        group_by=by or [],
        teams=team or [],
        credential=key,
    )
    with metering_channel(metering_addresses(metering)[0]) as channel:
        answer = _Stub(channel).QueryUsage(request, timeout=TIMEOUT_S)
    if json:
        print_json(answer)
        return
    out.print(usage_table(answer, by or []))
    err.print(f"{running_text(answer.running)}; settled up to {time_text(answer.fresh_through_time)}", style="dim")
    if answer.unused_names:
        _tell_of_unused(answer.unused_names, answering(control_address(control).split(",")))


def _tell_of_unused(names: Iterable[str], control: str) -> None:
    """Says of each name that there is none, and which is near; or else that nothing was ever recorded of it.

    The command fails with the first that there is not.
    """
    from tallygate.cli.nearest import is_there, nearest  # noqa: PLC0415  # hardly ever needed

    with channels_to(control).open(control) as channel:
        for name in names:
            if is_there(channel, name):
                err.print(literal(f"nothing was ever recorded of {name}", "dim"))
                continue
            near = nearest(channel, name)
            fail(f"There is no {name}; check the name" + (f": is it {near}?" if near else ""))


@app.command()
def requests(
    service: ServiceArgument,
    *,
    metering: MeteringOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the records of a service's requests, by their ids; they are kept for 7 days, or as nodes are told."""
    request = usage_service_pb2.ListRequestUsageRequest(service=service)
    with metering_channel(metering_addresses(metering)[0]) as channel:
        found = all_pages(_Stub(channel).ListRequestUsage, request, "request_usages")
        print_list(found, lambda: request_table(found.request_usages), json=json, csv=csv)


@app.command()
def request(
    service: ServiceArgument,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As the inference server calls it.")],
    *,
    metering: MeteringOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Shows the record of a request, part by part. `tallygate explain` also knows of denials."""
    asked = usage_service_pb2.GetRequestUsageRequest(service=service, request_id=request_id)
    with metering_channel(metering_addresses(metering)[0]) as channel:
        found = _Stub(channel).GetRequestUsage(asked, timeout=TIMEOUT_S)
        print_list(found, lambda: request_table(found.parts), json=json, csv=csv)
