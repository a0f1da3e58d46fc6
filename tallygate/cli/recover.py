"""`tallygate recover`: the command after a database was restored from an older copy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import grpc
import typer
from rich.table import Table

from tallygate._proxies import by_way_of
from tallygate.cli.console import err, literal, out
from tallygate.cli.recovery_steps import Recovered, RecoveryError, Stubs, recover
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    ControlOption,
    JsonOption,
    MeteringOption,
    answering,
    channels_to,
    control_address,
    fail,
    metering_addresses,
    sentence,
)
from tallygate.control.v1 import operations_service_pb2_grpc, recovery_service_pb2_grpc
from tallygate.metering.v1 import recovery_service_pb2_grpc as metering_grpc

CALL_TIMEOUT_S = 30
ATTEMPTS = 20
RETRY_S = 1.0

WHAT = """Nodes stop for about a minute: all of them begin a new epoch, what their requests had used is settled, and
what the control database does not know of is booked there. What people did since the copy was made (top-ups, prices,
services) is theirs to repeat; records that a restored metering database lacks are lost, and stay paid for."""


def recover_command(
    *,
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Reconciles the two databases after one of them was restored from an older copy. Harmless if run again.

    One metering node of the fleet is asked, the first that is named; it need not serve.
    """
    if not yes:
        err.print(WHAT)
        typer.confirm("Go on?", abort=True, err=True)
    control, node = answering(control_address(control).split(",")), metering_addresses(metering)[0]
    try:
        with err.status("fencing all nodes") as status:
            done = asyncio.run(_recover(control, node, status.update))
    except RecoveryError as error:
        fail(str(error))
    except grpc.RpcError as error:
        way = by_way_of(control) or by_way_of(node)
        fail(sentence(error, "the control service or the metering node", way))
    _print_result(done, as_json=as_json)


async def _recover(control: str, metering: str, progress: Callable[[str], None]) -> Recovered:
    channels = channels_to(control, metering)
    async with channels.open_aio(control) as to_control, channels.open_aio(metering) as to_metering:
        recovery = recovery_service_pb2_grpc.RecoveryServiceStub(to_control)
        node = metering_grpc.RecoveryServiceStub(to_metering)
        stubs = Stubs(
            list_nodes=_patient(operations_service_pb2_grpc.OperationsServiceStub(to_control).ListNodes),
            book_leases=_patient(recovery.BookLeases),
            finish=_patient(recovery.FinishRecovery),
            fence_nodes=_patient(node.FenceNodes),
            list_lease_totals=_patient(node.ListLeaseTotals),
        )
        return await recover(stubs, progress)


def _patient(method: Any) -> Callable[[Any], Awaitable[Any]]:
    """Repeats a call while its node, which begins a new epoch too, is away for a moment."""

    async def call(request: Any) -> Any:
        for _ in range(ATTEMPTS):
            try:
                return await method(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(RETRY_S)
        return await method(request, timeout=CALL_TIMEOUT_S)

    return call


def _print_result(done: Recovered, *, as_json: bool) -> None:
    if as_json:
        figures = {
            "booked": [
                {"account": account, "pot_kind": kind, "units": units}
                for (account, kind), units in sorted(done.booked.items())
            ],
            "leases": done.lease_count,
            "closed_leases": done.closed_lease_count,
            "unknown_leases": done.unknown_lease_ids,
            "nodes": done.fenced,
        }
        print(json.dumps(figures, indent=2))
        return
    if done.booked:
        table = Table("account", "pot", "units", title="What control had not known of")
        for (account, kind), units in sorted(done.booked.items()):
            table.add_row(literal(account), kind.removeprefix("POT_KIND_").lower(), f"{units:,}")
        out.print(table)
    else:
        out.print("Control knew of everything that was consumed.")
    out.print(
        f"{len(done.fenced):,} nodes begin new epochs; {done.lease_count:,} leases compared,"
        f" {done.closed_lease_count:,} closed that the metering database does not know."
    )
    if done.unknown_lease_ids:
        sentence = (
            f"{len(done.unknown_lease_ids):,} leases are on services or reservations that control does not know,"
            f" and were not booked: make those again and run this again. The first: {done.unknown_lease_ids[0]}"
        )
        err.print(literal(sentence, "yellow"))
