"""`tallygate node`, `pot` and `lease`: what on-call asks at night. Nothing here changes anything."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.names import account_name, service_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    MeteringOption,
    control_channel,
    metering_addresses,
    metering_channel,
)
from tallygate.cli.services import currency_of
from tallygate.cli.show_operations import lease_table, node_table, pot_table, traffic_table
from tallygate.cli.watching import WatchOption, print_or_watch
from tallygate.control.v1 import operations_service_pb2, operations_service_pb2_grpc
from tallygate.metering.v1 import diagnostics_service_pb2, diagnostics_service_pb2_grpc

nodes = typer.Typer(help="Metering nodes, as the control service knows them.", no_args_is_help=True)
pots = typer.Typer(help="Pots: what can run out, and where it is.", no_args_is_help=True)
leases = typer.Typer(help="Leases: what nodes have in hand.", no_args_is_help=True)

ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="SERVICE", parser=service_name, help="Only this service's.")
]
_Stub = operations_service_pb2_grpc.OperationsServiceStub


@nodes.command("list")
def list_nodes(
    *,
    watch: WatchOption = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the nodes: which are live, and which have yet to acknowledge the configuration."""
    with control_channel(control) as channel:
        print_or_watch(
            lambda: all_pages(_Stub(channel).ListNodes, operations_service_pb2.ListNodesRequest(), "nodes"),
            node_table,
            watched=watch,
            json=json,
            csv=csv,
        )


@nodes.command()
def traffic(*, metering: MeteringOption = None, json: JsonOption = False) -> None:
    """Says what went through each node that is named since its epoch began: tokens by payer, grants, denials."""
    found = []
    for address in metering_addresses(metering):
        with metering_channel(address) as channel:
            stub = diagnostics_service_pb2_grpc.DiagnosticsServiceStub(channel)
            found.append(stub.GetTraffic(diagnostics_service_pb2.GetTrafficRequest(), timeout=TIMEOUT_S))
    if not json:
        out.print(traffic_table(one.traffic for one in found))
        return
    for one in found:
        print_json(one)


@pots.command("list")
def list_pots(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme, or accounts/acme", parser=account_name)],
    *,
    service: ServiceOption = None,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists an account's pots: capacity is always what is available, leased and spent."""
    request = operations_service_pb2.ListPotsRequest(account=account, inference_service=service or "")
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListPots, request, "pots")
        print_list(found, lambda: pot_table(found.pots, currency_of(channel, account)), json=json, csv=csv)


@leases.command("list")
def list_leases(
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="acme; without it, of all", parser=account_name)
    ] = None,
    *,
    service: ServiceOption = None,
    node: Annotated[str, typer.Option(help="Only this node's.")] = "",
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones, too.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists leases, the oldest first."""
    request = operations_service_pb2.ListLeasesRequest(
        account=account or "", inference_service=service or "", node=node, show_closed=closed
    )
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListLeases, request, "leases")
        print_list(found, lambda: lease_table(found.leases), json=json, csv=csv)
