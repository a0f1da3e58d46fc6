"""Traffic: what goes through the nodes now, second by second, for whoever runs the fleet."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.calls import CallError
from tallygate.console.charts import Series
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.traffic_log import NO_RATES, ROUNDS_MAX, Rates, added
from tallygate.console.usage import PAYERS
from tallygate.console.visit import Visit
from tallygate.metering.v1 import diagnostics_service_pb2
from tallygate.metering.v1.diagnostics_service_pb2_grpc import DiagnosticsServiceStub
from tallygate.metering.v1.node_traffic_pb2 import NodeTraffic

_SHOWN_S: Final = ROUNDS_MAX - 1


class NodeRow(NamedTuple):
    """A node as it is now. `problem`: why there is nothing to say of it."""

    address: str
    traffic: NodeTraffic | None
    rates: Rates | None
    problem: str


async def show_traffic(visit: Visit) -> Response:
    """The last minute of all nodes together, and each node by itself. Every node is asked, with the caller's rights."""
    log = visit.site.traffic
    addresses = visit.site.metering.addresses
    found = await asyncio.gather(*(_traffic(visit, address) for address in addresses))
    nodes = {address: one for address, one in zip(addresses, found, strict=True) if isinstance(one, NodeTraffic)}
    if not nodes and not visit.may_everywhere(Permission.OPERATIONS_READ):
        # Nobody has decided whether the caller may see what others have read.
        raise HTTPException(HTTPStatus.FORBIDDEN, "No node answers, and you may not see what the nodes have said.")
    log.add(nodes, visit.site.clock.monotonic_ns())
    latest, seconds = log.latest(), list(log.seconds())
    rows = [
        NodeRow(address, nodes.get(address), latest.get(address), "" if isinstance(one, NodeTraffic) else one)
        for address, one in zip(addresses, found, strict=True)
    ]
    series = [Series(name, payer, [one.tokens[payer] for one in seconds]) for name, payer in PAYERS]
    return visit.page(
        "traffic.html",
        rows=rows,
        payers=PAYERS,
        now=added(latest.values()) if latest else NO_RATES,
        has_rates=bool(latest),
        series=series,
        labels=[f"{ago} s ago" for ago in range(len(seconds) - 1, -1, -1)],
        shown_s=_SHOWN_S,
        nodes=list(nodes.values()),
    )


async def _traffic(visit: Visit, address: str) -> NodeTraffic | str:
    """What went through a node, or why it does not say so. Raises CallError where the caller may not ask."""
    request = diagnostics_service_pb2.GetTrafficRequest()
    try:
        return (await DiagnosticsServiceStub(visit.node(address)).GetTraffic(request)).traffic
    except CallError as error:
        if not error.is_away:
            raise
        return error.sentence


NAV: Final = (Entry("Traffic", "/traffic", Permission.OPERATIONS_READ),)
ROUTES: Final = (at("/traffic", show_traffic),)
