"""Nodes of the fleet, and what they hold on lease: what on-call asks first."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import operations_service_pb2 as pb
from tallygate.control.v1.operations_service_pb2_grpc import OperationsServiceStub

PAGE_SIZE: Final = 100
"""Maximum number of nodes, leases or pots on a page."""


async def show_nodes(visit: Visit) -> Response:
    """A page of nodes, by name, with how far each is behind."""
    request = pb.ListNodesRequest(page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await OperationsServiceStub(visit.control).ListNodes(request)
    return visit.page(
        "nodes.html",
        nodes=answer.nodes,
        config_version=answer.config_version,
        next_page=answer.next_page_token,
    )


async def show_leases(visit: Visit) -> Response:
    """A page of leases, oldest first."""
    account, service = visit.query("account"), visit.query("service")
    name = f"accounts/{account}" if account else ""
    request = pb.ListLeasesRequest(
        account=name,
        inference_service=f"{name}/services/{service}" if name and service else "",
        node=visit.query("node"),
        show_closed=bool(visit.query("closed")),
        page_size=PAGE_SIZE,
        page_token=visit.query("page"),
    )
    answer = await OperationsServiceStub(visit.control).ListLeases(request)
    return visit.page("leases.html", leases=answer.leases, next_page=answer.next_page_token)


async def show_pots(visit: Visit) -> Response:
    """A page of an account's pots: capacity, what is available, leased and spent."""
    request = pb.ListPotsRequest(account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await OperationsServiceStub(visit.control).ListPots(request)
    return visit.page("pots.html", pots=answer.pots, next_page=answer.next_page_token)


NAV: Final = (
    Entry("Nodes", "/operations/nodes", Permission.OPERATIONS_READ),
    Entry("Leases", "/operations/leases", Permission.OPERATIONS_READ),
)
ROUTES: Final = (
    at("/operations/nodes", show_nodes),
    at("/operations/leases", show_leases),
    at("/accounts/{account}/pots", show_pots),
)
