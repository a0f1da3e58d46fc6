"""Online Inference: the services of an account, how they are, and what may be done about each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import usage
from tallygate.console.nav import Entry
from tallygate.console.reads import read_levels, read_teams
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import lifecycle_service_pb2
from tallygate.control.v1.inference_service_pb2 import InferenceService, ServiceStatus
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.metering.v1.usage_service_pb2_grpc import UsageServiceStub

PAGE_SIZE: Final = 25
"""Maximum number of services on a page."""
USAGE_S: Final = 30
"""Number of seconds for which usage is not read again by a page that reads itself."""
STATUSES: Final = ("RUNNING", "STOPPED", "ACTIVATING", "NOT_ENABLED")
"""Values of ServiceStatus that can be asked for, in the order in which they are offered."""


async def show_services(visit: Visit) -> Response:
    """A page of services. What was used, and what reservations have left, is read less often than statuses."""
    model, status = visit.query("model"), visit.query("status")
    request = lifecycle_service_pb2.ListInferenceServicesRequest(
        account=visit.account,
        model=f"models/{model.removeprefix('models/')}" if model else "",
        team=visit.query("team"),
        status=ServiceStatus.Value(f"SERVICE_STATUS_{status if status in STATUSES else 'UNSPECIFIED'}"),
        page_size=PAGE_SIZE,
        page_token=visit.query("page"),
    )
    answer = await LifecycleServiceStub(visit.control).ListInferenceServices(request)
    services = list(answer.inference_services)
    used, levels, teams = await asyncio.gather(_used(visit, services), read_levels(visit, services), _teams(visit))
    return visit.page(
        "services.html",
        services=services,
        used=used,
        levels=levels,
        teams=teams,
        statuses=STATUSES,
        next_page=answer.next_page_token,
        may_create=visit.may(Permission.SERVICES_MANAGE),
    )


async def _used(visit: Visit, services: list[InferenceService]) -> Mapping[str, Sequence[int]]:
    """Tokens of each service by the hour."""
    names = [service.name for service in services]
    if not names or not visit.may(Permission.USAGE_READ):
        return {}
    request = usage.day_request(names, visit.site.clock.now_us(), group_by=["service"])

    async def read() -> Mapping[str, Sequence[int]]:
        return usage.by_service(request, (await UsageServiceStub(visit.metering).QueryUsage(request)).buckets)

    return await visit.unless_away(visit.lately(f"used {names}", USAGE_S, read)) or {}


async def _teams(visit: Visit) -> list[str]:
    """Ids of teams, for the filter, which no part has."""
    return [] if visit.part else await read_teams(visit)


NAV: Final = (Entry("Online Inference", "/accounts/{account}/services", Permission.SERVICES_READ),)
ROUTES: Final = (at("/accounts/{account}/services", show_services),)
