"""A service: why it is as it is, what clears that, who pays for it, what limits it, and how clients use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import usage
from tallygate.console.currency import currency_of
from tallygate.console.nav import Entry
from tallygate.console.reads import read_levels, read_model, read_service, service_name
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import (
    budget_pb2,
    key_service_pb2,
    lifecycle_service_pb2,
    limit_service_pb2,
    rate_rule_pb2,
    service_event_pb2,
)
from tallygate.control.v1.api_key_pb2 import ApiKey
from tallygate.control.v1.inference_service_pb2 import InferenceService
from tallygate.control.v1.key_service_pb2_grpc import KeyServiceStub
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.control.v1.limit_service_pb2_grpc import LimitServiceStub
from tallygate.control.v1.reservation_pb2 import Reservation
from tallygate.metering.v1.usage_service_pb2 import QueryUsageResponse
from tallygate.metering.v1.usage_service_pb2_grpc import UsageServiceStub

USAGE_S: Final = 5
"""Number of seconds for which usage is not read again by a page that reads itself."""
EVENTS_MAX: Final = 20
"""Maximum number of events that are shown, the newest."""
KEYS_MAX: Final = 20
"""Maximum number of keys that are shown."""
BUDGETS_MAX: Final = 20
"""Maximum number of budgets whose standing is read."""
PLACEHOLDER_URL: Final = "https://YOUR-INFERENCE-SERVER/v1"


class Keys(NamedTuple):
    """Keys that may be used for a service, and whether there are more."""

    keys: Sequence[ApiKey] = ()
    has_more: bool = False


class Limits(NamedTuple):
    """The limits that hang on a service, on its team and on its account."""

    rules: Sequence[rate_rule_pb2.RateRule] = ()
    budgets: Sequence[limit_service_pb2.GetBudgetResponse] = ()


async def show_service(visit: Visit) -> Response:
    """The page, or a part of it, which needs a part of the reads."""
    service, currency = await asyncio.gather(read_service(visit), currency_of(visit))
    values: dict[str, Any] = {"service": service, "currency": currency}
    match visit.part:
        case "head":
            return visit.page("service.html", **values)
        case "usage":
            return visit.page("service.html", **values, **await _used(visit))
        case "reservations":
            reservations, levels = await asyncio.gather(_reservations(visit), read_levels(visit, [service]))
            return visit.page("service.html", **values, reservations=reservations, levels=levels)
        case "events":
            return visit.page("service.html", **values, events=await _events(visit))
    (used, reservations, levels, events), (limits, keys, model) = await asyncio.gather(
        asyncio.gather(_used(visit), _reservations(visit), read_levels(visit, [service]), _events(visit)),
        asyncio.gather(_limits(visit, service), _keys(visit, service), read_model(visit, service)),
    )
    return visit.page(
        "service.html",
        sees_all_limits=visit.sees_account(Permission.LIMITS_READ),
        reservations=reservations,
        levels=levels,
        events=events,
        limits=limits,
        keys=keys,
        model=model,
        base_url=visit.site.settings.inference_url or PLACEHOLDER_URL,
        is_placeholder=not visit.site.settings.inference_url,
        **used,
        **values,
    )


async def _used(visit: Visit) -> dict[str, Any]:
    """What was used in the last hours, by who paid."""
    request = usage.day_request([service_name(visit)], visit.site.clock.now_us())

    async def read() -> QueryUsageResponse:
        return await UsageServiceStub(visit.metering).QueryUsage(request)

    if not visit.may(Permission.USAGE_READ):
        return {"usage": None}
    answer = await visit.unless_away(visit.lately(f"day {service_name(visit)}", USAGE_S, read))
    if answer is None:
        return {"usage": None}
    return {
        "usage": answer,
        "series": usage.by_payer(request, answer.buckets),
        "hours": usage.hour_labels(request),
    }


async def _reservations(visit: Visit) -> list[Reservation]:
    """The newest first."""
    request = lifecycle_service_pb2.ListReservationsRequest(inference_service=service_name(visit))
    return list((await LifecycleServiceStub(visit.control).ListReservations(request)).reservations)[::-1]


async def _events(visit: Visit) -> list[service_event_pb2.ServiceEvent]:
    """The newest first."""
    request = lifecycle_service_pb2.ListServiceEventsRequest(
        inference_service=service_name(visit), page_size=EVENTS_MAX, newest_first=True
    )
    return list((await LifecycleServiceStub(visit.control).ListServiceEvents(request)).service_events)


async def _keys(visit: Visit, service: InferenceService) -> Keys:
    if not visit.may(Permission.KEYS_READ, service.team):
        return Keys()
    request = key_service_pb2.ListKeysRequest(account=visit.account, inference_service=service.name)
    answer = await KeyServiceStub(visit.control).ListKeys(request)
    return Keys(answer.keys[:KEYS_MAX], bool(answer.next_page_token) or len(answer.keys) > KEYS_MAX)


async def _limits(visit: Visit, service: InferenceService) -> Limits:
    if not visit.may(Permission.LIMITS_READ, service.team):
        return Limits()
    places = [service.name]
    if service.team:
        places.append(f"{visit.account}/teams/{service.team}")
    if visit.sees_account(Permission.LIMITS_READ):
        places.append(visit.account)
    rules, budgets = await asyncio.gather(
        asyncio.gather(*(_rules(visit, place) for place in places)),
        asyncio.gather(*(_budgets(visit, place) for place in places)),
    )
    named = [budget for its in budgets for budget in its][:BUDGETS_MAX]
    stub = LimitServiceStub(visit.control)
    standings = await asyncio.gather(
        *(stub.GetBudget(limit_service_pb2.GetBudgetRequest(name=budget.name)) for budget in named)
    )
    return Limits([rule for its in rules for rule in its], standings)


async def _rules(visit: Visit, place: str) -> Sequence[rate_rule_pb2.RateRule]:
    request = limit_service_pb2.ListRateRulesRequest(account=visit.account, place=place)
    return (await LimitServiceStub(visit.control).ListRateRules(request)).rate_rules


async def _budgets(visit: Visit, place: str) -> Sequence[budget_pb2.Budget]:
    request = limit_service_pb2.ListBudgetsRequest(account=visit.account, place=place)
    return (await LimitServiceStub(visit.control).ListBudgets(request)).budgets


NAV: Final[tuple[Entry, ...]] = ()
ROUTES: Final = (at("/accounts/{account}/services/{service}", show_service),)
