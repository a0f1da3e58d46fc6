"""A request: its life, who paid for each kind of its tokens and at which price, and why it was denied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import grpc
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console.calls import CallError
from tallygate.console.currency import currency_of
from tallygate.console.nav import Entry
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import catalog_service_pb2, lifecycle_service_pb2, model_pb2
from tallygate.control.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tallygate.control.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tallygate.metering.v1 import explanation_pb2, request_usage_pb2, usage_service_pb2
from tallygate.metering.v1.usage_service_pb2_grpc import UsageServiceStub

KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")
"""Kinds of tokens, in the order in which payers cover them."""
PRICES_MAX: Final = 1_000
"""Maximum number of versions among which a request's price is looked for, the newest first."""

Prices = Mapping[tuple[str, int], model_pb2.Price]
"""Prices by the service's name and the version."""


class NodeDenial(NamedTuple):
    """A denial, and the address of the node that remembers it."""

    address: str
    denial: explanation_pb2.RequestDenial


class Known(NamedTuple):
    """What the nodes that answered know of a request. `since`: from when each of them remembers denials."""

    parts: list[request_usage_pb2.RequestUsage]
    denials: list[NodeDenial]
    since: dict[str, usage_service_pb2.ExplainRequestResponse]


async def show_request(visit: Visit) -> Response:
    """The form alone, or what is known of the request that is typed into it."""
    if not visit.query("request_id"):
        return visit.page("request.html", known=None, prices={}, currency="", kinds=KINDS)
    try:
        known, currency = await asyncio.gather(_known(visit), currency_of(visit))
    except CallError as error:
        if error.code != grpc.StatusCode.INVALID_ARGUMENT:
            raise
        visit.refuse(error)
        return visit.page("request.html", known=None, prices={}, currency="", kinds=KINDS)
    prices = await _prices(visit, known.parts)
    return visit.page("request.html", known=known, prices=prices, currency=currency, kinds=KINDS)


async def _known(visit: Visit) -> Known:
    """What all nodes know: records are in the database that they share, denials in the memory of each."""
    request = usage_service_pb2.ExplainRequestRequest(account=visit.account, request_id=visit.query("request_id"))
    addresses = visit.site.metering.addresses
    found = await asyncio.gather(
        *(visit.unless_away(UsageServiceStub(visit.node(address)).ExplainRequest(request)) for address in addresses)
    )
    answers = {address: answer for address, answer in zip(addresses, found, strict=True) if answer is not None}
    denials = [NodeDenial(address, denial) for address, answer in answers.items() for denial in answer.denials]
    return Known(
        parts=next((list(answer.parts) for answer in answers.values()), []),
        denials=sorted(denials, key=lambda one: one.denial.deny_time.ToNanoseconds()),
        since=answers,
    )


async def _prices(visit: Visit, parts: Iterable[request_usage_pb2.RequestUsage]) -> Prices:
    """The prices by which these parts were billed, as far as they are found."""
    services = {part.service for part in parts if part.receipt.price_version}
    found = await asyncio.gather(*(_versions(visit, service) for service in services))
    return {
        (service, price.version): price for service, prices in zip(services, found, strict=True) for price in prices
    }


async def _versions(visit: Visit, service: str) -> Iterable[model_pb2.Price]:
    """The versions of the price of a service's model; none where the caller sees no such service any more."""
    request = lifecycle_service_pb2.GetInferenceServiceRequest(name=service)
    try:
        found = await LifecycleServiceStub(visit.control).GetInferenceService(request)
    except CallError as error:
        if error.code not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED):
            raise
        return ()
    asked = catalog_service_pb2.ListPricesRequest(model=found.inference_service.model, page_size=PRICES_MAX)
    return (await CatalogServiceStub(visit.control).ListPrices(asked)).prices


NAV: Final = (Entry("Requests", "/accounts/{account}/requests", Permission.USAGE_READ),)
ROUTES: Final = (at("/accounts/{account}/requests", show_request),)
